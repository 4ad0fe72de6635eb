"""Steps of every kind with random weights, of which the cases of kernel tests are made."""

from __future__ import annotations

from typing import Any

import numpy as np

from binas.compile.graph import Affine, Node, PRelu, Stage

STRADDLING = (1, 31, 32, 33, 63, 65, 127, 129)  # channels around the word


def affine(K: int, seed: int = 0) -> Affine:
    """Scales of both signs, one of them 0; biases of the size of small sums."""
    generator = np.random.default_rng([K, seed])
    scale, bias = generator.standard_normal(K), generator.standard_normal(K) * 5
    scale[K // 2] = 0
    return Affine(
        scale.astype(np.float32).astype(np.float64), bias.astype(np.float32).astype(np.float64)
    )


def prelu(K: int) -> PRelu:
    """Slopes of both signs."""
    return PRelu(np.random.default_rng(K).standard_normal(K).astype(np.float32).astype(np.float64))


def conv(
    C: int,
    K: int,
    *,
    binary: bool = True,
    signs: bool = False,
    image: tuple[int, int] = (5, 5),
    kernel: tuple[int, int] = (3, 3),
    batch: int = 1,
    stages: tuple[Stage, ...] | None = None,
    floats: bool = True,
    packed: bool = False,
    **fields: Any,
) -> Node:
    """A convolution with random weights; padded to the same size unless told otherwise.

    `signs`: of one bit, though the activations are real.
    """
    groups = fields.get("groups", 1)
    w = np.random.default_rng([C, K, *kernel]).standard_normal((K, *kernel, C // groups))
    w = np.where(w >= 0, 1.0, -1.0) if binary or signs else w
    fields.setdefault("padding", (kernel[0] // 2, kernel[1] // 2) * 2)
    return Node(
        name="conv",
        sources=(),
        op="binary_conv" if binary else "conv",
        inputs=("x",),
        in_shape=(batch, *image, C),
        out_channels=K,
        kernel=kernel,
        weights=w.astype(np.float32),
        weight_bits=1 if binary or signs else 32,
        stages=(affine(K),) if stages is None else stages,
        float_out="y" if floats else None,
        bits_out="b" if packed else None,
        **fields,
    )


def pool(op: Any, C: int, **fields: Any) -> Node:
    """A 3x3 pool at stride 2 over a batch of two, packed as well."""
    given: dict[str, Any] = {
        "in_shape": (2, 7, 6, C),
        "kernel": (3, 3),
        "stride": (2, 2),
        "padding": (1, 1, 1, 1),
        "stages": (affine(C),),
        "float_out": "y",
        "bits_out": "b",
    }
    return Node(
        name="pool", sources=(), op=op, inputs=("x",), out_channels=C, **{**given, **fields}
    )


def moved(op: Any, K: int, in_channels: int, **fields: Any) -> Node:
    """An elementwise or concat step over 4x5 pixels."""
    fields.setdefault("inputs", ("x",))
    return Node(
        name=op, sources=(), op=op, in_shape=(1, 4, 5, in_channels), out_channels=K, **fields
    )


def depthwise(C: int, **fields: Any) -> Node:
    """A binary depthwise convolution, 3x3 over 7x9 pixels unless told otherwise."""
    return conv(C, C, groups=C, **{"image": (7, 9), **fields})


def bit_pool(C: int, **fields: Any) -> Node:
    """A pool of bits, minima among maxima; a maximum alone where there is one channel."""
    least = np.where(np.arange(C) % 3 == 1, np.float32(-1), np.float32(1))
    fixed: dict[str, Any] = {"weights": least, "stages": (), "float_out": None}
    return pool("pool_bits", C, **fixed, **fields)
