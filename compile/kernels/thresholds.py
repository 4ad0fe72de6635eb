"""Where bits alone leave a binary convolution: one integer comparison per channel decides them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Affine
from binas.core.layer import Layer


def thresholded(layer: Layer) -> bool:
    """Bits alone after one affine: an integer comparison per channel decides them."""
    return layer.stages == ("affine",) and not layer.float_out and not layer.bits_affine


def threshold(affine: Affine, bound: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Integer thresholds t and flips f with  a * dot + b >= 0  ⟺  (f ? -dot : dot) >= t.

    Args:
        affine: a and b per channel, rounded to the float32 values the contract stores.
        bound: No |dot| exceeds this; thresholds beyond it mean always or never.
    """
    a = affine.scale.astype(np.float32).astype(np.float64)
    b = affine.bias.astype(np.float32).astype(np.float64)
    flip = a < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.ceil(-b / np.abs(a))
    limit = np.where(a == 0, np.where(b >= 0, -np.inf, np.inf), limit)
    return np.clip(limit, -bound - 1, bound + 1).astype(np.int32), flip
