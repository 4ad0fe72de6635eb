"""Weights of one bit however a file stores them; others stay float with their reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from binas.compile.model import BinaryModel
from binas.core import bits
from tests.unit.compile.spellings import (
    EXACT,
    Array,
    Writer,
    floats,
    one_layer,
    same_as_the_original,
)

Weights = Callable[[Writer], str]


def packed(w: Writer) -> str:
    """Weights as bits in bytes, unpacked by the file's own arithmetic."""
    octets = w.constant(bits.pack_bytes(w.ones(7, 3, 3, 33)))
    last = w.constant(np.array([-1], np.int64))
    shifts = w.constant(np.arange(8, dtype=np.uint8))
    shifted = w.node("BitShift", [w.node("Unsqueeze", [octets, last]), shifts], direction="RIGHT")
    ones = w.node("BitwiseAnd", [shifted, w.constant(np.array([1], np.uint8))])
    flat = w.node("Reshape", [ones, w.constant(np.array([0, 0, 0, -1], np.int64))])
    edges = [w.constant(np.array([value], np.int64)) for value in (0, 33, 3)]
    real = floats(w, w.node("Slice", [flat, *edges]))
    bipolar = w.node("Sub", [w.node("Mul", [real, w.number(2)]), w.number(1)])
    return w.node("Transpose", [bipolar], perm=[0, 3, 1, 2])


def scaled(w: Writer) -> Array:
    """±s per output channel, s of any size, one of them 0."""
    s = w.random.uniform(0.01, 3, (7, 1, 1, 1)).astype(np.float32)
    s[3] = 0
    return w.ones(7, 33, 3, 3) * s


def blurred(w: Writer) -> Array:
    """ReActNet's weights as exported: sign * s - clip + clip, so ±s but for rounding."""
    s = np.float32(0.02)
    real = w.random.uniform(-1.5, 1.5, (7, 33, 3, 3)).astype(np.float32)
    clipped = real.clip(-1, 1)
    return np.asarray((np.sign(real) * s - clipped) + clipped)


WEIGHTS: dict[str, Weights] = {
    "±1": lambda w: w.constant(w.ones(7, 33, 3, 3)),
    "±s per channel": lambda w: w.constant(scaled(w)),
    "±s but for rounding": lambda w: w.constant(blurred(w)),
    "the sign of latent weights": lambda w: w.node(
        "Sign", [w.constant(w.random.standard_normal((7, 33, 3, 3)))]
    ),
    "0 and 1 with arithmetic": lambda w: w.node(
        "Sub",
        [
            w.node("Mul", [w.constant((w.ones(7, 33, 3, 3) + 1) / 2), w.number(2)]),
            w.number(1),
        ],
    ),
    "int8": lambda w: floats(w, w.constant(w.ones(7, 33, 3, 3).astype(np.int8))),
    "channels last": lambda w: w.node(
        "Transpose", [w.constant(w.ones(3, 3, 33, 7))], perm=[3, 2, 0, 1]
    ),
    "packed": packed,
}


@pytest.mark.parametrize("stored", WEIGHTS)
def test_weights_are_bits_however_they_are_stored(stored: str) -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (1, 33, 6, 5)))
    y = w.node("Conv", [x, WEIGHTS[stored](w)], name="conv", pads=[1, 0, 1, 0], strides=[2, 1])
    model = BinaryModel.of(w.finish([y]), "m")
    assert same_as_the_original(model).kinds["conv"][0] == "binary"
    assert sum(tensor.raw_data != b"" for tensor in model.proto.graph.initializer) <= 3
    largest = max(len(tensor.raw_data) for tensor in model.proto.graph.initializer)
    assert largest == 7 * 3 * 3 * 5  # bits, and nothing of the old weights is left


REAL: dict[str, tuple[Callable[[Writer], Array], str]] = {
    "ternary": (
        lambda w: w.random.integers(-1, 2, (7, 33, 3, 3)).astype(np.float32),
        "its weights are ternary (-1, 0, 1)",
    ),
    "ternary with scales": (
        lambda w: w.random.integers(-1, 2, (7, 33, 3, 3)) * np.arange(1, 8).reshape(7, 1, 1, 1),
        "its weights are ternary (-s, 0, +s)",
    ),
    "0 and 1": (
        lambda w: w.random.integers(0, 2, (7, 33, 3, 3)).astype(np.float32),
        "its weights are two-valued (0, 1)",
    ),
    "real": (lambda w: w.random.standard_normal((7, 33, 3, 3)), "its weights are real"),
    "±s per input channel": (
        lambda w: w.ones(7, 33, 3, 3) * w.random.uniform(0.5, 2, (1, 33, 1, 1)),
        "its weights are real",
    ),
}


@pytest.mark.parametrize("stored", REAL)
def test_other_weights_stay_float_with_their_reason(stored: str) -> None:
    make, said = REAL[stored]
    model = one_layer(EXACT["x >= 0"], make(Writer()).astype(np.float32))
    kind, reason = same_as_the_original(model).kinds["conv"]
    assert kind == "float"
    assert said in reason
