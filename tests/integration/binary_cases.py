"""Cases of binary convolutions: borders, epilogues, numbers of outputs, reductions and groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from binas.compile.graph import Add, Node, Relu, Sign
from tests.integration.kernel_nodes import STRADDLING, affine, conv, prelu


def binary_cases() -> Iterator[tuple[str, Node]]:
    """Name and step of every case."""
    for C in STRADDLING:
        yield f"binary 3x3 of {C} channels to {C}", conv(C, C, packed=True)
    for value in (0, 1, -1):
        for stride in (1, 2):
            fields: dict[str, Any] = {"pad_value": value, "stride": (stride, stride)}
            name = f"binary padded with {value} at stride {stride}"
            yield f"{name}, bits alone", conv(33, 40, floats=False, packed=True, **fields)
            yield f"{name}, both outputs", conv(32, 33, packed=True, **fields)
        beyond: dict[str, Any] = {"padding": (4, 4, 3, 5), "pad_value": value}
        yield f"binary, rows of nothing but padding {value}", conv(40, 8, image=(3, 3), **beyond)
        uneven: dict[str, Any] = {"padding": (0, 1, 2, 0), "pad_value": value, "dilation": (2, 2)}
        yield f"binary dilated, uneven padding {value}", conv(40, 34, image=(7, 6), **uneven)
        wide: dict[str, Any] = {"padding": (2,) * 4, "dilation": (2, 2), "pad_value": value}
        yield f"binary dilated beyond the image {value}", conv(40, 24, image=(4, 9), **wide)
    once: dict[str, Any] = {"kernel": (2, 2), "dilation": (3, 1), "padding": (1, 0, 1, 0)}
    yield (
        "binary, all kernel rows inside of the image once",
        conv(24, 129, image=(4, 7), groups=3, floats=False, packed=True, **once),
    )
    K = 48
    bits_affine = affine(K, seed=1)
    yield (
        "binary with residual before and after the activation",
        conv(64, K, packed=True, stages=(affine(K), Add("r"), prelu(K), Add("q"))),
    )
    yield (
        "binary whose bits have an affine of their own",
        conv(64, K, packed=True, stages=(affine(K), Relu(), Add("r")), bits_affine=bits_affine),
    )
    yield "binary without stages, bits alone", conv(64, K, stages=(), floats=False, packed=True)
    yield "binary whose floats are signs", conv(33, 7, stages=(affine(7), Sign()))
    yield "binary 1x1, two images", conv(96, 65, kernel=(1, 1), batch=2, packed=True)
    yield "binary 5x5 of many words", conv(128, 32, kernel=(5, 5), image=(4, 4), packed=True)
    yield "binary 3x3 of seven words, in two tiles", conv(200, 33, image=(4, 9), packed=True)
    alone: dict[str, Any] = {"floats": False, "packed": True}
    yield "binary 3x1 of sixteen words", conv(512, 17, image=(3, 8), kernel=(3, 1), **alone)
    yield (
        "binary of more ones than a byte holds",
        conv(1100, 16, image=(2, 2), padding=(0, 0, 1, 1)),
    )
    yield "binary 3x1 on a wide row", conv(32, 33, kernel=(3, 1), image=(3, 17), padding=(0,) * 4)
    yield "binary in two groups", conv(64, 64, groups=2, floats=False, packed=True)
    yield "binary in four groups of nine outputs", conv(128, 36, groups=4)
    yield "binary in groups, padded with -1", conv(64, 64, groups=2, pad_value=-1, packed=True)
    for C, K, G, more in (
        (48, 48, 3, {}),
        (80, 40, 5, {"stride": (2, 2)}),
        (100, 36, 4, {"pad_value": -1}),
        (33, 66, 33, {"dilation": (2, 2)}),
        (200, 64, 2, {"pad_value": 1}),
    ):
        fields = {"groups": G, **more}
        yield f"binary in {G} groups inside words, {C} to {K}", conv(C, K, packed=K == 64, **fields)
    yield (
        "binary in groups inside words, bits alone",
        conv(80, 64, groups=2, floats=False, packed=True),
    )
    yield from _by_outputs()


def _by_outputs() -> Iterator[tuple[str, Node]]:
    """Up to 48 outputs are counted another way than more on AVX2, unless words are few."""
    residual = (affine(65), Add("r"), prelu(65), Add("q"))
    yield "binary to 65, residual", conv(64, 65, packed=True, stages=residual)
    alone: dict[str, Any] = {"floats": False, "packed": True}
    yield "binary of seven words to 100 bits", conv(200, 100, image=(4, 9), **alone)
    yield "binary of many ones to 49", conv(1100, 49, image=(2, 2), padding=(0, 0, 1, 1))
    # Twice what does not match is beyond 15 bits for some outputs.
    yield "binary of as many ones as 15 bits hold", conv(32767, 65, kernel=(1, 1), image=(1, 2))
    fields: dict[str, Any] = {"pad_value": 1, "image": (2, 3), "batch": 2}
    yield "binary of as many ones as 15 bits hold, padded", conv(3640, 65, **fields)
    padded: dict[str, Any] = {"packed": True, "pad_value": -1, "stride": (2, 2)}
    yield "binary to 80, padded with -1 at stride 2", conv(33, 80, image=(5, 17), **padded)
    yield "binary to 48, padded with -1 at stride 2", conv(33, 48, image=(5, 27), **padded)
    yield "binary in two groups of 72 outputs", conv(128, 144, groups=2, packed=True)
    yield "binary in two groups of 60 outputs", conv(80, 120, groups=2, **alone)
    yield "binary in five groups of 20 to 3", conv(100, 15, groups=5, image=(4, 10), **alone)
    for K in (16, 24, 48):
        for C in (96, 160, 320):
            yield f"binary 1x1 of {C} to {K}", conv(C, K, kernel=(1, 1), packed=True)
    yield "binary 1x1 of 448 to 31 bits", conv(448, 31, kernel=(1, 1), **alone)
