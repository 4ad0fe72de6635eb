"""`--processor`: where a command trains, what it says where that is not, and how runs move."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from binas.core import record
from binas.search.cli import main
from binas.search.data import Dataset
from binas.search.run import Config, RunFolder
from tests.unit.search.runs import config

SHORT = ("--epochs", "2", "--warmup-epochs", "1", "--batch", "24", "--samples", "1")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is refused must not depend on the machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield


@pytest.fixture
def typed(images: Dataset, tmp_path: Path) -> list[str]:
    """A search on files of the test's own."""
    arrays = {n: getattr(images, n) for n in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "images.npz", **arrays)
    space = "input_shape = [1, 8, 8]\nclasses = 3\nchannels = 8\nstages = 2\nwidths = [0.5, 1.0]\n"
    (tmp_path / "tiny.toml").write_text(space)
    files = ("--space", str(tmp_path / "tiny.toml"), "--data", str(tmp_path / "images.npz"))
    return ["run", *files, *SHORT]


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("command", ["run", "compare", "retrain"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(
    command: str, tmp_path: Path
) -> None:
    what = [tmp_path / "genotype.json"] if command == "retrain" else []
    done = call(command, *what, "--processor", "cuda", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert f"torch {torch.__version__} sees no CUDA device, expected one" in done.output
    assert "give --processor auto" in done.output
    assert not (tmp_path / "out").exists()


def test_auto_searches_on_the_cpu_where_there_is_nothing_else(
    typed: list[str], tmp_path: Path
) -> None:
    plain = call(*typed, "--json", "-o", tmp_path / "cpu")
    auto = call(*typed, "--json", "--processor", "auto", "-o", tmp_path / "auto")
    found = [json.loads(done.stdout) for done in (plain, auto)]
    for answer in found:
        del answer["seconds"]
    assert found[0] == found[1]
    kept: Config = record.load(Config, tmp_path / "auto" / "config.json")
    assert kept.settings["processor"] == "cpu"
    assert kept.arguments[-2:] == ("--processor", "auto")


def test_a_run_of_a_gpu_goes_on_elsewhere_only_if_it_is_told_to(
    typed: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert call(*typed, "-o", run).exit_code == 0
    (run / "result.json").unlink()
    kept: Config = record.load(Config, run / "config.json")
    settings = {**kept.settings, "processor": "cuda"}
    arguments = (*kept.arguments, "--processor", "cuda")
    record.save(replace(kept, settings=settings, arguments=arguments), run / "config.json")
    again = call(*typed, "-o", run)
    assert again.exit_code == 2
    assert "a run with other processor: cuda, now cpu" in again.output
    assert "sees no CUDA device" in call("resume", run).output
    moved = call("resume", run, "--processor", "auto")
    assert moved.exit_code == 0, moved.output
    assert (run / "result.json").exists()
    assert call("resume", run).exit_code == 0  # it stays there
    assert record.load(Config, run / "config.json").settings["processor"] == "cpu"


@pytest.fixture
def begun_on(typed: list[str], tmp_path: Path) -> Callable[[str], Path]:
    """Runs that `--processor auto` put somewhere, interrupted before their end."""

    def begin(processor: str) -> Path:
        run = tmp_path / processor
        done = call(*typed, "--processor", "auto", "-o", run)
        assert done.exit_code == 0, done.output
        (run / "result.json").unlink()
        kept: Config = record.load(Config, run / "config.json")
        settings = {**kept.settings, "processor": processor}
        record.save(replace(kept, settings=settings), run / "config.json")
        return run

    return begin


def test_a_run_that_auto_put_on_a_gpu_says_how_to_go_on_where_there_is_none(
    typed: list[str], begun_on: Callable[[str], Path]
) -> None:
    run = begun_on("cuda")
    way_out = f"binas-search resume {run} --processor cpu"
    again = [*typed, "--processor", "auto", "-o", str(run)]
    for words in (["resume", str(run)], again):
        refused = call(*words)
        assert refused.exit_code == 2
        assert "cuda" in refused.output
        assert way_out in " ".join(refused.output.split())
    assert "sees no CUDA device here" in call("resume", run).output
    assert call(*way_out.split()[1:]).exit_code == 0
    assert (run / "result.json").exists()


def test_a_run_that_auto_put_on_a_cpu_goes_on_there_although_a_gpu_is_at_hand(
    typed: list[str], begun_on: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun_on("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    again = call(*typed, "--processor", "auto", "-o", run)
    assert again.exit_code == 2
    assert "a run with other processor: cpu, now cuda" in again.output
    assert f"binas-search resume {run} goes on" in " ".join(again.output.split())
    done = call("resume", run)
    assert done.exit_code == 0, done.output
    kept: Config = record.load(Config, run / "config.json")
    assert kept.settings["processor"] == "cpu"
    assert kept.arguments[-2:] == ("--processor", "auto")


def test_a_run_that_a_gpu_has_finished_says_where_its_answer_is(
    begun_on: Callable[[str], Path],
) -> None:
    run = begun_on("cuda")
    (run / "result.json").write_text("{}")
    for words in (("resume", run), ("resume", run, "--processor", "cpu")):
        refused = call(*words)
        assert refused.exit_code == 2
        assert f"it is finished: {run / 'result.json'}" in " ".join(refused.output.split())


def test_a_run_that_moved_twice_names_one_processor_and_a_finished_one_is_not_relabelled(
    typed: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert call(*typed, "--processor", "auto", "-o", run).exit_code == 0
    before = (run / "config.json").read_bytes()
    assert call("resume", run, "--processor", "cpu").exit_code == 0
    assert (run / "config.json").read_bytes() == before
    (run / "result.json").unlink()
    for _ in range(2):
        assert call("resume", run, "--processor", "cpu").exit_code == 0
        (run / "result.json").unlink()
    kept: Config = record.load(Config, run / "config.json")
    assert kept.arguments.count("--processor") == 1


def test_a_folder_of_a_time_without_processors_is_one_of_the_cpu(tmp_path: Path) -> None:
    RunFolder(tmp_path, config())
    RunFolder(tmp_path, config(settings={**config().settings, "processor": "cpu"}))
