"""Overlaps, suppression and average precision, on boxes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.search.transfer.boxes import Boxes, mean_average_precision, overlaps, suppressed

Corner = st.integers(0, 50)


def boxes(*rows: tuple[float, ...]) -> Boxes:
    """Rows of left, top, right, bottom, label, score."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def true(*rows: tuple[float, ...]) -> Boxes:
    """Rows of left, top, right, bottom, label."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64))


@given(st.lists(st.tuples(Corner, Corner, Corner, Corner), min_size=1, max_size=6))
def test_overlaps_are_those_of_counted_pixels(corners: list[tuple[int, int, int, int]]) -> None:
    found = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners])
    masks = []
    for left, top, right, bottom in found:
        mask = np.zeros((50, 50), bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    for i, row in enumerate(overlaps(found.astype(float), found.astype(float))):
        for j, share in enumerate(row):
            both, either = (masks[i] & masks[j]).sum(), (masks[i] | masks[j]).sum()
            assert share == pytest.approx(both / either if either else 0.0)


def test_of_overlapping_boxes_of_one_class_the_surest_stays() -> None:
    found = boxes((0, 0, 10, 10, 0, 0.5), (1, 0, 11, 10, 0, 0.9), (1, 0, 11, 10, 1, 0.1))
    kept = suppressed(found)
    assert kept.scores is not None
    assert sorted(kept.scores) == [0.1, 0.9]


def test_a_perfect_detector_has_precision_one() -> None:
    goal = [true((0, 0, 10, 10, 0), (20, 20, 30, 30, 1)), true((5, 5, 9, 9, 0))]
    found = [boxes((0, 0, 10, 10, 0, 3), (20, 20, 30, 30, 1, 2)), boxes((5, 5, 9, 9, 0, 1))]
    assert mean_average_precision(found, goal, 2) == 1.0


def test_average_precision_by_hand() -> None:
    goal = [true((0, 0, 10, 10, 0), (20, 20, 30, 30, 0))]
    found = [
        boxes(
            (50, 50, 60, 60, 0, 0.9),  # wrong
            (0, 0, 10, 10, 0, 0.8),  # right: precision 1/2 at recall 1/2
            (0, 0, 10, 10, 0, 0.7),  # the same again: wrong
            (20, 20, 30, 31, 0, 0.6),  # right: precision 2/4 at recall 1
        )
    ]
    assert mean_average_precision(found, goal, 1) == pytest.approx(0.5)


def test_a_class_that_is_nowhere_is_left_out_and_nothing_found_is_nothing() -> None:
    goal = [true((0, 0, 10, 10, 0))]
    assert mean_average_precision([boxes((0, 0, 10, 10, 0, 1))], goal, 5) == 1.0
    assert mean_average_precision([boxes()], goal, 1) == 0.0
    assert mean_average_precision([boxes()], [true()], 1) == 0.0
