"""Executed multiply-adds against a count of every tap."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import models
from benchmarks.macs import Conv, executed, taps_inside
from benchmarks.parameters import Binary


def brute_force(conv: Conv) -> int:
    """Pairs of an output row and a tap that read the image, one by one."""
    found = 0
    for row, tap in product(range(conv.out_size), range(conv.kernel)):
        found += 0 <= row * conv.stride - conv.padding + tap * conv.dilation < conv.size
    return found


@given(
    size=st.integers(1, 20),
    kernel=st.sampled_from((1, 3, 5, 7)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
)
def test_taps_on_the_padding_are_left_out(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    conv = Conv(channels=1, filters=1, size=size, kernel=kernel, stride=stride, dilation=dilation)
    assert taps_inside(conv) == brute_force(conv)


@pytest.mark.parametrize(
    ("size", "share"), [(56, 0.976), (28, 0.953), (14, 0.907), (7, 0.819), (32, 0.959)]
)
def test_the_executed_share_of_a_3x3_layer(size: int, share: float) -> None:
    conv = Conv(channels=64, filters=64, size=size)
    assert executed(conv, binary=True) / (64 * 64 * 9 * size**2) == pytest.approx(share, abs=6e-4)


def test_bits_are_padded_to_words_and_reals_are_not() -> None:
    conv = Conv(channels=24, filters=24, size=1, kernel=1)
    assert executed(conv, binary=True) == 32 * 24
    assert executed(conv, binary=False) == 24 * 24


def test_each_group_fills_its_own_words() -> None:
    conv = Conv(channels=80, filters=10, size=1, kernel=1, groups=2)
    assert executed(conv, binary=True) == 64 * 10


def test_a_depthwise_layer_fills_words_across_its_groups() -> None:
    conv = Conv(channels=40, filters=40, size=1, kernel=1, groups=40)
    assert executed(conv, binary=True) == 64
    assert executed(conv, binary=False) == 40


def test_the_network_counts_the_convolutions_it_has() -> None:
    class Counter:
        """A builder that only counts binary convolutions."""

        total = 0

        def binary(self, bits: object, parameters: Binary) -> None:
            self.total += executed(parameters.conv, binary=True)

        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    counter = Counter()
    models.bireal18(counter)  # type: ignore[arg-type]
    assert counter.total / 1e9 == pytest.approx(models.bireal18_gmacs())
