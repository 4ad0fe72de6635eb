"""Weights and inputs on which every engine must agree to the last bit.

Scales are multiples of 1/8, the values that pass between layers multiples of 1/64, and all stay
small: a float32 holds every intermediate result exactly, in whichever order an engine adds. No sum
is ever zero (see `binary`), so nobody's sign of zero matters. A binary engine is then right or
wrong, with no tolerance between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.macs import Conv
from benchmarks.works import Form

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary convolution followed by an affine per channel.

    Attributes:
        conv: Its shape.
        w: ±1 [K, R, S, C/groups], float32.
        scale: [K].
        bias: [K].
    """

    conv: Conv
    w: Array
    scale: Array
    bias: Array


def odd(rng: np.random.Generator, shape: int | tuple[int, ...], grain: int, span: int) -> Array:
    """Odd multiples of 1/grain, `span` of them on either side of zero."""
    return ((2 * rng.integers(-span, span, shape) + 1) / grain).astype(np.float32)


def even(rng: np.random.Generator, shape: int | tuple[int, ...], grain: int, span: int) -> Array:
    """Even multiples of 1/grain."""
    return (2 * rng.integers(-span, span + 1, shape) / grain).astype(np.float32)


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """±1."""
    return np.where(rng.integers(0, 2, shape) > 0, 1, -1).astype(np.float32)


def image(conv: Conv, seed: int = 1) -> Array:
    """An input of a layer: odd multiples of 1/64 between -4 and 4."""
    rng = np.random.default_rng(seed)
    return odd(rng, (1, conv.channels, conv.size, conv.size), 64, 128)


def binary(conv: Conv, form: Form, index: int) -> Binary:
    """Parameters of the layer of a place in its model."""
    rng = np.random.default_rng((7, index))
    K, C, R = conv.filters, conv.channels // conv.groups, conv.kernel
    # A sum of odd numbers may be zero, one of an odd and an even number cannot: where the input is
    # added its multiples are the odd ones, elsewhere those of the bias.
    bias = odd if form == "bits" else even
    return Binary(
        conv,
        signs(rng, (K, R, R, C)),
        (rng.integers(4, 13, K) / 8).astype(np.float32),
        bias(rng, K, 64, 100),
    )


def real(conv: Conv, index: int) -> tuple[Array, Array]:
    """Weights [K, C/groups, R, S] that keep the variance, and a bias."""
    rng = np.random.default_rng((8, index))
    K, C, R = conv.filters, conv.channels // conv.groups, conv.kernel
    w = rng.standard_normal((K, C, R, R)) / np.sqrt(C * R * R)
    return w.astype(np.float32), (0.1 * rng.standard_normal(K)).astype(np.float32)
