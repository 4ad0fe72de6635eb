"""The definition of a bit, once, and the slow arithmetic on packed bits that all else must equal.

- A bit is 1 for +1 and 0 for -1. Zero (and -0.0) counts as +1.
- The last axis of an array is packed, lowest index into the lowest bit of the first little-endian
  word. Bits beyond the last channel are 0 in both operands, so they never count as a mismatch.
- dot = n - 2 * popcount(x xor w), with n the number of real (unpadded) taps times channels.

`compile/kernels/`, `runtime/native/` and the ONNX function bodies of `compile/functions.py` rely on
these four lines. Shapes: N batch, H W rows and columns, C channels in, K channels out, R S kernel,
P Q output rows and columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 32

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]


def words(channels: int) -> int:
    """Number of words that `channels` bits take."""
    return -(-channels // WORD_BITS)


def sign(x: NDArray[np.floating]) -> Floats:
    """+1 where x >= 0 (both zeros included), -1 elsewhere; NaN has no sign and is refused."""
    if np.isnan(x).any():
        raise ValueError("NaN has no sign")
    return np.where(x >= 0, np.float32(1), np.float32(-1)).astype(np.float32)


def pack(values: NDArray[np.generic]) -> Words:
    """Pack the sign of the last axis: [..., C] of any real dtype → [..., words(C)] uint32.

    Example:
        >>> pack(np.array([1.0, -1.0, -0.0])).tolist()
        [5]
    """
    ones = sign(np.asarray(values, dtype=np.float32)) > 0
    channels = ones.shape[-1]
    padded = np.zeros((*ones.shape[:-1], words(channels) * WORD_BITS), dtype=np.uint8)
    padded[..., :channels] = ones
    packed = np.packbits(padded, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4").astype(np.uint32, copy=False)


def unpack(packed: Words, channels: int) -> Floats:
    """The inverse of `pack`: [..., words(C)] uint32 → [..., C] float32 of ±1."""
    octets = np.ascontiguousarray(packed, dtype="<u4").view(np.uint8)
    ones = np.unpackbits(octets, axis=-1, bitorder="little")[..., :channels]
    return np.where(ones == 1, np.float32(1), np.float32(-1)).astype(np.float32)


def pack_bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Pack as the ONNX contract stores weights: [..., C] → [..., ceil(C/8)] uint8."""
    channels = values.shape[-1]
    octets = np.ascontiguousarray(pack(values), dtype="<u4").view(np.uint8)
    return np.ascontiguousarray(octets[..., : -(-channels // 8)])


def unpack_bytes(packed: NDArray[np.uint8], channels: int) -> Floats:
    """The inverse of `pack_bytes`: [..., ceil(C/8)] uint8 → [..., C] float32 of ±1."""
    ones = np.unpackbits(packed, axis=-1, bitorder="little")[..., :channels]
    return np.where(ones == 1, np.float32(1), np.float32(-1)).astype(np.float32)


def dot(x: Words, w: Words, channels: int) -> NDArray[np.int32]:
    """Σ x·w over ±1 vectors packed along the last axis; operands broadcast like numpy's."""
    mismatches = np.bitwise_count(x ^ w).sum(axis=-1, dtype=np.int32)
    return np.asarray(channels - 2 * mismatches, dtype=np.int32)


def binary_conv2d(
    x: Words,
    w: Words,
    channels: int,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    pad_value: int = 0,
) -> NDArray[np.int32]:
    """Convolution of ±1 activations with ±1 weights, one kernel tap at a time.

    Args:
        x: Activations [N, H, W, words(C)].
        w: Weights [K, R, S, words(C)].
        channels: C, the number of real channels.
        stride: Rows, columns.
        padding: Top, left, bottom, right.
        dilation: Rows, columns.
        pad_value: What a tap outside the image holds: 0 counts nothing, as zero padding after the
            sign does in PyTorch; +1 and -1 count as that bit.

    Returns:
        [N, P, Q, K] int32, the exact sums.
    """
    (N, H, W, _), (K, R, S, _) = x.shape, w.shape
    top, left, bottom, right = padding
    P = (H + top + bottom - dilation[0] * (R - 1) - 1) // stride[0] + 1
    Q = (W + left + right - dilation[1] * (S - 1) - 1) // stride[1] + 1
    outside = pack(np.full(channels, pad_value if pad_value else 1, dtype=np.float32))
    total = np.zeros((N, P, Q, K), dtype=np.int32)
    for r in range(R):
        rows = np.arange(P) * stride[0] - top + r * dilation[0]
        for s in range(S):
            columns = np.arange(Q) * stride[1] - left + s * dilation[1]
            inside = ((rows >= 0) & (rows < H))[:, None] & ((columns >= 0) & (columns < W))[None, :]
            taps = x[:, rows.clip(0, H - 1)][:, :, columns.clip(0, W - 1)]
            taps = np.where(inside[None, :, :, None], taps, outside)
            products = dot(taps[:, :, :, None, :], w[:, r, s], channels)
            if pad_value == 0:
                products = products * inside[None, :, :, None]
            total += products
    return total
