"""Layers of every kind with random weights, and what goes into them: the cases of kernel tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from binas.compile.graph import Add, Node, Relu, Sign
from tests.integration.binary_cases import binary_cases
from tests.integration.bit_cases import bit_cases
from tests.integration.kernel_nodes import STRADDLING, affine, conv, depthwise, moved, pool, prelu


def _cases() -> Iterator[tuple[str, Node]]:
    yield from binary_cases()
    yield from bit_cases()
    yield from _depthwise_cases()
    for C, K in ((1, 32), (3, 65), (33, 24)):
        yield f"float 3x3 of {C} to {K}", conv(C, K, binary=False, packed=True, stride=(2, 2))
    yield "float 7x7 at stride 2, two images", conv(5, 33, binary=False, kernel=(7, 7), batch=2)
    yield from _filtered_cases()
    yield from _doubly_filtered_cases()
    yield from _float_depthwise_cases()
    yield from _one_bit_weights()
    yield "float 3x3 with weights of one bit", conv(5, 65, binary=False, signs=True)
    yield "float dilated in groups", conv(12, 24, binary=False, groups=3, dilation=(2, 2))
    yield "float padded beyond the image", conv(3, 5, binary=False, padding=(4, 4, 4, 4))
    yield (
        "dense",
        conv(200, 10, binary=False, image=(1, 1), kernel=(1, 1), stages=(affine(10), Relu())),
    )
    yield (
        "dense on an image",
        conv(4, 10, binary=False, image=(4, 4), kernel=(4, 4), padding=(0,) * 4, batch=2),
    )
    for C in (1, 33, 64):
        yield f"max pool of {C}", pool("pool_max", C)
        yield f"average of the inner taps of {C}", pool("pool_avg", C)
    yield "average that counts padded taps", pool("pool_avg", 31, pads_count=True)
    sideways: dict[str, Any] = {"kernel": (3, 5), "stride": (1, 2), "padding": (0, 1, 0, 3)}
    yield "average, padded along the row alone", pool("pool_avg", 33, **sideways)
    for C in (1, 10, 33, 129):
        softmax: dict[str, Any] = {"in_shape": (2, 3, 2, C), "kernel": (1, 1), "stride": (1, 1)}
        yield f"softmax of {C}", pool("softmax", C, padding=(0,) * 4, **softmax)
    yield "max pool of nothing but -inf in a corner", pool("pool_max", 32, stages=())
    yield "max pool, dilated", pool("pool_max", 5, dilation=(2, 2), padding=(0,) * 4)
    whole: dict[str, Any] = {"kernel": (7, 6), "padding": (0,) * 4, "stages": (), "bits_out": None}
    yield "global average", pool("pool_avg", 65, **whole)
    for C in (1, 33, 129):
        grid = np.arange(20 * C, dtype=np.float32).reshape(1, 4, 5, C) - 10 * C
        added: dict[str, Any] = {"stages": (Add("r"),), "float_out": "y", "bits_out": "b"}
        yield f"constant of {C}", moved("constant", C, C, inputs=(), weights=grid, **added)
        yield f"pack of {C}", moved("elementwise", C, C, bits_out="b")
    yield (
        "elementwise, all stages",
        moved(
            "elementwise",
            70,
            70,
            stages=(affine(70), prelu(70), Add("r"), Relu(), Sign()),
            float_out="y",
            bits_out="b",
        ),
    )
    yield (
        "concat of whole words, packed",
        moved(
            "concat",
            100,
            100,
            inputs=("x", "z"),
            parts=(64, 36),
            stages=(Add("r"),),
            float_out="y",
            bits_out="b",
            bits_affine=affine(100),
        ),
    )
    joined: dict[str, Any] = {"inputs": ("x", "z", "u", "w"), "parts": (40, 1, 31, 33)}
    yield (
        "concat of parts inside words, packed",
        moved("concat", 129, 105, **joined, stages=(affine(129), Relu()), bits_out="b"),
    )
    yield (
        "concat of parts inside words, both outputs",
        moved("concat", 105, 105, **joined, float_out="y", bits_out="b", bits_affine=affine(105)),
    )
    yield (
        "concat of odd parts",
        moved("concat", 40, 40, inputs=("x", "z", "u"), parts=(16, 23, 1), float_out="y"),
    )
    yield "leading channels", moved("concat", 33, 40, parts=(33,), float_out="y", bits_out="b")
    yield "trailing channels", moved("slice", 33, 40, parts=(7,), float_out="y", bits_out="b")
    middle: dict[str, Any] = {"stages": (affine(70),), "bits_out": "b"}
    yield "channels in the middle, packed", moved("slice", 70, 140, parts=(33,), **middle)
    yield "zero channels behind", moved("concat", 45, 24, parts=(24,), float_out="y")
    yield "zero words behind", moved("concat", 70, 32, parts=(32,), float_out="y", bits_out="b")


def _one_bit_weights() -> Iterator[tuple[str, Node]]:
    """Weights of one bit on real activations, with and without a pay for looking sums up."""
    one: dict[str, Any] = {"binary": False, "signs": True, "kernel": (1, 1)}
    for C in (*STRADDLING, 3, 4, 290):
        yield f"float 1x1 with weights of one bit, {C} to 65", conv(C, 65, **one)
    for C in (400, 512, 700):  # the last one of 16 channels, of whole words, of both
        yield f"float 1x1 with weights of one bit in passes, {C} to 65", conv(C, 65, **one)
    for K in (1, 47, 48, 129):
        yield f"float 1x1 with weights of one bit, 66 to {K}", conv(66, K, packed=True, **one)
    stages = (affine(97), prelu(97), Add("r"))
    fields: dict[str, Any] = {
        "image": (5, 7),
        "batch": 2,
        "stride": (2, 2),
        "padding": (0,) * 4,
        "packed": True,
    }
    yield (
        "float 1x1 with weights of one bit at stride 2",
        conv(132, 97, stages=stages, **one, **fields),
    )
    yield "float looked up, dense", conv(260, 1000, image=(1, 1), **one)
    for C in (129, 290, 701):  # in one pass and in several, with channels that fill no nibble
        yield f"float looked up, {C} to 129", conv(C, 129, image=(9, 9), packed=True, **one)
    yield "float looked up, bits alone", conv(200, 160, floats=False, packed=True, **one)
    yield (
        "float looked up, rests",
        conv(130, 200, stages=(affine(200), prelu(200), Add("r")), **one, **fields),
    )
    yield from _many_pixels(one)
    for C, K, image in (
        (3, 65, (4, 5)),
        (33, 31, (3, 23)),
        (66, 129, (5, 7)),
        (97, 200, (3, 11)),
        (134, 129, (4, 10)),
        (290, 129, (9, 9)),
        (701, 129, (9, 9)),
        (260, 1000, (1, 1)),
    ):
        fields = {"image": image, "packed": K > 31, "in_affine": affine(C, seed=2), "batch": 2}
        yield f"float 1x1 behind an affine, {C} to {K}", conv(C, K, **one, **fields)
    fields = {"image": (3, 75), "stride": (2, 2), "in_affine": affine(135, seed=2), "batch": 2}
    yield "float 1x1 behind an affine at stride 2", conv(135, 150, **one, **fields)


def _many_pixels(one: dict[str, Any]) -> Iterator[tuple[str, Node]]:
    """The same of so many pixels that they are lanes where registers are short."""
    for C, K, image in (
        (97, 200, (3, 11)),  # of the rows: 16, 16 and 1 pixels; of the channels: 64, 32 and 1
        (131, 100, (5, 5)),  # 16 and 9; 128 and 3
        (134, 129, (4, 10)),  # 16, 16 and 8; 128 and 6
        (64, 192, (3, 13)),  # 16, 16 and 7
        (200, 102, (1, 16)),
    ):
        fields: dict[str, Any] = {"image": image, "batch": 1 + C % 2, "packed": True}
        yield f"float looked up by pixels, {C} to {K}", conv(C, K, **one, **fields)
    stages = (affine(150), prelu(150), Add("r"))
    fields = {"image": (3, 75), "batch": 2, "stride": (2, 2), "padding": (0,) * 4}
    yield "float looked up by pixels, at stride 2", conv(135, 150, stages=stages, **one, **fields)
    fields = {"floats": False, "packed": True, "image": (6, 7)}
    yield "float looked up by pixels, bits alone", conv(200, 160, **one, **fields)


def _filtered_cases() -> Iterator[tuple[str, Node]]:
    """Real convolutions whose products are saved (`float_winograd.py`)."""
    for C, K, taps, stride, padding, image in (
        (3, 64, 3, 1, (1, 1, 1, 1), (5, 32)),
        (4, 33, 3, 1, (0, 1, 2, 0), (7, 16)),
        (16, 31, 3, 1, (2, 3, 0, 1), (4, 9)),
        (33, 65, 3, 1, (1, 0, 1, 3), (3, 10)),
        (1, 65, 7, 2, (3, 3, 3, 3), (9, 31)),
        (3, 64, 7, 2, (3, 2, 1, 0), (19, 40)),
        (16, 33, 5, 1, (2, 2, 2, 2), (4, 12)),
        (3, 64, 5, 2, (0, 2, 2, 2), (11, 64)),
    ):
        fields: dict[str, Any] = {"kernel": (taps, taps), "stride": (stride, stride)}
        fields |= {"padding": padding, "image": image, "binary": False}
        name = f"float filtered {taps}x{taps} at stride {stride} of {C} to {K}"
        yield name, conv(C, K, packed=True, **fields)
    plain: dict[str, Any] = {"binary": False, "image": (10, 32)}
    stages = (affine(64), Add("r"), prelu(64))
    yield "float filtered, residual, two images", conv(3, 64, stages=stages, batch=2, **plain)
    yield "float filtered to bits alone", conv(16, 96, floats=False, packed=True, **plain)
    beyond: dict[str, Any] = {"image": (2, 23), "padding": (4, 1, 4, 2), "binary": False}
    yield "float filtered, rows of nothing but padding", conv(16, 64, **beyond)
    yield "float filtered 1x3", conv(33, 64, kernel=(1, 3), **plain)


def _doubly_filtered_cases() -> Iterator[tuple[str, Node]]:
    """Those whose products are saved in two dimensions (`float_winograd_2d.py`)."""
    for C, K, taps, stride, padding, image in (
        (24, 33, 3, (1, 1), (1, 1, 1, 1), (16, 31)),
        (33, 65, 3, (1, 1), (2, 0, 0, 3), (8, 15)),
        (24, 31, 3, (1, 1), (0, 1, 2, 0), (24, 24)),
        (65, 65, 3, (2, 2), (1, 1, 1, 1), (63, 63)),
        (40, 33, 3, (1, 2), (1, 1, 1, 1), (8, 32)),
        (48, 64, 4, (2, 2), (1, 1, 1, 1), (32, 32)),
        (24, 32, 7, (2, 2), (3, 3, 3, 3), (16, 32)),
    ):
        fields: dict[str, Any] = {"kernel": (taps, taps), "stride": stride, "padding": padding}
        name = f"float doubly filtered {taps}x{taps} at stride {stride} of {C} to {K}"
        yield name, conv(C, K, packed=True, image=image, binary=False, **fields)
    plain: dict[str, Any] = {"binary": False, "image": (16, 24)}
    stages = (affine(64), Add("r"), prelu(64))
    yield (
        "float doubly filtered, residual, two images",
        conv(24, 64, stages=stages, batch=2, **plain),
    )
    yield "float doubly filtered to bits alone", conv(31, 96, floats=False, packed=True, **plain)
    uneven: dict[str, Any] = {"image": (10, 33), "padding": (1, 2, 1, 1), "binary": False}
    yield "float doubly filtered, unequal groups, two images", conv(128, 256, batch=2, **uneven)
    beyond: dict[str, Any] = {"image": (24, 16), "padding": (3, 1, 1, 1), "binary": False}
    yield "float doubly filtered, a row of nothing but padding", conv(32, 64, **beyond)


def _float_depthwise_cases() -> Iterator[tuple[str, Node]]:
    def of(C: int, **fields: Any) -> Node:
        return conv(C, C, binary=False, groups=C, **fields)

    for C in (2, 12, 31, 33, 65, 129):
        yield f"float depthwise of {C}", of(C, image=(4, 11))
        fields: dict[str, Any] = {"stride": (2, 2), "floats": C < 64, "packed": True}
        yield f"float depthwise of {C} to bits at stride 2", of(C, **fields)
    for C in (5, 33, 104, 108):
        fields = {"kernel": (5, 5), "image": (4, 23), "packed": True, "floats": C > 33}
        yield f"float depthwise 5x5 of {C} to bits", of(C, **fields)
    fields = {"dilation": (2, 2), "padding": (4, 4, 4, 4), "packed": True, "batch": 2}
    yield "float depthwise 5x5, dilated", of(40, kernel=(5, 5), **fields)
    fields = {"padding": (3, 0, 1, 4), "stride": (1, 3), "image": (2, 9), "packed": True}
    yield "float depthwise, uneven padding, no column read twice", of(48, **fields)
    fields = {"kernel": (5, 5), "stride": (2, 2), "image": (9, 24), "packed": True}
    yield (
        "float depthwise 5x5 at stride 2, a sign of its own",
        of(72, bits_affine=affine(72), **fields),
    )
    for size, image in ((7, (7, 7)), (7, (8, 20)), (9, (9, 12))):
        fields = {"kernel": (size, size), "image": image, "padding": (0,) * 4, "packed": True}
        yield f"float depthwise {size}x{size} on {image[0]}x{image[1]}, unpadded", of(33, **fields)
    for C in (2, 31, 33, 108):
        fields = {"in_affine": affine(C, seed=2), "image": (4, 23), "packed": C > 31}
        yield f"float depthwise of {C} behind an affine", of(C, **fields)
    fields = {"in_affine": affine(65, seed=2), "kernel": (5, 5), "padding": (4,) * 4}
    for image in ((14, 11), (7, 7), (1, 3)):
        fields |= {"image": image, "dilation": (2, 2), "batch": 2}
        yield f"float depthwise 5x5 on {image[0]}x{image[1]} behind an affine", of(65, **fields)
    fields = {"in_affine": affine(40, seed=2), "padding": (3, 0, 1, 4), "stride": (1, 3)}
    yield "float depthwise, uneven padding behind an affine", of(40, image=(2, 9), **fields)
    fields = {"in_affine": affine(33, seed=2), "kernel": (1, 1)}
    yield "float depthwise 1x1 behind an affine", of(33, image=(3, 70), **fields)


def _depthwise_cases() -> Iterator[tuple[str, Node]]:
    alone: dict[str, Any] = {"floats": False, "packed": True}
    for C in (2, 33, 64, 129, 544):
        yield f"depthwise 3x3 of {C} to bits", depthwise(C, **alone)
        yield f"depthwise 3x3 of {C} to floats and bits", depthwise(C, packed=True)
    for value, stride in ((0, 2), (1, 1), (-1, 2)):
        fields: dict[str, Any] = {"pad_value": value, "stride": (stride, stride)}
        name = f"padded with {value} at stride {stride}"
        yield f"depthwise 5x5 to bits, {name}", depthwise(65, kernel=(5, 5), **fields, **alone)
        fields |= {"dilation": (2, 2), "padding": (2, 2, 2, 2)}
        yield f"depthwise dilated to bits, {name}", depthwise(160, **fields, **alone)
        yield f"depthwise dilated to floats, {name}", depthwise(40, batch=2, **fields)
    for C in (160, 288, 544):  # words that fill no whole number of vectors
        yield f"depthwise of {C} to floats at stride 2", depthwise(C, stride=(2, 2), image=(5, 9))
    wide: dict[str, Any] = {"kernel": (5, 5), "dilation": (2, 2), "padding": (4, 4, 4, 4)}
    yield "depthwise, nowhere all taps inside", depthwise(64, image=(4, 3), **wide, **alone)
    uneven: dict[str, Any] = {"padding": (0, 3, 4, 1), "stride": (3, 3), "kernel": (2, 4)}
    yield "depthwise, uneven padding at stride 3", depthwise(33, **uneven, **alone)
    beyond: dict[str, Any] = {"padding": (4, 4, 4, 4), "image": (2, 1)}
    yield "depthwise, rows of nothing but padding", depthwise(72, **beyond, **alone)
    yield "depthwise, nothing but padding to floats", depthwise(72, **beyond)
    yield "depthwise 1x1", depthwise(40, kernel=(1, 1), **alone)
    long: dict[str, Any] = {"image": (2, 300), "kernel": (1, 3)}
    yield "depthwise of a long row to floats", depthwise(33, **long)
    yield "depthwise of 117 taps", depthwise(5, image=(1, 1), kernel=(9, 13))
    K, after = 48, affine(48, 2)
    stages = (affine(K), prelu(K), Add("r"))
    yield "depthwise with a residual", depthwise(K, packed=True, stages=stages, bits_affine=after)


CASES = dict(_cases())
