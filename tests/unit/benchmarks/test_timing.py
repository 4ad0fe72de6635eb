"""Slopes, turns, and batches that do not count."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.timing import MAX_ROUNDS, PATIENCE, Batch, Gauge, Series, interleave, levels, slopes


class Clockwork:
    """A call that takes what it is told, and is preempted when it is told."""

    def __init__(self, ns: int, preempted: tuple[int, ...] = ()) -> None:
        self.ns, self.preempted, self.batches = ns, preempted, 0

    def batch(self, runs: int) -> Batch:
        self.batches += 1
        lost = self.batches in self.preempted
        wall = self.ns * runs * (3 if lost else 1)
        return Batch(wall, self.ns * runs, int(lost), runs)


def quiet() -> Gauge:
    """Of a machine that nothing disturbs."""
    return Gauge(lambda: 10.0)


def test_a_slope_is_what_a_further_layer_costs() -> None:
    shallow, deep = interleave({"a": (Clockwork(900), Clockwork(3000))}, quiet(), rounds=4)["a"]
    assert slopes(shallow, deep) == [700.0] * 4


def test_a_level_is_what_a_call_costs() -> None:
    (series,) = interleave({"a": (Clockwork(900),)}, quiet(), rounds=3)["a"]
    assert levels(series) == [900.0] * 3


def test_preempted_batches_are_kept_apart() -> None:
    call = Clockwork(2_000_000, preempted=(4, 6))
    (series,) = interleave({"a": (call,)}, quiet(), rounds=2)["a"]
    assert series.disturbed == [6e6, 6e6]
    assert set(series.kept) == {2e6}


def test_a_round_without_a_batch_that_counts_is_made_up_for() -> None:
    call = Clockwork(2_000_000, preempted=(4, 6, 8))  # all of the first round
    (series,) = interleave({"a": (call,)}, quiet(), rounds=2, batches=3)["a"]
    assert [len(one) for one in series.rounds] == [0, 3, 3]
    assert levels(series) == [2e6, 2e6]


def test_it_ends_where_every_batch_is_preempted() -> None:
    (series,) = interleave({"a": (Clockwork(2_000_000, tuple(range(999))),)}, quiet(), rounds=2)[
        "a"
    ]
    assert levels(series) == []


def test_a_round_counts_for_a_slope_only_if_both_depths_have_a_batch() -> None:
    shallow, deep = Series([[10.0], [], [10.0]]), Series([[40.0], [40.0], []])
    assert slopes(shallow, deep) == [10.0]


def test_engines_take_turns_in_another_order_every_round() -> None:
    order: list[str] = []

    class Noting(Clockwork):
        def __init__(self, name: str) -> None:
            super().__init__(2_000_000)
            self.name = name

        def batch(self, runs: int) -> Batch:
            order.append(self.name)
            return super().batch(runs)

    interleave({name: (Noting(name),) for name in "abc"}, quiet(), rounds=6, batches=1)
    turns = order[6:]  # after each has found its number of runs: two batches a round
    rounds = [tuple(turns[i : i + 6 : 2]) for i in range(0, len(turns), 6)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert all(one != after for one, after in pairwise(rounds))


def test_a_round_is_made_up_for_by_all_engines_and_beside_the_ceilings() -> None:
    lucky, unlucky = Clockwork(2_000_000), Clockwork(2_000_000, preempted=(4, 6))  # both in round 1
    ceilings: list[int] = []
    series = interleave(
        {"lucky": (lucky,), "unlucky": (unlucky,)},
        quiet(),
        rounds=2,
        batches=2,
        between=lambda: ceilings.append(lucky.batches + unlucky.batches),
    )
    assert [len(one) for one in series["unlucky"][0].rounds] == [0, 2, 2]
    assert [len(one) for one in series["lucky"][0].rounds] == [2, 2, 2]
    assert ceilings == [4, 12, 20]  # after two batches of each that find the number of runs


def test_an_engine_that_is_always_preempted_does_not_hold_up_the_others_for_ever() -> None:
    never = Clockwork(2_000_000, tuple(range(999)))
    series = interleave({"never": (never,), "b": (Clockwork(2_000_000),)}, quiet(), rounds=2)
    assert len(series["b"][0].rounds) == 2 * MAX_ROUNDS


@pytest.mark.parametrize(
    ("wall", "cpu", "switches", "preempted"),
    [(1000, 990, 0, False), (1000, 970, 0, True), (1000, 1000, 1, True)],
)
def test_what_a_preempted_batch_is(wall: int, cpu: int, switches: int, preempted: bool) -> None:
    assert Batch(wall, cpu, switches, 1).preempted is preempted


@pytest.mark.parametrize(("cpu", "preempted"), [(1990, False), (1940, True), (1000, True)])
def test_each_of_several_threads_must_have_its_core(cpu: int, preempted: bool) -> None:
    assert Batch(1000, cpu, 0, 1, threads=2).preempted is preempted


def test_a_batch_beside_a_slow_yardstick_does_not_count() -> None:
    looks = iter([10.0] * 64 + [10.0, 20.0] + [10.0] * 99)  # slow after the first batch
    (series,) = interleave({"a": (Clockwork(2_000_000),)}, Gauge(lambda: next(looks)), rounds=2)[
        "a"
    ]
    assert [len(one) for one in series.rounds] == [4, 5]
    assert series.disturbed == [2e6]


def test_a_batch_waits_for_a_quiet_moment() -> None:
    looks = iter([10.0] * 64 + [20.0] * 30 + [10.0] * 99)
    (series,) = interleave({"a": (Clockwork(2_000_000),)}, Gauge(lambda: next(looks)), rounds=2)[
        "a"
    ]
    assert not series.disturbed


def test_a_wait_in_vain_ends_and_the_batch_is_set_apart() -> None:
    looks = iter([10.0] * 64 + [20.0] * PATIENCE + [10.0] * 99)
    (series,) = interleave({"a": (Clockwork(2_000_000),)}, Gauge(lambda: next(looks)), rounds=2)[
        "a"
    ]
    assert [len(one) for one in series.rounds] == [4, 5]


def test_a_gauge_is_not_fooled_by_a_few_quick_looks() -> None:
    looks = iter([1.0] * 4 + [10.0] * 60 + [10.0])
    gauge = Gauge(lambda: next(looks))
    gauge.learn()
    assert gauge.quiet()


def test_a_gauge_learns_a_slower_clock_anew() -> None:
    looks = iter([10.0] * 64 + [13.0] * 65)
    gauge = Gauge(lambda: next(looks))
    gauge.learn()
    gauge.learn()
    assert gauge.quiet()
