"""Measurement: what is quoted, and every reason to doubt it."""

from __future__ import annotations

from typing import Any

import pytest

from binas.core import record
from binas.core.errors import UsageError
from binas.runtime.measure import (
    Facts,
    Failure,
    Measurement,
    Plan,
    measured,
    quiet_ns_of,
)
from binas.runtime.sustained import Sustained

PLAN = Plan(repeats=6, min_batch_ns=1000)
STEADY = [100.0, 101.0, 100.0, 99.0, 100.0, 100.0]


def doubts_of(
    samples: list[float], *, preempted: int = 0, runs: int = 10, facts: Facts | None = None
) -> str:
    counts = [1] * preempted + [0] * (len(samples) - preempted)
    found = measured(samples, counts, runs, plan=PLAN, facts=facts or Facts())
    return "; ".join(found.doubts)


def test_a_steady_measurement_has_no_doubts() -> None:
    assert doubts_of(STEADY) == ""


def test_a_preempted_batch_is_kept_and_does_not_count() -> None:
    found = measured([900, *STEADY[1:]], [2, 0, 0, 0, 0, 0], 10, plan=PLAN, facts=Facts())
    assert found.samples_ns[0] == 900
    assert found.median_ns == 100 and found.p90_ns < 102
    assert found.doubts == ()


def test_where_all_batches_were_preempted_all_count_and_it_is_doubted() -> None:
    found = measured(STEADY, [1] * 6, 10, plan=PLAN, facts=Facts())
    assert found.kept_ns == tuple(STEADY)
    assert found.doubts == ("6 of 6 batches were preempted",)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ([100, 130, 100, 130, 100, 130], "spread (p90 - p10) is 26%"),
        ([100, 100, 103, 105, 108, 108], "drift from the first to the last third is +8%"),
        (STEADY[:4], "4 of 6 batches fitted the time limit"),
    ],
)
def test_samples_that_do_not_settle_are_doubted(samples: list[float], says: str) -> None:
    assert says in doubts_of(samples)


def test_a_batch_that_is_too_short_for_the_clock_is_doubted() -> None:
    assert "a batch took 0.00 ms" in doubts_of(STEADY, runs=1)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (Facts(governor="ondemand"), "frequency governor is ondemand, not performance"),
        (Facts(governor="performance"), ""),
        (Facts(cores=2, load=1.4), ""),
        (Facts(cores=2, load=1.9), "load was 1.9 on 2 cores"),
        (Facts(cores=4, threads=4, load=0.4), ""),
        (Facts(cores=4, threads=4, load=0.9), "load was 0.9 on 4 cores"),
        (Facts(throttled=("throttled now",)), "the board reports: throttled now"),
    ],
)
def test_a_machine_that_is_not_ours_is_doubted(facts: Facts, says: str) -> None:
    assert doubts_of(STEADY, facts=facts) == says


@pytest.mark.parametrize("samples", [[], [0.0], [-1.0], [float("nan")], [float("inf")], [5.0, 0.0]])
def test_what_no_clock_can_have_shown_is_refused(samples: list[float]) -> None:
    with pytest.raises(UsageError):
        Measurement(samples_ns=tuple(samples), runs_per_batch=1, preemptions=(0,) * len(samples))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"repeats": 1}, "repeats is 1, expected 2"),
        ({"warmup": -1}, "warmup is -1"),
        ({"min_batch_ns": 0}, "does not fit"),
        ({"min_batch_ns": 10, "max_ns": 5}, "a batch of 10 ns does not fit a limit of 5 ns"),
        ({"max_spread": 0.0}, "max_spread"),
    ],
)
def test_a_plan_that_could_be_neither_trusted_nor_doubted_is_refused(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Plan(**changes)


def test_a_measurement_survives_its_file() -> None:
    facts = Facts(governor="performance", temperature_before_c=41.5, throttled=("a",))
    found = measured(STEADY, [0] * 6, 10, plan=PLAN, facts=facts, doubts=("first",))
    assert record.loads(Measurement, record.dumps(found), where="here") == found


def test_a_batch_beside_a_slow_yardstick_is_kept_and_does_not_count() -> None:
    found = measured(
        [100, 150, 100, 101, 99, 100, 180, 100],
        [0] * 8,
        10,
        plan=PLAN,
        facts=Facts(cores=2, load=5.0),
        yardsticks_ns=[50, 70, 50, 51, 50, 50, 90, 50],
    )
    assert len(found.samples_ns) == 8
    assert found.kept_ns == (100, 100, 101, 99, 100, 100)
    assert found.quiet_ns == 50
    assert found.doubts == ()  # the yardstick says better than the load whether it did harm


def test_a_measurement_with_few_undisturbed_batches_is_doubted() -> None:
    yardsticks = [50.0] * 5 + [80.0] * 15
    found = measured(
        [100.0] * 20,
        [0] * 20,
        10,
        plan=Plan(repeats=12, min_batch_ns=1000),
        facts=Facts(),
        yardsticks_ns=yardsticks,
    )
    assert found.doubts == ("only 5 of 20 batches were undisturbed",)


def test_on_a_machine_never_as_quick_as_known_the_least_disturbed_count_and_are_doubted() -> None:
    found = measured(
        [130.0] * 8 + [190.0] * 12,
        [0] * 20,
        10,
        plan=Plan(repeats=12, min_batch_ns=1000),
        facts=Facts(),
        yardsticks_ns=[65.0] * 8 + [95.0] * 12,
        quiet_ns=50,
    )
    assert found.undisturbed_ns == ()
    assert found.median_ns == 130
    assert found.doubts == ("only 0 of 20 batches were undisturbed",)


def test_a_device_left_alone_is_known_from_many_measurements_and_not_from_the_luckiest() -> None:
    def seen(quiet: float) -> Measurement:
        return measured([100.0], [0], 1, plan=PLAN, facts=Facts(), yardsticks_ns=[quiet])

    many = [seen(40), *(seen(50 + place / 10) for place in range(20)), seen(90)]
    assert 50 <= (quiet_ns_of(many) or 0) < 51
    assert quiet_ns_of([Failure(kind="run", message="no")]) is None


def test_a_few_flukes_of_the_yardstick_make_no_machine_seem_slow() -> None:
    found = measured(
        [100.0] * 10,
        [0] * 10,
        10,
        plan=PLAN,
        facts=Facts(),
        yardsticks_ns=[40.0, 41.0, 42.0, 43.0, *[50.0] * 6],
    )
    assert found.quiet_ns == 50
    assert len(found.kept_ns) == 10


def test_a_device_that_slows_down_shows_it_though_its_batches_count_as_disturbed() -> None:
    samples = [100.0] * 50 + [130.0] * 50
    found = measured(
        samples, [0] * 100, 10**6, plan=PLAN, facts=Facts(), yardsticks_ns=[x / 2 for x in samples]
    )
    assert found.median_ns == 100
    lasting = Sustained.of(found)
    assert (lasting.first_ns, lasting.last_ns) == (100, 130)
    assert lasting.slowdown == pytest.approx(0.3)
    assert lasting.seconds == pytest.approx(11.5)


def test_a_plan_that_lasts_fills_its_time_with_long_batches() -> None:
    plan = Plan.lasting(60_000_000_000)
    assert (plan.repeats, plan.min_batch_ns, plan.max_ns) == (600, 100_000_000, 60_000_000_000)
    assert Plan.lasting(1).repeats >= 2
    assert not plan.waits and Plan().waits
