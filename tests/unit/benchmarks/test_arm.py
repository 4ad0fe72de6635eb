"""The ARM benchmark: which stretch of code is priced, and what counts as met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import arm, arm_stretches
from benchmarks.arm import LOWS, Row
from benchmarks.arm_stretches import Stretch
from binas.compile import cycles

A, B, C, D = ((at, 4) for at in range(4))


def row(model: str, build: str, inner: float) -> Row:
    return Row(
        work="64x56",
        out="bits",
        build=build,
        kernel="binary_conv dot threshold generic 4x16",
        model=model,
        inner=inner,
        tile=80.0,
        row=79.0,
        row_instructions=1,
        stack_accesses=0,
        met=True,
    )


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
    C: int, out: arm.Out, model: str, inner: float, tile: float, met: bool
) -> None:
    assert arm._met(LOWS[C], out, model, inner, tile) is met


def test_one_build_is_compared_with_each_cpus_own_at_worst() -> None:
    rows = [
        row("cortex-a72", "rpi4", 84.0),
        row("cortex-a53", "rpi3", 36.0),
        row("cortex-a72", arm.ANY, 84.0),
        row("cortex-a53", arm.ANY, 34.9),
    ]
    assert arm.one_build(rows) == {"least_share": pytest.approx(34.9 / 36), "met": False}
    better = [*rows[:3], replace(rows[3], inner=35.0)]
    assert arm.one_build(better)["met"]


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
