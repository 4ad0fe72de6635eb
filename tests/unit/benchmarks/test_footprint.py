"""What a network takes of disk and memory, held to the bounds of the one list."""

from __future__ import annotations

from benchmarks import targets
from benchmarks.footprint import lines
from benchmarks.judge import judge
from benchmarks.targets import TIMES
from tests.unit.benchmarks.reports import footprint_report


def test_every_figure_is_said_beside_its_bound() -> None:
    said = "\n".join(lines(footprint_report()))
    for words in (
        "compile time, empty kernel cache: 10 s, each ≤ 30 s: met, 1 of 5 runs",
        "artifact beyond its stored weights: 97.66 KiB, each ≤ 256 KiB: met",
        f"arena, of the live tensors' lower bound: 1.053{TIMES}, each ≤ 1.1{TIMES}: met",
        "peak memory beyond 1.3 (weights + arena): 1.268 MiB, each ≤ 4 MiB: met",
    ):
        assert words in said


def test_an_artifact_of_257_kib_beside_its_weights_is_too_large() -> None:
    (found,) = (
        judge(target, [footprint_report(artifact=3_900_000 + 257 * 1024)])
        for target in targets.footprint()
        if "artifact" in target.title
    )
    assert found.verdict == "not met"


def test_an_artifact_for_another_machine_is_not_run_and_its_memory_not_judged() -> None:
    said = lines(footprint_report(device="rpi4", peak=None))
    assert "peak memory: not run here" in said
    assert said[-1].endswith("not measured")
    assert [line.rsplit(": ")[-1] for line in said[-4:-1]] == ["met, 1 of 5 runs", "met", "met"]
