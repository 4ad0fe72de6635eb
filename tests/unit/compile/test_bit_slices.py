"""Counting and comparing in bit slices, with and without a three-input instruction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from binas.compile.kernels.bit_slices import Logic, Tap, mismatches, reach

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
def test_taps_are_counted_as_integers_are(ternary: Any, taps: int, seed: int) -> None:
    row, count = random_row(taps, seed)
    planes = mismatches(row, Logic(ternary, lambda value: value))
    assert len(planes) == taps.bit_length()
    np.testing.assert_array_equal(numbers(planes), count)


@SPELLINGS
@given(st.integers(1, 63), st.integers(0, 2**32 - 1))
def test_counts_of_several_rows_are_compared_as_integers_are(
    ternary: Any, taps: int, seed: int
) -> None:
    rows = [random_row(taps, seed + i) for i in range(2)]
    limits = np.random.default_rng(seed).integers(0, taps + 2, PIXELS * 32)
    minus = planes_of(~limits, (taps + 1).bit_length())
    found = reach([row for row, _ in rows], minus, Logic(ternary, lambda value: value))
    for reached, (_, count) in zip(found, rows, strict=True):
        np.testing.assert_array_equal(numbers([reached]) == 1, count >= limits)


@SPELLINGS
def test_no_taps_reach_none_and_not_one(ternary: Any) -> None:
    logic = Logic(ternary, lambda value: value)
    limits = np.arange(PIXELS * 32) % 2
    assert mismatches([], logic) == []
    (found,) = reach([[]], planes_of(~limits, 1), logic)
    np.testing.assert_array_equal(numbers([found]), limits == 0)


@pytest.mark.parametrize(("taps", "steps"), [(4, 10), (6, 13), (9, 22), (25, 61)])
def test_a_three_input_instruction_takes_few_steps(taps: int, steps: int) -> None:
    """Three per two taps and one for the last, then adders of carries and of a plane per weight."""
    logic = Logic(lambda *args: Step(args[:3]), lambda value: value)
    names = [Step(()) for _ in range(2 * taps + 5)]
    row = [Tap(x, w) for x, w in zip(names[:taps], names[taps : 2 * taps], strict=True)]
    (found,) = reach([row], names[2 * taps :][: (taps + 1).bit_length()], logic)
    assert len(found.needed()) == steps


class Step:
    """An instruction that makes a slice of others, or a slice that is given."""

    def __init__(self, inputs: tuple[Step, ...]) -> None:
        self.inputs = inputs

    def __and__(self, other: Step) -> Step:
        return Step((self, other))

    __xor__ = __and__

    def needed(self) -> set[Step]:
        """This instruction and all that it needs: sums that nobody reads are not among them."""
        if not self.inputs:
            return set()
        return {self}.union(*(one.needed() for one in self.inputs))


def random_row(taps: int, seed: int) -> tuple[list[Tap], NDArray[np.int64]]:
    """Taps, and per counter how many of them differ."""
    x, w = np.random.default_rng(seed).integers(0, 2**32, (2, taps, PIXELS), dtype=np.uint32)
    row = [Tap(*pair) for pair in zip(x, w, strict=True)]
    return row, np.sum([numbers([plane]) for plane in x ^ w], axis=0)
