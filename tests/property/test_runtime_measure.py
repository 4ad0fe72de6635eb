"""Measurements of any samples: what is quoted lies among them, and files lose nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binas.core import record
from binas.runtime.measure import Facts, Measurement, Plan, measured, percentile

times = st.floats(min_value=1e-3, max_value=1e12, allow_nan=False)
batches = st.lists(st.tuples(times, st.integers(0, 3)), min_size=1, max_size=50)


def taken(found: list[tuple[float, int]]) -> Measurement:
    samples, preemptions = zip(*found, strict=True)
    return measured(samples, preemptions, 5, plan=Plan(), facts=Facts())


@given(batches)
def test_quantiles_lie_among_the_samples_and_in_order(found: list[tuple[float, int]]) -> None:
    result = taken(found)
    low, high = min(result.kept_ns), max(result.kept_ns)
    slack = 1e-9 * high
    assert low - slack <= result.p10_ns <= result.median_ns + slack
    assert result.median_ns <= result.p90_ns + slack <= high + 2 * slack


@given(batches)
def test_no_sample_is_lost_and_only_preempted_ones_do_not_count(
    found: list[tuple[float, int]],
) -> None:
    result = taken(found)
    assert result.samples_ns == tuple(ns for ns, _ in found)
    left = [ns for ns, count in found if count == 0]
    assert list(result.kept_ns) == (left or [ns for ns, _ in found])


@given(batches)
def test_a_file_gives_back_what_went_in(found: list[tuple[float, int]]) -> None:
    result = taken(found)
    assert record.loads(Measurement, record.dumps(result), where="here") == result


@given(st.lists(times, min_size=1), st.floats(0, 1))
def test_percentile_does_not_care_for_order(samples: list[float], share: float) -> None:
    assert percentile(samples, share) == percentile(samples[::-1], share)
