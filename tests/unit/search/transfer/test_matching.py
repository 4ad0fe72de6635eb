"""Verification of pairs and re-identification, on scores whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.search.transfer.matching import cosines, pairs, rank1_and_map, verification_accuracy


def test_cosines_ignore_length() -> None:
    x = np.random.default_rng(0).standard_normal((5, 33))
    np.testing.assert_allclose(np.diag(cosines(x, 7 * x)), 1)
    np.testing.assert_allclose(np.diag(cosines(x, -x)), -1)


@given(st.integers(0, 1000))
def test_half_of_the_pairs_show_one_identity_and_none_pairs_an_image_with_itself(seed: int) -> None:
    y = np.random.default_rng(seed).integers(0, 5, 60)
    first, second = pairs(y, 40, seed)
    assert (first != second).all()
    assert ((y[first] == y[second]) == (np.arange(40) % 2 == 0)).all()


def test_pairs_that_a_threshold_tells_apart_are_all_right() -> None:
    same = np.arange(200) % 2 == 0
    scores = np.where(same, 0.6, 0.4) + np.random.default_rng(0).uniform(-0.05, 0.05, 200)
    assert verification_accuracy(scores, same) == 1.0


def test_scores_that_say_nothing_are_right_half_of_the_time() -> None:
    random = np.random.default_rng(0)
    found = verification_accuracy(random.standard_normal(4000), np.arange(4000) % 2 == 0)
    assert found == pytest.approx(0.5, abs=0.03)


def test_the_threshold_of_a_fold_does_not_see_that_fold() -> None:
    """One fold is the other way round: it must be all wrong."""
    same = np.arange(100) % 2 == 0
    scores = np.where(same, 1.0, 0.0)
    scores[:10] = 1 - scores[:10]
    assert verification_accuracy(scores, same) == 0.9


def test_rank_1_and_mean_average_precision_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.9, 0.2, 0.8]])
    queries, gallery = np.array([0, 1]), np.array([1, 0, 1, 0])
    # Query 0 finds its images at places 2 and 4, query 1 at 3 and 4.
    rank1, precision = rank1_and_map(scores, queries, gallery)
    assert rank1 == 0.0
    assert precision == pytest.approx(((1 / 2 + 2 / 4) / 2 + (1 / 3 + 2 / 4) / 2) / 2)


def test_a_query_without_an_image_in_the_gallery_is_left_out() -> None:
    scores = np.array([[0.9, 0.1], [0.5, 0.4]])
    assert rank1_and_map(scores, np.array([0, 7]), np.array([0, 1])) == (1.0, 1.0)
