"""Counting and comparing in bit slices, with and without a three-input instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from binas.compile.kernels.bit_slices import Logic, Tap, below, mismatches

Words = NDArray[np.uint32]
PIXELS = 4  # words: 128 counters at once


def by_truth_table(a: Words, b: Words, c: Words, table: int) -> Words:
    """What vpternlogd computes."""
    found = np.zeros_like(a)
    for inputs in range(8):
        if table >> inputs & 1:
            terms = (word if inputs >> bit & 1 else ~word for word, bit in ((a, 2), (b, 1), (c, 0)))
            found |= np.bitwise_and.reduce(list(terms))
    return found


def counted(steps: list[int]) -> Callable[[Any], Any]:
    """Keeps a value and counts that."""

    def keep(value: Any) -> Any:
        steps[0] += 1
        return value

    return keep


def numbers(planes: list[Words]) -> NDArray[np.int64]:
    """What planes say: bit i of every word of plane i."""
    found = np.zeros(PIXELS * 32, np.int64)
    for i, plane in enumerate(planes):
        found += np.unpackbits(plane.view(np.uint8), bitorder="little").astype(np.int64) << i
    return found


def planes_of(values: NDArray[np.int64], count: int) -> list[Words]:
    """The opposite."""
    rows = [
        np.packbits((values >> i & 1).astype(np.uint8), bitorder="little") for i in range(count)
    ]
    return [row.view(np.uint32) for row in rows]


SPELLINGS = pytest.mark.parametrize("ternary", [None, by_truth_table], ids=["plain", "ternary"])


@SPELLINGS
@given(st.integers(1, 63), st.integers(0, 2**32 - 1))
def test_taps_are_counted_and_compared_as_integers_are(ternary: Any, taps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.integers(0, 2**32, (2, taps, PIXELS), dtype=np.uint32)
    logic = Logic(ternary, lambda value: value)
    planes = mismatches([Tap(*pair) for pair in zip(x, w, strict=True)], logic)
    count = sum(numbers([plane]) for plane in x ^ w)
    assert len(planes) == taps.bit_length()
    np.testing.assert_array_equal(numbers(planes), count)
    limits = rng.integers(0, taps + 2, PIXELS * 32)
    less = below(planes, planes_of(limits, (taps + 1).bit_length()), logic)
    np.testing.assert_array_equal(numbers([less]) == 1, count < limits)


@SPELLINGS
def test_no_taps_are_less_than_one_and_not_less_than_none(ternary: Any) -> None:
    logic = Logic(ternary, lambda value: value)
    assert mismatches([], logic) == []
    (limit,) = planes_of(np.arange(PIXELS * 32) % 2, 1)
    np.testing.assert_array_equal(below([], [limit], logic), limit)


@pytest.mark.parametrize(("taps", "steps"), [(9, 23), (25, 62)])
def test_a_three_input_instruction_takes_as_few_steps_as_there_are(taps: int, steps: int) -> None:
    """23 and 62 instructions: one xor, three per two taps, then adders and one per plane."""
    made = [0]
    logic = Logic(by_truth_table, counted(made))
    zero = np.zeros(PIXELS, np.uint32)
    planes = mismatches([Tap(zero, zero)] * taps, logic)
    below(planes, [zero] * len(planes), logic)
    assert made == [steps]
