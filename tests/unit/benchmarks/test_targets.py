"""Targets: the worst counts, the median over runs, and nothing is met that was not measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.cell_networks import works
from benchmarks.gains import scaling
from benchmarks.judge import RUNS, Target, inverse, judge, raggedness, share, speedup
from benchmarks.networks import BIREAL
from benchmarks.schema import AnyReport, Report
from benchmarks.targets import targets
from benchmarks.works import SCALING, layers
from tests.unit.benchmarks.reports import (
    arm_network_report,
    arm_report,
    footprint_report,
    report,
    row,
)

WORKS = ("g/one", "g/two")


def faster(low: float, **more: object) -> Target:
    return Target(title="t", works=WORKS, figure=speedup("peer"), low=low, **more)  # type: ignore[arg-type]


def run(one: float, two: float) -> object:
    """A run in which the peer takes so many times as long as we."""
    return report(
        *(row(work, "binas", 100.0) for work in WORKS),
        row(WORKS[0], "peer", 100.0 * one),
        row(WORKS[1], "peer", 100.0 * two),
    )


def test_each_is_judged_on_the_worst() -> None:
    found = judge(faster(1.2), [run(2.0, 1.1)])  # type: ignore[list-item]
    assert found.met is False
    assert found.worst == "g/two"
    assert found.found == pytest.approx(1.1)


def test_an_upper_bound_is_judged_on_the_largest() -> None:
    target = Target(title="t", works=WORKS, figure=inverse(speedup("peer")), high=0.72)
    found = judge(target, [run(2.0, 1.0)])  # type: ignore[list-item]
    assert (found.worst, found.met) == ("g/two", False)
    assert found.found == pytest.approx(1.0)


def test_means() -> None:
    runs = [run(4.0, 1.0)]
    assert judge(faster(1, over="geometric mean"), runs).found == pytest.approx(2.0)  # type: ignore[arg-type]
    assert judge(faster(1, over="mean"), runs).found == pytest.approx(2.5)  # type: ignore[arg-type]


def test_the_median_over_runs_decides() -> None:
    found = judge(faster(1.2), [run(1.3, 1.3), run(1.0, 1.0), run(1.4, 1.4)])  # type: ignore[list-item]
    assert (found.met, found.runs) == (True, 3)


@pytest.mark.parametrize(("ratio", "words"), [(1.3, "met"), (1.1, "not met")])
def test_a_verdict_of_few_runs_says_of_how_many(ratio: float, words: str) -> None:
    runs = [run(ratio, ratio)] * RUNS
    assert judge(faster(1.2), runs).verdict == words  # type: ignore[arg-type]
    assert judge(faster(1.2), runs[:4]).verdict == f"{words}, 4 of 5 runs"  # type: ignore[arg-type]
    assert judge(faster(1.2), [report()]).verdict == "not measured"


def test_what_is_missing_is_not_met() -> None:
    found = judge(faster(1.2), [report(row(WORKS[0], "binas", 100.0))])
    assert (found.met, found.missing) == (None, WORKS)


def test_a_wrong_answer_is_as_good_as_none() -> None:
    wrong = report(row(WORKS[0], "binas", 1.0, checked=False), row(WORKS[0], "peer", 100.0))
    assert speedup("peer")(wrong, WORKS[0]) is None


def test_a_share_is_of_the_ceiling_of_the_same_run() -> None:
    made = report(row("g/one", "binas", 200_000.0, gmacs=0.1))
    assert share()(made, "g/one") == pytest.approx(0.5)
    assert share("binas-avx2")(made, "g/one") is None


def test_a_share_is_of_the_quickest_way_to_count() -> None:
    both = {"full_adder": 800.0, "popcount": 1000.0, "nibbles": 2000.0}
    made = report(replace(row("g/one", "binas", 200_000.0, gmacs=0.1), peaks=both))
    assert share()(made, "g/one") == pytest.approx(0.5)


def test_a_cpu_without_avx_512_is_held_to_its_own_ceiling() -> None:
    plain = replace(row("g/one", "binas", 200_000.0, gmacs=0.1), peaks={"nibbles": 800.0})
    assert share()(report(plain), "g/one") == pytest.approx(0.625)
    assert share("binas-avx512bw")(report(plain), "g/one") is None


def test_a_second_thread_is_held_to_what_it_gains_the_loop_on_registers() -> None:
    engines = ("binas", "binas-2-threads", "registers", "registers-2-threads")
    times = (100.0, 60.0, 100.0, 125.0)  # 1.667 times as fast; 1.6 times as much done
    made = report(*(row("threads/net", e, ns) for e, ns in zip(engines, times, strict=True)))
    assert scaling(made, "threads/net") == pytest.approx(1.0417, abs=1e-4)
    alone = report(*(row("threads/net", e, 100.0) for e in engines[:3]))
    assert scaling(alone, "threads/net") is None


@pytest.mark.parametrize(("together", "judged"), [(98.0, True), (97.0, False)])  # 2.04 and 2.06
def test_a_run_in_which_two_threads_of_the_loop_do_more_than_two_can_is_not_judged(
    together: float, judged: bool
) -> None:
    engines = ("binas", "binas-2-threads", "registers", "registers-2-threads")
    times = (100.0, 50.0, 100.0, together)
    made = report(*(row("threads/net", e, ns) for e, ns in zip(engines, times, strict=True)))
    assert (scaling(made, "threads/net") is not None) is judged


def test_ragged_channels_are_held_to_whole_words() -> None:
    made = report(
        row("other_shapes/3x3_40x28", "binas", 110.0), row("other_shapes/3x3_64x28", "binas", 100.0)
    )
    assert raggedness(made, "other_shapes/3x3_40x28") == pytest.approx(1.1)


def test_every_target_is_of_works_that_are_timed() -> None:
    networks = {BIREAL, SCALING.work} | {work.name for work in works()}
    timed = {work.name for work in layers()} | networks
    by_clock = [target for target in targets() if target.of is Report]
    assert {work for target in by_clock for work in target.works} <= timed
    assert all((target.low is None) != (target.high is None) for target in targets())
    assert all(target.works for target in targets())


def test_a_target_is_not_held_to_reports_of_another_kind() -> None:
    reports: list[AnyReport] = [
        report(),
        arm_report(),
        arm_network_report(),
        footprint_report(),
    ]
    others = [target for target in targets() if target.of is not Report]
    assert {target.of for target in others} == {type(one) for one in reports[1:]}
    found = {target.title: judge(target, reports).found for target in others}
    assert sum(value is not None for value in found.values()) == 4  # of a footprint
    missing = judge(others[0], reports)
    assert (missing.met, missing.missing) == (None, others[0].works)
