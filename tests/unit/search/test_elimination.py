"""What BNAS and CP-NAS count with: sweeps, likelihoods, confidence bounds, the indicator."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from binas.search.strategy import bandit, child_parent, likelihood
from binas.search.strategy.elimination import all_alive, drop_worst, observed, sweep

ROWS = st.lists(st.integers(1, 8), min_size=1, max_size=6)


@given(ROWS, st.integers(0, 9))
def test_a_sweep_tests_every_alternative_of_every_row_as_equally_as_it_can(
    lengths: list[int], seed: int
) -> None:
    alive = all_alive(lengths)
    paths = sweep(alive, torch.Generator().manual_seed(seed))
    assert paths.shape == (max(lengths), len(lengths))
    for row, length in enumerate(lengths):
        times = torch.bincount(paths[:, row], minlength=length)
        assert len(times) == length
        assert 1 <= int(times.min()) <= int(times.max()) <= int(times.min()) + 1


@pytest.mark.paper_check(number=7)
def test_each_operation_of_a_row_as_long_as_the_others_is_used_exactly_once() -> None:
    paths = sweep(all_alive([8] * 14), torch.Generator().manual_seed(0))
    assert all(sorted(column) == list(range(8)) for column in paths.T.tolist())
    assert len({tuple(column) for column in paths.T.tolist()}) > 1  # each row in its own order


def test_the_worst_of_each_row_is_dropped_and_the_last_one_stays() -> None:
    alive = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    score = torch.tensor([[0.2, 0.1, -9.0], [-5.0, 0.0, 0.0], [0.3, math.inf, 0.4]])
    kept = drop_worst(alive, score)
    assert kept.tolist() == [[True, False, False], [True, False, False], [False, True, True]]


def test_the_value_of_a_network_goes_to_every_operation_in_it() -> None:
    paths, values = torch.tensor([[0, 2], [1, 2]]), torch.tensor([0.5, 0.7], dtype=torch.float64)
    total, count = observed(paths, values, 3)
    assert total.tolist() == [[0.5, 0.7, 0], [0, 0, 1.2]]
    assert count.tolist() == [[1, 1, 0], [0, 0, 2]]


@pytest.mark.parametrize(("left", "tested"), [(8, 4), (7, 4), (6, 3), (5, 3), (3, 2), (2, 1)])
def test_bnas_tests_the_half_of_smallest_alpha(left: int, tested: int) -> None:
    alpha = torch.arange(8.0).flip(0).repeat(2, 1)
    alive = all_alive([left, 8])
    found = likelihood.weakest(alpha, alive)
    assert found[0].nonzero().flatten().tolist() == list(range(left - tested, left))
    assert not likelihood.weakest(alpha, all_alive([1, 8]))[0].any()


@pytest.mark.paper_check(number=7)
def test_s_large_is_one_number_for_all_operations_outside_v() -> None:
    tested = torch.tensor([[True, True, False, False]])
    accuracy = torch.tensor([[0.2, 0.6, 0.0, 0.0]], dtype=torch.float64)
    found = likelihood.updated(torch.zeros(1, 4, dtype=torch.float64), accuracy, tested)[0]
    low, high = math.exp(0.2), math.exp(0.6)
    small = (low / (low + high), high / (low + high))
    large = 0.5 * (small[1] + sum(small) / 2)
    assert found.tolist() == pytest.approx([*small, large, large], abs=1e-12)


@pytest.mark.paper_check(number=7)
def test_the_likelihood_of_earlier_rounds_decays_by_a_half() -> None:
    tested = torch.tensor([[True, True, False]])
    accuracy = torch.tensor([[0.3, 0.5, 0.0]], dtype=torch.float64)
    zeros = torch.zeros(1, 3, dtype=torch.float64)
    fresh = likelihood.updated(zeros, accuracy, tested)
    last = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    found = likelihood.updated(last, accuracy, tested)
    assert torch.allclose(found - fresh, last / 2, atol=1e-12)
    untested = likelihood.updated(last, accuracy, torch.zeros_like(tested))
    assert torch.equal(untested, last)


def test_a_low_temperature_tells_close_accuracies_apart() -> None:
    tested, accuracy = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[0.50, 0.51]])
    apart = [
        float(likelihood.updated(torch.zeros(1, 2), accuracy, tested, t).diff())
        for t in (1.0, 0.01)
    ]
    assert apart[0] == pytest.approx(0.005, abs=1e-3)
    assert apart[1] > 0.4


def test_ucb_spares_the_operation_that_was_drawn_seldom() -> None:
    mean, draws = torch.tensor([[0.50, 0.45, 0.60]]), torch.tensor([[9.0, 1.0, 9.0]])
    alive = torch.ones(1, 3, dtype=torch.bool)
    assert not drop_worst(alive, mean)[0, 1]  # plain accuracy gives it up
    assert not drop_worst(alive, bandit.upper(mean, draws))[0, 0]
    assert float(bandit.upper(mean, draws)[0, 0]) == pytest.approx(
        0.5 + math.sqrt(2 * math.log(19) / 9)
    )


def test_with_equal_draws_ucb_ranks_as_accuracy_does() -> None:
    mean = torch.tensor([[0.50, 0.45, 0.60]])
    upper = bandit.upper(mean, torch.full((1, 3), 4.0))
    assert torch.equal(upper.argsort(), mean.argsort())


def test_operations_never_drawn_come_first_then_those_of_low_lcb() -> None:
    tested = torch.tensor([[True, True, True, False]])
    mean = torch.tensor([[0.9, 0.1, 0.0, 0.0]])
    first = bandit.probabilities(mean, torch.tensor([[3.0, 3.0, 0.0, 0.0]]), tested)
    assert first.tolist() == [[0, 0, 1, 0]]
    then = bandit.probabilities(mean, torch.tensor([[3.0, 3.0, 1.0, 0.0]]), tested)[0]
    assert float(then.sum()) == pytest.approx(1)
    assert then[2] > then[1] > then[0] > then[3] == 0
    expected = math.exp(-0.1) / math.exp(-0.9)
    assert float(then[1] / then[0]) == pytest.approx(expected, rel=1e-5)


def test_the_running_mean_starts_at_the_first_value() -> None:
    last, value = torch.tensor([0.0, 0.5]), torch.tensor([0.8, 0.8])
    found = bandit.running_mean(last, value, torch.tensor([0.0, 2.0]))
    assert found.tolist() == pytest.approx([0.8, 0.3 * 0.5 + 0.7 * 0.8])


@pytest.mark.paper_check(number=8)
def test_beta_1_makes_the_indicator_the_parents_accuracy_and_beta_0_the_childs() -> None:
    assert child_parent.indicator(0.9, 0.6, 1.0) == pytest.approx(0.9)
    assert child_parent.indicator(0.9, 0.6, 0.0) == pytest.approx(0.6)
    # Of two Children alike, the one whose Parent is better is preferred.
    assert child_parent.indicator(0.9, 0.6, 2.0) > child_parent.indicator(0.7, 0.6, 2.0)


def test_the_evaluation_of_an_edge_is_a_softmax_over_what_is_left() -> None:
    mean = torch.tensor([[0.3, 0.8, 0.1], [0.3, 0.8, 0.1]])
    alive = torch.tensor([[True, True, True], [True, False, True]])
    found = child_parent.evaluation(mean, alive)
    assert found.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert float(found[1, 1]) == 0
    assert float(found[0, 1] / found[0, 0]) == pytest.approx(math.exp(0.5), rel=1e-5)
