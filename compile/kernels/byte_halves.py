"""A vector of byte counts as two vectors of 16 bits: which channels lie where, and their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import comparisons
from binas.compile.kernels import vector as v


def width(isa: Isa) -> int:
    """Bytes of a vector."""
    return isa.vector_bits // 8


def halves(W: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The channels of the lower and of the upper vector of 16-bit sums, of W channels.

    `packsswb` joins two vectors in runs of 8 within each 128 bits; so are the channels dealt out,
    and comparison results come out of it in order. Registers of 64 bytes have masks instead.
    """
    channels = np.arange(W).reshape(-1, 2, run_length(W))
    return channels[:, 0].reshape(-1), channels[:, 1].reshape(-1)


def run_length(W: int) -> int:
    """Neighbouring channels in one half of a vector of W bytes."""
    return 32 if W == 64 else 8


def mask_bits(masks: list[Any], W: int) -> list[Any]:
    """The comparison results of a vector, or of its lower half, as units of bits, int32."""
    n = W // 2
    if W == 64:
        return [comparisons.mask_bits(mask, n) for mask in masks]
    words = [tirx.Select(mask, v.splat(-1, n, "int16"), v.splat(0, n, "int16")) for mask in masks]
    words += [v.splat(0, n, "int16")] * (2 - len(words))
    return [comparisons.signs(comparisons.packed(words, n), W)]
