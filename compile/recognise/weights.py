"""Which weights are one bit: two values ±s per output channel, whatever s is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

REAL = "its weights are real; -s and +s per output channel make a bit"

# Straight-through estimators left in a file, (s - c) + c, blur ±s by some units in the last place.
_SPREAD = 1e-4


@dataclass(frozen=True, slots=True)
class Bits:
    """w = scale[k] * signs.

    Attributes:
        signs: ±1, in the shape of w.
        scale: [K] float64, 0 where a channel is all zeros.
    """

    signs: Array
    scale: NDArray[np.float64]


def as_bits(w: Array) -> Bits | str:
    """The bits and scales of weights [K, ...]; a sentence on what they are otherwise."""
    flat = w.reshape(w.shape[0], -1)
    magnitude = np.abs(flat)
    with np.errstate(invalid="ignore"):  # NaN is answered for below
        scale = magnitude.mean(axis=1, dtype=np.float64)
    if not np.isfinite(scale).all():
        return "its weights are not finite"
    low, high = magnitude.min(axis=1), magnitude.max(axis=1)
    if ((high - scale <= _SPREAD * scale) & (scale - low <= _SPREAD * scale)).all():
        return Bits(np.where(w >= 0, np.float32(1), np.float32(-1)), scale)
    values = np.unique(flat) if np.unique(flat[0]).size <= 3 else np.unique(flat)[:4]
    if values.size <= 3:
        shown = ", ".join(f"{value:.4g}" for value in values)
        kind = "ternary" if values.size == 3 else "two-valued"
        return f"its weights are {kind} ({shown}); -s and +s per output channel make a bit"
    if all(np.unique(np.abs(row)).size <= 2 and (row == 0).any() for row in flat):
        return "its weights are ternary (-s, 0, +s); -s and +s per output channel make a bit"
    return REAL


def worth_packing(bits: Bits) -> bool:
    """Whether weights on real activations are bits on purpose, not a constant blur or a gain."""
    rows = bits.signs.reshape(bits.signs.shape[0], -1)
    return rows.shape[1] >= 8 and bool(((rows > 0).any() & (rows < 0).any()).all())
