"""The projection of published schedules: every strategy, every kind of epoch, no hours of toys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import search_hours
from benchmarks.search_hours import HALF, kinds, published, space_of, task_of, timed
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


@pytest.mark.parametrize("name", ["bnas", "uniform"])
def test_an_epoch_of_each_kind_is_run_and_brought_to_a_half_of_the_images(name: str) -> None:
    task = task_of(name, 2, small=True)
    for speed in timed(task, PLAIN):
        assert speed.images % (task.steps * task.size) == 0
        assert speed.half_seconds == pytest.approx(speed.seconds * HALF / (2 * task.size))


def test_a_small_report_has_speed_and_memory_and_promises_no_hours(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    words = ["--small", "--batches", "1", "--processor", "cpu", "--strategy", "pc-darts"]
    done = CliRunner().invoke(search_hours.main, [*words, "--json", str(file)])
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    (row,) = report["rows"]
    assert row["images_per_s"] > 0
    assert row["peak_bytes"] > 0
    assert row["projected_hours"] is None
    assert "projected" not in done.output
    assert report["hardware"]["processor"] == "cpu"
    assert not report["hardware"]["compiled"]
