"""Bits against arithmetic that knows nothing of bits: numpy's dot and torch's float convolution."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from binas.core import bits

CHANNELS = st.integers(1, 200)  # not only multiples of the word


def signs(seed: int, *shape: int) -> bits.Floats:
    """±1 of a shape."""
    return np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.float32), size=shape)


@given(C=CHANNELS, seed=st.integers(0, 2**32 - 1))
def test_unpacking_undoes_packing_for_any_number_of_channels(C: int, seed: int) -> None:
    values = signs(seed, 3, C)
    packed = bits.pack(values)
    assert packed.shape == (3, bits.words(C))
    assert packed.dtype == np.uint32
    np.testing.assert_array_equal(bits.unpack(packed, C), values)


@given(C=CHANNELS, seed=st.integers(0, 2**32 - 1))
def test_packed_bytes_are_a_prefix_of_the_words_and_unpack_alike(C: int, seed: int) -> None:
    values = signs(seed, 2, C)
    octets = bits.pack_bytes(values)
    whole = bits.pack(values).astype("<u4").view(np.uint8)
    assert octets.shape == (2, -(-C // 8))
    np.testing.assert_array_equal(octets, whole[:, : octets.shape[1]])
    assert not whole[:, octets.shape[1] :].any(), "bits beyond the last channel are 0"
    np.testing.assert_array_equal(bits.unpack_bytes(octets, C), values)


@given(C=CHANNELS)
def test_bits_beyond_the_last_channel_are_zero(C: int) -> None:
    packed = bits.pack(np.ones(C, dtype=np.float32))
    assert int(np.bitwise_count(packed).sum()) == C


@given(C=CHANNELS, seed=st.integers(0, 2**32 - 1))
def test_the_dot_of_packed_vectors_is_the_dot_of_the_floats(C: int, seed: int) -> None:
    x, w = signs(seed, 5, C), signs(seed ^ 1, 5, C)
    expected = (x.astype(np.int64) * w.astype(np.int64)).sum(axis=-1)
    np.testing.assert_array_equal(bits.dot(bits.pack(x), bits.pack(w), C), expected)


@given(
    st.lists(
        st.floats(allow_nan=False, width=32) | st.just(-0.0) | st.just(0.0), min_size=1, max_size=70
    )
)
def test_the_sign_of_any_float_is_plus_one_from_zero_upwards(values: list[float]) -> None:
    expected = [1.0 if value >= 0 else -1.0 for value in values]
    array = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(bits.sign(array), expected)
    np.testing.assert_array_equal(bits.unpack(bits.pack(array), len(values)), expected)


@given(
    C=st.sampled_from([1, 31, 32, 33, 63, 64, 65, 127, 128, 129]),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (3, 1)]),
    stride=st.sampled_from([(1, 1), (2, 2), (2, 1)]),
    dilation=st.sampled_from([(1, 1), (2, 2)]),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    pad_value=st.sampled_from([0, 1, -1]),
    size=st.tuples(st.integers(9, 11), st.integers(9, 12)),
    seed=st.integers(0, 2**32 - 1),
)
def test_binary_convolution_is_the_float_convolution_of_plus_and_minus_one(
    *,
    C: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
    pad_value: int,
    size: tuple[int, int],
    seed: int,
) -> None:
    import torch

    x, w = signs(seed, 2, *size, C), signs(seed ^ 1, 3, *kernel, C)
    top, left, bottom, right = padding
    outside = torch.nn.functional.pad(
        torch.from_numpy(x).permute(0, 3, 1, 2), (left, right, top, bottom), value=float(pad_value)
    )
    expected = torch.nn.functional.conv2d(
        outside, torch.from_numpy(w).permute(0, 3, 1, 2), stride=stride, dilation=dilation
    )
    got = bits.binary_conv2d(
        bits.pack(x),
        bits.pack(w),
        C,
        stride=stride,
        padding=padding,
        dilation=dilation,
        pad_value=pad_value,
    )
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, expected.permute(0, 2, 3, 1).numpy())
