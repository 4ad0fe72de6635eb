"""The ARM benchmark: which stretch of code is priced, and what counts as met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import arm, arm_stretches, targets
from benchmarks.arm_stretches import Stretch
from benchmarks.arm_works import ANY, Out, layer_name
from benchmarks.figures import one_build
from benchmarks.judge import judge
from binas.compile import cycles
from tests.unit.benchmarks.reports import arm_network_report, arm_report, arm_row

A, B, C, D = ((at, 4) for at in range(4))


def test_the_loop_is_the_most_frequent_way_from_a_block_to_itself() -> None:
    assert arm_stretches._loop(B, [A, B, C, B, C, B, D, A, B, C, B]) == (B, C)
    assert arm_stretches._loop(A, [A, B, C]) == ()


def test_a_stretch_counts_128_macs_per_sixteen_bytes_and_none_elsewhere() -> None:
    texts = {A: ["cnt\tv0.16b, v1.16b", "cnt\tv0.8b, v1.8b"], B: ["add\tx0, x0, #1"]}
    assert arm_stretches._stretch([A, B, A], texts).macs == 256


@pytest.mark.parametrize(
    ("C", "out", "model", "inner", "tile", "met"),
    [
        (64, "bits", "cortex-a72", 84.0, 76.0, True),
        (64, "bits", "cortex-a72", 83.9, 90.0, False),
        (64, "floats", "cortex-a72", 90.0, 75.9, False),
        (64, "residual", "cortex-a72", 84.0, 60.0, True),
        (64, "bits", "cortex-a53", 35.0, 32.5, True),
        (128, "bits", "cortex-a53", 35.0, 32.9, False),
        (32, "bits", "neoverse-n1", 80.0, 1.0, True),
        (32, "bits", "cortex-a53", 33.9, 99.0, False),
    ],
)
def test_limits_are_those_of_channels_and_cpu(
    C: int, out: Out, model: str, inner: float, tile: float, met: bool
) -> None:
    row = arm_row(model, "rpi", inner, work=layer_name(C), out=out, tile=tile)
    own = [
        replace(target, works=(row.name,))
        for target in targets.arm()
        if row.name in target.works and target.figure is not one_build
    ]
    assert own
    assert all(judge(target, [arm_report(row)]).met for target in own) is met


def test_one_build_is_compared_with_each_cpus_own_at_worst() -> None:
    rows = [
        arm_row("cortex-a72", "rpi4", 84.0),
        arm_row("cortex-a53", "rpi3", 36.0),
        arm_row("cortex-a72", ANY, 84.0),
        arm_row("cortex-a53", ANY, 34.9),
    ]
    (common,) = (target for target in targets.arm() if target.figure is one_build)
    common = replace(common, works=tuple(row.name for row in rows[:2]))
    found = judge(common, [arm_report(*rows)])
    assert found.found == pytest.approx(34.9 / 36)
    assert found.verdict == "not met"
    better = judge(common, [arm_report(*rows[:3], replace(rows[3], inner=35.0))])
    assert better.verdict == "met"  # of one run: an estimate does not vary
    assert judge(common, [arm_report(*rows[:2])]).verdict == "not measured"


def test_layers_that_were_not_asked_for_are_not_judged() -> None:
    own = targets.arm((64,))
    assert {work.split("/")[1] for target in own for work in target.works} == {"64x56"}
    assert {target.low for target in own} == {84, 35, 76, 32.5, 0.97}


@pytest.mark.parametrize(("rest_cycles", "verdict"), [(1.5e6, "met"), (1.6e6, "not met")])
def test_what_is_no_convolution_is_held_to_the_binary_macs(
    rest_cycles: float, verdict: str
) -> None:
    found = judge(targets.arm_network(["rpi4"]), [arm_network_report(rest_cycles=rest_cycles)])
    assert found.found == pytest.approx(rest_cycles / 1e7)
    assert found.verdict == verdict


def test_long_stretches_are_priced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def priced(blocks: list[str], arch: str, model: str, *, iterations: int) -> list[float]:
        asked.append(iterations)
        return [1.0]

    monkeypatch.setattr(cycles, "priced", priced)
    arm._cycles.cache_clear()
    for lines in (100, 100_000):
        arm._cycles(Stretch("nop\n" * lines, 0).text, "cortex-a72")
    arm._cycles.cache_clear()
    assert asked == [arm.INSTRUCTIONS // 101, arm.ROW_ITERATIONS]
