"""What the engines must compute: every model in numpy, in float64; and how close is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.builder import Array
from benchmarks.macs import Conv
from benchmarks.parameters import Binary

FLOAT_TOLERANCE = 1e-4  # of the largest value: another order of the same additions
INT8_TOLERANCE = 0.1  # root mean square, of the reference's: 8 bits instead of 24


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison found.

    Attributes:
        agrees: Whether it is right.
        words: For the report.
    """

    agrees: bool
    words: str


def exact(found: Array, wanted: Array) -> Verdict:
    """Every value equal to the last bit."""
    if found.shape != wanted.shape:
        return Verdict(False, f"shape {found.shape}, expected {wanted.shape}")
    differing = int((found != wanted).sum())
    if differing:
        return Verdict(False, f"{differing} of {wanted.size} values differ")
    return Verdict(True, "exact")


def near(found: Array, wanted: Array, tolerance: float = FLOAT_TOLERANCE) -> Verdict:
    """The largest error against the largest value."""
    if found.shape != wanted.shape:
        return Verdict(False, f"shape {found.shape}, expected {wanted.shape}")
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    return Verdict(error <= tolerance, f"largest error {error:.1e} of the largest value")


def alike(found: Array, wanted: Array, tolerance: float = INT8_TOLERANCE) -> Verdict:
    """The root mean square error against the reference's own."""
    if found.shape != wanted.shape:
        return Verdict(False, f"shape {found.shape}, expected {wanted.shape}")
    error = float(np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()))
    return Verdict(error <= tolerance, f"rms error {error:.1e} of the rms value")


class NumpyBuilder:
    """A `Builder` that computes while it builds; a value is a float64 array.

    Args:
        x: What the input holds.
    """

    def __init__(self, x: Array) -> None:
        """Keep the input."""
        self._x = x.astype(np.float64)

    def input(self, name: str, shape: tuple[int, ...]) -> Array:
        """The input."""
        return self._x.reshape(shape)

    def sign(self, x: Array, channels: int) -> Array:
        """+1 or -1."""
        return np.where(x >= 0, 1.0, -1.0)

    def binary(self, bits: Array, parameters: Binary) -> Array:
        """Binary convolution, scaled and shifted."""
        sums = _conv2d(bits, parameters.conv, parameters.w.transpose(0, 3, 1, 2))
        return sums * _channels(parameters.scale) + _channels(parameters.bias)

    def conv(self, x: Array, conv: Conv, w: Array, bias: Array) -> Array:
        """Convolution of reals."""
        return _conv2d(x, conv, w) + _channels(bias)

    def add(self, x: Array, y: Array) -> Array:
        """Elementwise sum."""
        return x + y

    def relu(self, x: Array) -> Array:
        """The larger of x and 0."""
        return np.maximum(x, 0)

    def max_pool(self, x: Array) -> Array:
        """3x3, stride 2, padding 1."""
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.asarray(windows[:, :, ::2, ::2].max(axis=(-2, -1)))

    def average_pool(self, x: Array) -> Array:
        """2x2, stride 2."""
        N, C, H, W = x.shape
        return np.asarray(x.reshape(N, C, H // 2, 2, W // 2, 2).mean(axis=(3, 5)))

    def mean(self, x: Array, channels: int) -> Array:
        """Mean over the image."""
        return np.asarray(x.mean(axis=(2, 3)))

    def dense(self, x: Array, w: Array, bias: Array) -> Array:
        """Dense layer."""
        return np.asarray(x @ w.T.astype(np.float64) + bias)


def _channels(values: Array) -> Array:
    return values.astype(np.float64)[:, None, None]


def _conv2d(x: Array, conv: Conv, w: Array) -> Array:
    """Convolution of one image, one kernel tap at a time."""
    P, D, G, step, side = conv.padding, conv.dilation, conv.groups, conv.stride, conv.out_size
    padded = np.pad(x[0], ((0, 0), (P, P), (P, P)))
    per_in, per_out = conv.channels // G, conv.filters // G
    y = np.zeros((conv.filters, side, side))
    for r in range(conv.kernel):
        for s in range(conv.kernel):
            part = padded[:, r * D :: step, s * D :: step][:, :side, :side]
            for g in range(G):
                taps = w[g * per_out : (g + 1) * per_out, :, r, s].astype(np.float64)
                own = part[g * per_in : (g + 1) * per_in]
                y[g * per_out : (g + 1) * per_out] += np.tensordot(taps, own, axes=1)
    return y[None]
