"""Cases of kernels that move bits, or share words of them: pools, concats, shuffles, groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from binas.compile.graph import Add, Node
from tests.integration.kernel_nodes import STRADDLING, affine, bit_pool, conv, moved

_PARTS = ((32, 64, 31), (256, 544), (36,) * 4, (1, 31, 33, 63, 65, 127, 129), (40, 1))
_SHUFFLES = (
    *((64, 1), (64, 2), (66, 2), (128, 4), (1, 1), (33, 3), (36, 4), (160, 5), (258, 2), (64, 32)),
)
_GROUPS = (  # C, K, groups; of some bytes, of parts of them, of words and more
    *((64, 64, 8), (64, 64, 4), (32, 160, 4)),
    *((48, 36, 3), (66, 66, 2), (33, 99, 33), (32, 128, 32), (64, 130, 2)),
)


def bit_cases() -> Iterator[tuple[str, Node]]:
    """Name and step of every case."""
    yield from _pools()
    yield from _moved()
    yield from _groups()
    yield "binary in groups of half a word", conv(64, 128, groups=4, pad_value=-1, packed=True)


def _pools() -> Iterator[tuple[str, Node]]:
    for C in (*STRADDLING, 160, 300):
        yield f"bit pool 3x3/2 of {C}", bit_pool(C)
        yield f"bit pool 3x3/1 of {C}", bit_pool(C, stride=(1, 1), in_shape=(2, 5, 9, C))
        yield f"bit pool 2x2/2 of {C}", bit_pool(C, kernel=(2, 2), padding=(0,) * 4)
    uneven: dict[str, Any] = {"padding": (0, 2, 1, 3), "stride": (2, 3), "kernel": (3, 4)}
    yield "bit pool, uneven padding", bit_pool(65, in_shape=(1, 6, 17, 65), **uneven)
    yield "bit pool, dilated", bit_pool(33, dilation=(2, 3), in_shape=(1, 9, 12, 33))
    wide: dict[str, Any] = {"kernel": (5, 5), "padding": (2,) * 4, "stride": (1, 1)}
    yield "bit pool wider than the image", bit_pool(63, in_shape=(1, 3, 2, 63), **wide)


def _moved() -> Iterator[tuple[str, Node]]:
    for parts in _PARTS:
        C, inputs = sum(parts), tuple(f"x{i}" for i in range(len(parts)))
        fields: dict[str, Any] = {"inputs": inputs, "parts": parts, "bits_out": "b"}
        yield f"bit concat of {parts}", moved("concat_bits", C, C, **fields)
    for C, groups in _SHUFFLES:
        fields = {"groups": groups, "bits_out": "b"}
        yield f"bit shuffle of {C} in {groups}", moved("shuffle_bits", C, C, **fields)
        fields |= {"stages": (affine(C),), "float_out": "y"}
        yield f"shuffle of {C} in {groups}", moved("shuffle", C, C, **fields)


def _groups() -> Iterator[tuple[str, Node]]:
    alone: dict[str, Any] = {"floats": False, "packed": True}
    for C, K, G in _GROUPS:
        name = f"in {G} groups that share words, {C} to {K}"
        yield f"binary {name}, bits alone", conv(C, K, groups=G, **alone)
        both: dict[str, Any] = {"stages": (affine(K), Add("r")), "packed": True}
        yield f"binary {name}, both outputs", conv(C, K, groups=G, stride=(2, 2), **both)
        yield f"binary 1x1 {name}", conv(C, K, groups=G, kernel=(1, 1), image=(3, 7), **alone)
        yield f"float {name}", conv(C, K, binary=False, groups=G, batch=2, packed=True)
