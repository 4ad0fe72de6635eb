"""The corners of a bit that no random draw is sure to hit."""

from __future__ import annotations

import numpy as np
import pytest

from binas.core import bits


def test_both_zeros_are_plus_one() -> None:
    np.testing.assert_array_equal(bits.sign(np.array([0.0, -0.0])), [1.0, 1.0])
    assert bits.pack(np.array([0.0, -0.0, -1.0], dtype=np.float32)).tolist() == [0b011]


@pytest.mark.parametrize("give", [bits.sign, bits.pack, bits.pack_bytes])
def test_nan_is_refused_and_never_becomes_a_bit(give: object) -> None:
    with pytest.raises(ValueError, match="NaN"):
        give(np.array([1.0, np.nan], dtype=np.float32))  # type: ignore[operator]


def test_infinities_and_the_smallest_numbers_keep_their_sign() -> None:
    tiny = np.float32(1e-45)
    np.testing.assert_array_equal(
        bits.sign(np.array([np.inf, -np.inf, tiny, -tiny])), [1.0, -1.0, 1.0, -1.0]
    )


def test_a_double_too_small_for_float32_is_packed_as_its_rounded_value() -> None:
    # What a board would see: the value in float32, which is -0.0, which counts as +1.
    assert bits.pack(np.array([-1e-300])).tolist() == [1]


def test_the_lowest_channel_is_the_lowest_bit_of_the_first_word() -> None:
    values = -np.ones(65, dtype=np.float32)
    values[[0, 33, 64]] = 1
    assert bits.pack(values).tolist() == [1, 2, 1]


@pytest.mark.parametrize(("channels", "expected"), [(1, 1), (31, 1), (32, 1), (33, 2), (64, 2)])
def test_words_hold_thirty_two_channels_each(channels: int, expected: int) -> None:
    assert bits.words(channels) == expected


def test_integers_are_packed_by_their_sign() -> None:
    assert bits.pack(np.array([-3, 0, 7])).tolist() == [0b110]


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize(("pad_value", "corner_taps"), [(0, 4), (1, 9), (-1, 4 - 5)])
def test_the_three_paddings_differ_at_the_corner_as_they_should(
    channels: int, pad_value: int, corner_taps: int
) -> None:
    ones = bits.pack(np.ones((1, 4, 4, channels), dtype=np.float32))
    w = bits.pack(np.ones((1, 3, 3, channels), dtype=np.float32))
    sums = bits.binary_conv2d(ones, w, channels, padding=(1, 1, 1, 1), pad_value=pad_value)
    assert sums[0, 0, 0, 0] == corner_taps * channels
    assert sums[0, 1, 1, 0] == 9 * channels
