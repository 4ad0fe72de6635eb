"""A vector of byte counts as two vectors of 16 bits: which channels lie where, in bits or floats.

Both are made by instructions that stay within 128 bits, where others take twice as many steps:
channels are dealt out so that they come out in order. (Where a half is one vector of floats, it is
widened and converted.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import comparisons
from binas.compile.kernels import vector as v

BEYOND = 1 << 23  # floats from here on are integers
_UPPER = 0x4B00  # upper half of such a float
_SIGN = 1 << 15  # of a word


def width(isa: Isa) -> int:
    """Bytes of a vector."""
    return isa.vector_bits // 8


def halves(W: int, *, compared: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The channels of the lower and of the upper vector of 16-bit sums, of W channels.

    `compared`: for `mask_bits`. `packsswb` joins two vectors in runs of 8 within each 128 bits.
    Registers of 64 bytes have masks instead. Otherwise for `beyond`: a half has its own channels,
    and the fours of each 128 bits that belong to one vector of floats follow each other there.
    """
    channels = np.arange(W)
    if compared:
        lower, upper = channels.reshape(-1, 2, run_length(W)).transpose(1, 0, 2).reshape(2, -1)
    else:
        lower, upper = channels.reshape(2, 2, -1, 4).transpose(0, 2, 1, 3).reshape(2, -1)
    return lower, upper


def run_length(W: int) -> int:
    """Neighbouring channels in one half of a vector of W bytes that is compared."""
    return 32 if W == 64 else 8


def mask_bits(masks: list[Any], W: int) -> list[Any]:
    """The comparison results of a vector, or of its lower half, as units of bits, int32."""
    n = W // 2
    if W == 64:
        return [comparisons.mask_bits(mask, n) for mask in masks]
    words = [tirx.Select(mask, v.splat(-1, n, "int16"), v.splat(0, n, "int16")) for mask in masks]
    words += [v.splat(0, n, "int16")] * (2 - len(words))
    return [comparisons.signs(comparisons.packed(words, n), W)]


def beyond(words: Any, n: int) -> list[Any]:
    """Words of 16 bits, unsigned, as two vectors of floats: 2^23 more than each.

    From there on to 2^24 a float's lowest bits count ones, so its upper half is always the same.
    """
    upper = v.splat(_UPPER, n, "int16")
    found = []
    for four in (0, 4):
        lanes = [
            first + four + i + of for first in range(0, n, 8) for i in range(4) for of in (0, n)
        ]
        both = tirx.Shuffle([words, upper], [v.const(lane) for lane in lanes])
        found.append(v.reinterpret(v.lanes("float32", n // 2), both))
    return found


def floats(words: Any, n: int, V: int) -> list[Any]:
    """Words of 16 bits, signed, as vectors of V floats."""
    if n == V:
        return [tirx.Cast(v.lanes("float32", V), v.Register("int16", n, words).get())]
    raised = v.Register("int16", n, words ^ v.splat(-_SIGN, n, "int16")).get()
    return [x - v.splat(float(BEYOND + _SIGN), V, "float32") for x in beyond(raised, n)]
