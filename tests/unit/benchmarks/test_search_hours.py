"""The projection of published schedules: every strategy, every kind of epoch, no hours of toys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import search_hours
from benchmarks.search_hours import (
    HALF,
    SMALL_BATCH,
    kinds,
    published,
    space_of,
    task_of,
    timed,
)
from binas.search.hardware import PLAIN
from binas.search.strategy import catalogue

NAMES = [strategy.name for strategy in catalogue.STRATEGIES]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", NAMES)
def test_the_kinds_of_a_schedule_are_all_of_its_epochs(name: str) -> None:
    task = task_of(name, 1, small=True)
    space = space_of(name, small=True)
    found = kinds(task.settings, max(len(space.normal_ops), len(space.reduction_ops)))
    assert sum(kind.epochs for kind in found) == task.epochs
    assert published(name).batch > task.size


def test_the_published_schedules_are_those_of_the_papers() -> None:
    found = {name: {k.name: k.epochs for k in kinds(published(name), 8)} for name in NAMES}
    assert found["darts"] == {"joint": 50}
    assert found["pc-darts"] == {"weights": 15, "joint": 35}
    assert found["bnas"]["path"] == 57  # as Σ 3 ⌈K/2⌉ for K = 8 ... 2
    assert found["bnas"]["weights"] == 3


@pytest.mark.parametrize("name", NAMES)
def test_images_count_once_and_passes_are_those_of_the_equal_budgets(name: str) -> None:
    """Parent, Child, weights and architecture: the rule of `scaled` counts each."""
    task = task_of(name, 1, small=True)
    space = space_of(name, small=True)
    speeds = timed(task, PLAIN)
    assert {speed.images for speed in speeds} == {SMALL_BATCH}
    passes = sum(speed.kind.epochs * speed.passes for speed in speeds)
    operations = max(len(space.normal_ops), len(space.reduction_ops))
    assert passes == task.settings.passes(operations)


@pytest.mark.parametrize("name", ["bnas", "uniform"])
def test_an_epoch_of_each_kind_is_run_and_brought_to_a_half_of_the_images(name: str) -> None:
    task = task_of(name, 2, small=True)
    for speed in timed(task, PLAIN):
        assert speed.images == 2 * task.size
        assert speed.half_seconds == pytest.approx(speed.seconds * HALF / (2 * task.size))


def test_a_small_report_has_speed_and_memory_and_promises_no_hours(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    words = ["--small", "--batches", "1", "--processor", "cpu", "--strategy", "pc-darts"]
    done = CliRunner().invoke(search_hours.main, [*words, "--json", str(file)])
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    (row,) = report["rows"]
    assert row["passes_per_epoch"] == pytest.approx(85 / 50)  # the architecture rests in 15 of 50
    assert row["image_passes_per_s"] == pytest.approx(85 / 50 * row["images_per_s"])
    assert row["peak_bytes"] > 0
    assert row["projected_hours"] is None
    assert "projected" not in done.output
    assert report["hardware"]["processor"] == "cpu"
    assert not report["hardware"]["compiled"]
