"""Passes: what several starts of the harness say together, and what is measured once more."""

from __future__ import annotations

import pytest

from binas.runtime.measure import Facts, Failure, Measurement, Plan, measured
from binas.runtime.passes import agreement, is_suspicious, joined, outcome

PLAN = Plan(repeats=6, min_batch_ns=1000)
FAILED = Failure(kind="run", message="it died")


def one(ns: float, *, yardstick: float = 100.0, repeats: int = 6) -> Measurement:
    return measured(
        [ns] * repeats,
        [0] * repeats,
        1000,
        plan=PLAN,
        facts=Facts(),
        yardsticks_ns=[yardstick] * repeats,
    )


def test_a_pass_beside_a_slow_yardstick_does_not_count() -> None:
    whole = joined([one(10), one(19, yardstick=140), one(10)], PLAN)
    assert whole.median_ns == 10
    assert len(whole.samples_ns) == 18 and len(whole.kept_ns) == 12
    assert whole.doubts == ()


def test_of_three_passes_one_may_be_off_without_moving_the_number() -> None:
    whole = joined([one(10), one(24), one(10)], PLAN)
    assert whole.median_ns == 10
    assert whole.doubts == ("spread (p90 - p10) is 140% of the median",)
    assert not is_suspicious([one(10), one(24), one(10)], PLAN, 100)


@pytest.mark.parametrize(
    ("passes", "quiet_ns", "suspicious"),
    [
        ([one(10), one(10)], 100.0, False),
        ([one(10), one(10)], None, False),
        ([one(10), one(10)], 90.0, True),  # the machine is known to be quicker than that
        ([one(10), one(11)], 100.0, True),  # they disagree
        ([one(10), FAILED], 100.0, True),
        ([one(10, repeats=2)], 100.0, True),  # too few that count
    ],
)
def test_what_is_measured_again(
    passes: list[Measurement | Failure], quiet_ns: float | None, *, suspicious: bool
) -> None:
    assert is_suspicious(passes, PLAN, quiet_ns) is suspicious


def test_a_layer_failed_only_where_all_its_passes_did() -> None:
    assert outcome([FAILED, one(10)], PLAN) == one(10)
    assert outcome([one(10), FAILED], PLAN) == one(10)
    assert outcome([FAILED, FAILED], PLAN) == FAILED


def test_disagreement_that_remains_is_a_doubt() -> None:
    assert "medians of 2 passes differ by 29%" in joined([one(10), one(13.4)], PLAN).doubts


def test_a_table_knows_how_far_its_passes_agree_and_drift() -> None:
    found = agreement([[one(10), one(11), one(12)], [one(10), one(10), one(12)], [one(5)]], 1)
    assert found is not None
    assert (found.passes, found.repeated) == (3, 1)
    assert found.median_abs_difference == pytest.approx(0.05)
    assert found.drift == pytest.approx(0.2)
    assert agreement([[one(5)]], 0) is None
