"""Binary layers as other tools spell them: taken where nothing changes, left float where it would.

Every network is judged twice: what the layer became, and whether the fused plan of the rewritten
model gives what onnxruntime makes of the file as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from binas.compile.graph import Graph
from binas.compile.kernels import family
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import plan
from binas.compile.recognise import proof
from binas.core import bits

Array = NDArray[Any]


class Writer(ModelWriter):
    """A writer with numbers at hand."""

    def __init__(self) -> None:
        super().__init__("spelled")
        self.random = np.random.default_rng(0)

    def unused(self, stem: str) -> str:
        """A name that nobody has."""
        return self._fresh(stem)

    def number(self, value: float) -> str:
        """A scalar constant."""
        return self.constant(np.array(value, np.float32))

    def ones(self, *shape: int) -> Array:
        """±1."""
        return np.where(self.random.random(shape) < 0.5, np.float32(1), np.float32(-1))

    def channels(self, C: int) -> str:
        """A number per channel, of both signs."""
        return self.constant(self.random.standard_normal((C, 1, 1)).astype(np.float32))

    def where(self, comparison: str, x: str, border: str, yes: float, no: float) -> str:
        """Where(x <comparison> border, yes, no)."""
        condition = self.node(comparison, [x, border])
        return self.node("Where", [condition, self.number(yes), self.number(no)])


def run_plan(graph: Graph, model: BinaryModel, feeds: dict[str, Array]) -> list[Array]:
    """The outputs that numpy makes of the fused plan, [N, H, W, C] each."""
    values: dict[str, Array] = {}
    for name in graph.inputs:
        x = feeds[name]
        image = x if graph.values[name].channels_last else np.moveaxis(x, 1, -1)
        values[name] = image.reshape(graph.values[name].shape)
    for node in graph.nodes:
        results = family.meaning(node, [values[name] for name in node.reads])
        values.update(zip(node.writes, results, strict=True))
    return [values[name] for name in graph.outputs]


def feeds_of(model: BinaryModel, *, zeros: bool) -> dict[str, Array]:
    """An input with exact zeros of both signs, or with none."""
    random = np.random.default_rng(1)
    found = {}
    for port in model.inputs:
        x = random.standard_normal(port.shape).astype(np.float32)
        if zeros:
            x[random.random(port.shape) < 0.2] = 0.0
            x[random.random(port.shape) < 0.2] = -0.0
        found[port.name] = x
    return found


def same_as_the_original(model: BinaryModel, *, zeros: bool = True) -> Graph:
    """The plan, which must give what onnxruntime makes of the file before recognition."""
    graph = plan(model)
    feeds = feeds_of(model, zeros=zeros)
    names = [port.name for port in model.outputs]
    expected = proof.run_model(model.original, feeds, names)
    for at, (name, got) in enumerate(zip(names, run_plan(graph, model, feeds), strict=True)):
        image = got if at in graph.outputs_last else np.moveaxis(got, -1, 1)
        np.testing.assert_allclose(
            image.reshape(expected[name].shape), expected[name], rtol=1e-5, atol=1e-5
        )
    return graph


Spelling = Callable[[Writer, str], str]


def floats(w: Writer, condition: str) -> str:
    """A truth value as 0.0 or 1.0."""
    return w.node("Cast", [condition], to=TensorProto.FLOAT)


def estimator(w: Writer, x: str) -> str:
    """ReActNet's BinaryActivation as exported: sign(x) - out3 + out3."""
    square = w.node("Mul", [x, x])
    double = w.node("Mul", [x, w.number(2)])
    left, right = w.node("Add", [square, double]), w.node("Sub", [double, square])
    negative = floats(w, w.node("Less", [x, w.number(0)]))
    positive = w.node("Sub", [w.number(1), negative])
    middle = w.node("Add", [w.node("Mul", [left, negative]), w.node("Mul", [right, positive])])
    below = floats(w, w.node("Less", [x, w.number(-1)]))
    inside = w.node("Sub", [w.number(1), below])
    low = w.node("Sub", [w.node("Mul", [middle, inside]), below])
    above = floats(w, w.node("Greater", [x, w.number(1)]))
    rest = w.node("Sub", [w.number(1), above])
    out3 = w.node("Add", [w.node("Mul", [low, rest]), above])
    forward = w.where("GreaterOrEqual", x, w.number(0), 1, -1)
    return w.node("Add", [w.node("Sub", [forward, out3]), out3])


def larq(w: Writer, x: str) -> str:
    """Larq's ste_sign."""
    return w.node("Sign", [w.node("Add", [w.node("Sign", [x]), w.number(0.1)])])


# All of them say what happens at 0, so the results are equal there, too.
EXACT: dict[str, Spelling] = {
    "x >= 0": lambda w, x: w.where("GreaterOrEqual", x, w.number(0), 1, -1),
    "x > 0": lambda w, x: w.where("Greater", x, w.number(0), 1, -1),
    "x < 0 is -1": lambda w, x: w.where("Less", x, w.number(0), -1, 1),
    "x <= 0 is -1": lambda w, x: w.where("LessOrEqual", x, w.number(0), -1, 1),
    "0 <= x": lambda w, x: w.node(
        "Where", [w.node("LessOrEqual", [w.number(0), x]), w.number(1), w.number(-1)]
    ),
    "not x < 0": lambda w, x: w.node(
        "Where", [w.node("Not", [w.node("Less", [x, w.number(0)])]), w.number(1), w.number(-1)]
    ),
    "upside down": lambda w, x: w.where("GreaterOrEqual", x, w.number(0), -1, 1),
    "scaled by 0.25": lambda w, x: w.where("GreaterOrEqual", x, w.number(0), 0.25, -0.25),
    "a border of 0.3": lambda w, x: w.where("GreaterOrEqual", x, w.number(0.3), 1, -1),
    "above a border per channel": lambda w, x: w.where("Greater", x, w.channels(33), 1, -1),
    "ste_sign": larq,
    "twice a truth minus one": lambda w, x: w.node(
        "Sub",
        [
            w.node("Mul", [floats(w, w.node("GreaterOrEqual", [x, w.number(0)])), w.number(2)]),
            w.number(1),
        ],
    ),
    "a sign plus its zeros": lambda w, x: w.node(
        "Add", [w.node("Sign", [x]), floats(w, w.node("Equal", [x, w.number(0)]))]
    ),
    "an estimator left inside": estimator,
    "behind a hard tanh": lambda w, x: w.where(
        "GreaterOrEqual", w.node("Clip", [x, w.number(-1), w.number(1)]), w.number(0), 1, -1
    ),
    "a learned shift before": lambda w, x: w.where(
        "GreaterOrEqual", w.node("Add", [x, w.channels(33)]), w.number(0), 1, -1
    ),
    "negated twice": lambda w, x: w.node(
        "Neg", [w.where("GreaterOrEqual", w.node("Neg", [x]), w.number(0), 1, -1)]
    ),
    "through an Identity": lambda w, x: w.node(
        "Identity", [w.where("GreaterOrEqual", w.node("Identity", [x]), w.number(0), 1, -1)]
    ),
}


def one_layer(spelled: Spelling, weights: Array | None = None, **attributes: Any) -> BinaryModel:
    """A convolution named `conv` of 33 channels whose activations are spelled so."""
    w = Writer()
    x = w.input("x", (1, 33, 6, 5))
    kernel = w.constant(w.ones(7, 33, 3, 3) if weights is None else weights)
    attributes.setdefault("pads", [1, 1, 1, 1])
    y = w.node("Conv", [spelled(w, x), kernel], name="conv", **attributes)
    return BinaryModel.of(w.finish([y]), "m")


@pytest.mark.parametrize("spelling", EXACT)
def test_a_sign_is_recognised_however_it_is_spelled(spelling: str) -> None:
    model = one_layer(EXACT[spelling])
    graph = same_as_the_original(model)
    assert graph.kinds["conv"] == ("binary", "both operands are one bit")
    assert not model.notes


def test_sign_of_zero_is_told_and_taken_where_no_zero_comes() -> None:
    model = one_layer(lambda w, x: w.node("Sign", [x]))
    assert same_as_the_original(model, zeros=False).kinds["conv"][0] == "binary"
    assert model.notes["conv"].startswith("Sign of exactly 0 was 0 and is +1 now (none of 990 ")


def test_sign_stays_float_where_zeros_come() -> None:
    """Sums of ±1 over an even number of taps are often 0, and Sign of 0 is no bit."""

    def signed_sums(w: Writer, x: str) -> str:
        bipolar = w.where("GreaterOrEqual", x, w.number(0), 1, -1)
        sums = w.node("Conv", [bipolar, w.constant(w.ones(34, 33, 1, 2))], name="first")
        return w.node("Sign", [sums])

    model = one_layer(signed_sums, Writer().ones(7, 34, 1, 1), pads=[0] * 4)
    graph = same_as_the_original(model)
    assert graph.kinds["first"][0] == "binary"
    kind, reason = graph.kinds["conv"]
    assert kind == "float"
    assert "Sign gives 0 for" in reason
    assert "Where(x >= 0, 1, -1)" in reason


# What looks like a sign from near is none from afar, or takes other values than -s and +s.
NOT_BITS: dict[str, tuple[Spelling, str]] = {
    "zero or one": (
        lambda w, x: w.where("GreaterOrEqual", x, w.number(0), 1, 0),
        "the values 0 and 1",
    ),
    "the sign of a relu": (
        lambda w, x: w.node("Sign", [w.node("Relu", [x])]),
        "the values 0 and 1",
    ),
    "the relu of a sign": (
        lambda w, x: w.node("Relu", [w.where("GreaterOrEqual", x, w.number(0), 1, -1)]),
        "the values 0 and 1",
    ),
    "one and two": (lambda w, x: w.where("Greater", x, w.number(0), 2, 1), "the values 1 and 2"),
    "zero from a border on": (
        lambda w, x: w.where("GreaterOrEqual", x, w.number(0.3), 1, 0),
        "the values 0 and 1",
    ),
}


@pytest.mark.parametrize("spelling", NOT_BITS)
def test_steps_that_are_no_bits_stay_float_with_their_reason(spelling: str) -> None:
    spelled, said = NOT_BITS[spelling]
    kind, reason = same_as_the_original(one_layer(spelled)).kinds["conv"]
    assert kind == "weight-binary"
    assert said in reason


def test_a_layer_without_a_sign_before_it_says_what_it_reads() -> None:
    def averaged(w: Writer, x: str) -> str:
        return w.node("AveragePool", [EXACT["x >= 0"](w, x)], kernel_shape=[2, 2], name="blur")

    reason = "its activations are of AveragePool 'blur', not quantized; a sign before it makes"
    assert one_layer(averaged).reasons["conv"].startswith(reason)
    assert "the network's input, not quantized" in one_layer(lambda _, x: x).reasons["conv"]


def test_activations_with_a_scale_per_channel_are_no_bits_and_say_so() -> None:
    def scaled(w: Writer, x: str) -> str:
        return w.node("Mul", [EXACT["x >= 0"](w, x), w.channels(33)])

    graph = same_as_the_original(one_layer(scaled))
    kind, reason = graph.kinds["conv"]
    assert kind == "weight-binary"
    assert "±s with another s per channel" in reason


def test_ternary_activations_are_not_taken_for_bits() -> None:
    def ternary(w: Writer, x: str) -> str:
        upper = w.where("Greater", x, w.number(0.5), 1, 0)
        return w.node("Sub", [upper, w.where("Less", x, w.number(-0.5), 1, 0)])

    model = one_layer(ternary)
    assert "the values -1, 0, 1; only -s and +s" in model.reasons["conv"]
    assert all(node.op_type != "BinaryQuantize" for node in model.proto.graph.node[:1])


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


@pytest.mark.parametrize(
    ("pad", "expected"), [(0.0, 0), (1.0, 1), (-1.0, -1), (0.5, None)], ids=str
)
def test_a_padding_of_its_own_becomes_the_layers(pad: float, expected: int | None) -> None:
    def padded(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64))
        return w.node("Pad", [EXACT["x >= 0"](w, x), sizes, w.number(pad)])

    model = one_layer(padded, pads=[0] * 4)
    if expected is None:
        assert "pads its bits with 0.5, expected 0, -1 or 1" in model.reasons["conv"]
        return
    graph = same_as_the_original(model)
    assert graph.kinds["conv"][0] == "binary"
    (node,) = [node for node in graph.nodes if node.op == "binary_conv"]
    assert (node.pad_value, node.padding) == (expected, (1, 2, 0, 1))


@pytest.mark.parametrize("comparison", ["GreaterOrEqual", "Greater"])
def test_padding_with_zeros_before_the_sign_counts_as_the_sign_of_zero(comparison: str) -> None:
    def signed(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return w.where(comparison, w.node("Pad", [x, sizes]), w.number(0), 1, -1)

    graph = same_as_the_original(one_layer(signed, pads=[0] * 4))
    assert graph.kinds["conv"][0] == "binary"
    # x > 0 is read as not(-x >= 0): the bit is flipped, and so is what is padded.
    assert [n.pad_value for n in graph.nodes if n.op == "binary_conv"] == [1]


@pytest.mark.parametrize(("pad", "expected"), [(None, 0), (2.0, 1), (-2.0, -1), (0.5, 1)], ids=str)
def test_what_onnx_sign_makes_of_a_padding_is_the_padding(pad: float | None, expected: int) -> None:
    """Zeros around the image are zeros after Sign, too: no bits that are never 0."""

    def signed(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return w.node(
            "Sign", [w.node("Pad", [x, sizes, *([] if pad is None else [w.number(pad)])])]
        )

    graph = same_as_the_original(one_layer(signed, pads=[0] * 4), zeros=False)
    assert [node.pad_value for node in graph.nodes if node.op == "binary_conv"] == [expected]


@pytest.mark.parametrize(("border", "expected"), [(0.3, -1), (-0.3, 1)])
def test_what_is_padded_before_a_border_is_on_one_side_of_it(border: float, expected: int) -> None:
    def signed(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return w.where("GreaterOrEqual", w.node("Pad", [x, sizes]), w.number(border), 1, -1)

    graph = same_as_the_original(one_layer(signed, pads=[0] * 4))
    assert [node.pad_value for node in graph.nodes if node.op == "binary_conv"] == [expected]


def test_channels_last_images_are_read_in_place() -> None:
    """Keras through tf2onnx: NHWC ports, and transposes around every operator."""
    w = Writer()
    x = w.input("x", (2, 6, 5, 33))
    x = w.node("Mul", [x, w.constant(w.random.uniform(0.5, 2, 33))])
    x = w.node("Transpose", [x], perm=[0, 3, 1, 2])
    x = w.node("Conv", [x, w.constant(w.random.standard_normal((33, 33, 1, 1)))], name="stem")
    for at in range(2):
        y = w.node("Transpose", [x], perm=[0, 2, 3, 1])
        y = w.node("Transpose", [larq(w, y)], perm=[0, 3, 1, 2])
        y = w.node("Conv", [y, w.constant(w.ones(33, 33, 3, 3))], name=f"c{at}", pads=[1] * 4)
        x = w.node("Add", [x, y])
    y = w.node("Transpose", [x], perm=[0, 2, 3, 1])
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert [kind for kind, _ in graph.kinds.values()] == ["float", "binary", "binary"]
    assert [node.op for node in graph.nodes] == ["elementwise", "conv", *["binary_conv"] * 2]


def test_an_image_with_its_channels_last_may_be_binarized_and_padded_before_it_is_turned() -> None:
    w = Writer()
    sizes = w.constant(np.array([0, 1, 1, 0, 0, 1, 1, 0], np.int64))
    x = w.node("Pad", [EXACT["x >= 0"](w, w.input("x", (1, 6, 5, 33))), sizes])
    x = w.node("Transpose", [x], perm=[0, 3, 1, 2])
    x = w.node("AveragePool", [x], kernel_shape=[2, 2])
    y = w.node("Conv", [x, w.constant(w.ones(7, 33, 1, 1))], name="conv")
    same_as_the_original(BinaryModel.of(w.finish([y]), "m"))


def test_borders_of_one_value_along_different_axes_are_different_signs() -> None:
    w = Writer()
    x, border = w.input("x", (1, 8, 8, 8)), w.random.standard_normal(8)
    ys = []
    for axes in ((8, 1, 1), (1, 8, 1), (1, 1, 8)):
        signed = w.where("Greater", x, w.constant(border.reshape(axes)), 1, -1)
        ys.append(w.node("Conv", [signed, w.constant(w.ones(8, 8, 3, 3))]))
    model = BinaryModel.of(w.finish([w.node("Concat", ys, axis=1)]), "m")
    assert {kind for kind, _ in same_as_the_original(model).kinds.values()} == {"binary"}


def test_a_shape_that_is_computed_from_an_image_of_known_shape_is_a_constant() -> None:
    """x.view(x.size(0), -1), exported with a variable batch that was made fixed afterwards."""
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (2, 33, 3, 2)))
    first = w.constant(np.array([0], np.int64))
    batch = w.node("Gather", [w.node("Shape", [x]), first], axis=0)
    sizes = w.node("Concat", [batch, w.constant(np.array([-1], np.int64))], axis=0)
    y = w.node("MatMul", [w.node("Reshape", [x, sizes]), w.constant(w.ones(198, 9))], name="head")
    model = BinaryModel.of(w.finish([y]), "m")
    assert same_as_the_original(model).kinds["head"][0] == "binary"


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("signed", ["before", "after"])
def test_a_binary_dense_layer_of_a_flattened_image_is_a_convolution(
    last: bool, signed: str
) -> None:
    w = Writer()
    x = w.node("Relu", [w.input("x", (1, 33, 3, 2))])
    x = w.node("Sub", [x, w.number(0.3)])
    x = EXACT["x > 0"](w, x) if signed == "before" else x
    x = w.node("Transpose", [x], perm=[0, 2, 3, 1]) if last else x
    x = (
        w.node("Flatten", [x])
        if not last
        else w.node("Reshape", [x, w.constant(np.array([-1, 198], np.int64))])
    )
    x = EXACT["x > 0"](w, x) if signed == "after" else x
    y = w.node("MatMul", [x, w.constant(w.ones(198, 9))], name="dense")
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert graph.kinds["dense"][0] == "binary"


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_a_dense_layer_of_bits_on_a_flattened_image_of_reals_stays_a_layer(last: bool) -> None:
    w = Writer()
    x = w.node("Relu", [w.input("x", (2, 33, 3, 2))])
    x = w.node("Relu", [w.node("Transpose", [x], perm=[0, 2, 3, 1])]) if last else x
    y = w.node("MatMul", [w.node("Flatten", [x]), w.constant(w.ones(198, 9))], name="dense")
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert graph.kinds["dense"][0] == "weight-binary"


def test_a_binary_dense_layer_reads_an_image_as_its_axes_lie() -> None:
    """Computed with channels last, then binarized, then flattened."""
    w = Writer()
    x = w.node("Transpose", [w.input("x", (2, 33, 3, 2))], perm=[0, 2, 3, 1])
    x = EXACT["x >= 0"](w, w.node("Add", [x, w.constant(w.random.standard_normal(33))]))
    y = w.node("MatMul", [w.node("Flatten", [x]), w.constant(w.ones(198, 9))], name="dense")
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert graph.kinds["dense"][0] == "binary"


@pytest.mark.parametrize("signed", ["before", "after"])
def test_a_dense_layer_of_a_padded_image_of_signs_stays_the_same(signed: str) -> None:
    w = Writer()
    x = w.input("x", (1, 5, 3, 2))
    sizes = w.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
    x = EXACT["x >= 0"](w, x) if signed == "before" else x
    x = w.node("Pad", [x, sizes])
    x = EXACT["x >= 0"](w, x) if signed == "after" else x
    y = w.node("MatMul", [w.node("Flatten", [x]), w.constant(w.ones(60, 9))], name="dense")
    kind, reason = same_as_the_original(BinaryModel.of(w.finish([y]), "m")).kinds["dense"]
    assert kind == {"before": "float", "after": "binary"}[signed]
    assert signed == "after" or "padded image" in reason


@pytest.mark.parametrize("transposed", [False, True])
def test_a_gemm_of_bits_is_binary_with_its_factors(transposed: bool) -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (3, 65)))
    weights = w.ones(9, 65) if transposed else w.ones(65, 9)
    bias = w.constant(w.random.standard_normal(9))
    y = w.node(
        "Gemm",
        [x, w.constant(weights), bias],
        name="head",
        transB=int(transposed),
        alpha=0.5,
        beta=2.0,
    )
    assert same_as_the_original(BinaryModel.of(w.finish([y]), "m")).kinds["head"][0] == "binary"


@pytest.mark.parametrize("spelling", ["x >= 0", "x > 0", "above a border per channel", "ste_sign"])
def test_a_pool_of_signs_is_the_sign_of_a_pool(spelling: str) -> None:
    """As CNV_1W1A of Brevitas and FINN has it: quantized first, pooled then."""

    def pooled(w: Writer, x: str) -> str:
        y = EXACT[spelling](w, x)
        return w.node("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 1])

    graph = same_as_the_original(one_layer(pooled))
    assert graph.kinds["conv"][0] == "binary"
    assert "pool_max" in [node.op for node in graph.nodes]


def test_a_pool_of_signs_that_fall_stays_behind_them() -> None:
    """The largest of -sign(x) is the sign of the smallest x."""

    def pooled(w: Writer, x: str) -> str:
        return w.node("MaxPool", [EXACT["upside down"](w, x)], kernel_shape=[2, 2])

    assert same_as_the_original(one_layer(pooled)).kinds["conv"][0] == "weight-binary"


def test_signs_that_a_pool_and_others_read_stay_for_the_others() -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (1, 33, 4, 4)))
    y = w.node("Conv", [x, w.constant(w.ones(33, 33, 2, 2))], name="a", strides=[2, 2])
    z = w.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    z = w.node("Conv", [z, w.constant(w.ones(33, 33, 1, 1))], name="b")
    model = BinaryModel.of(w.finish([w.node("Add", [y, z])]), "m")
    assert {kind for kind, _ in same_as_the_original(model).kinds.values()} == {"binary"}


def test_layers_that_read_one_sign_share_its_bits() -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (1, 33, 4, 4)))
    ys = [w.node("Conv", [x, w.constant(w.ones(33, 33, 1, 1))], name=f"c{at}") for at in range(3)]
    model = BinaryModel.of(w.finish([w.node("Add", [w.node("Add", ys[:2]), ys[2]])]), "m")
    same_as_the_original(model)
    assert [n.op_type for n in model.proto.graph.node].count("BinaryQuantize") == 1


def test_a_sign_with_other_readers_stays_for_them() -> None:
    w = Writer()
    x = EXACT["x > 0"](w, w.input("x", (1, 33, 4, 4)))
    y = w.node("Conv", [x, w.constant(w.ones(33, 33, 1, 1))], name="conv")
    graph = same_as_the_original(BinaryModel.of(w.finish([w.node("Add", [x, y])]), "m"))
    assert graph.kinds["conv"][0] == "binary"


def foreign(domain: str, body: list[onnx.NodeProto], *constants: tuple[str, Array]) -> BinaryModel:
    """A model with operators of another tool's domain."""
    w = np.where(np.random.default_rng(0).random((7, 33, 3, 3)) < 0.5, -1.0, 1.0)
    tensors = {"w": w.astype(np.float32), **dict(constants)}
    graph = helper.make_graph(
        [*body, helper.make_node("Conv", ["q", "v"], ["y"], name="conv", pads=[1, 1, 1, 1])],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 33, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 7, 6, 5])],
        [onnx.numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    return BinaryModel.of(helper.make_model(graph, opset_imports=opsets, ir_version=8), "m")


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
def test_bipolar_quant_of_qonnx_is_a_sign_with_a_scale(domain: str) -> None:
    body = [
        helper.make_node("BipolarQuant", ["x", "sx"], ["q"], domain=domain),
        helper.make_node("BipolarQuant", ["w", "sw"], ["v"], domain=domain),
    ]
    model = foreign(domain, body, ("sx", np.array(0.5)), ("sw", np.full((7, 1, 1, 1), 0.1)))
    assert same_as_the_original(model).kinds["conv"][0] == "binary"


def test_fake_quantize_of_two_levels_is_a_sign() -> None:
    """As NNCF writes it: both ends of the input range at the border."""
    domain = "org.openvinotoolkit"
    body = [
        helper.make_node(
            "FakeQuantize", ["x", "t", "t", "low", "high"], ["q"], domain=domain, levels=2
        ),
        helper.make_node("Identity", ["w"], ["v"]),
    ]
    border = np.random.default_rng(1).standard_normal((1, 33, 1, 1))
    limits = ("t", border), ("low", np.array(-1.0)), ("high", np.array(1.0))
    assert same_as_the_original(foreign(domain, body, *limits)).kinds["conv"][0] == "binary"


def test_functions_of_the_file_are_inlined() -> None:
    """What an exporter keeps as a function is read like its body."""
    domain = "local"
    text = f"""<domain: "{domain}", opset_import: ["" : 17]> MySign (x) => (y) {{
      zero = Constant <value_float: float = 0.0> ()
      one = Constant <value_float: float = 1.0> ()
      minus = Constant <value_float: float = -1.0> ()
      c = GreaterOrEqual (x, zero)
      y = Where (c, one, minus)
    }}"""
    w = np.ones((1, 33, 1, 1), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MySign", ["x"], ["q"], domain=domain),
            helper.make_node("Conv", ["q", "w"], ["y"], name="conv"),
        ],
        "functions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 33, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 2])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    proto.functions.append(onnx.parser.parse_function(text))
    assert same_as_the_original(BinaryModel.of(proto, "m")).kinds["conv"][0] == "binary"


def test_a_rewrite_that_would_change_the_result_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proof is what decides: let the weights be packed wrong, and the layer stays float."""
    from binas.compile.recognise import contract

    def wrong(values: Array) -> Array:
        return ~bits.pack_bytes(values)

    class Wrong:
        pack_bytes = staticmethod(wrong)

    monkeypatch.setattr(contract, "bits", Wrong)
    model = one_layer(EXACT["x >= 0"])
    assert "as one bit it would differ by" in model.reasons["conv"]
    monkeypatch.undo()
    assert plan(model).kinds["conv"][0] == "float"
