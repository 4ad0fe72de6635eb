"""Folders of searches and trainings: reused, started over, interrupted, resumed, taught."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from binas.core import record
from binas.search.cli import main as search_command
from binas.search.genotype import Genotype
from binas.search.run import Config
from tests.integration.typed import SHORT, answer, asked, begun, call, must_refuse


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space and images."""
    return begun(tmp_path_factory.mktemp("runs"))


def test_what_is_finished_is_reused_and_force_starts_over(home: Path, tmp_path: Path) -> None:
    search = ["run", *asked(home), *SHORT, "-o", tmp_path / "run"]
    first = answer(search_command, *search)
    again = call(search_command, *search, "--json")
    assert json.loads(again.stdout) == first
    assert "is finished: reused" in again.stderr
    other = call(search_command, *search, "--seed", "1")
    must_refuse(other, 2, "holds a run with other seed: 0, now 1", "--force")
    assert call(search_command, *search, "--seed", "1", "--force").exit_code == 0

    train = ["retrain", tmp_path / "run", "--data", home / "images.npz", "-o", tmp_path / "net"]
    one = answer(search_command, *train, "--epochs", 1)
    must_refuse(call(search_command, *train, "--epochs", 2), 2, "epochs: 1, now 2", "--force")
    two = answer(search_command, *train, "--epochs", 2, "--force")
    assert one["seconds"] != two["seconds"]
    assert len((tmp_path / "net" / "log.jsonl").read_text().splitlines()) == 2
    assert set(two["sources"]) == {"data", "search_data"}

    other_search = record.load(Config, tmp_path / "run" / "config.json")
    tables = {**other_search.inputs, "table": "0123456789ab"}
    record.save(replace(other_search, inputs=tables), tmp_path / "run" / "config.json")
    same = call(search_command, *train, "--epochs", 2, "--json")
    assert "is finished: reused" in same.stderr
    three = json.loads(same.stdout)
    assert three == {**two, "sources": {**two["sources"], "table": "0123456789ab"}}
    assert (
        json.loads((tmp_path / "net" / "trained.json").read_text())["sources"] == three["sources"]
    )


def test_interrupted_it_says_so_and_the_same_command_goes_on(home: Path, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("binas-search")),
        *map(str, ["run", *asked(home), "--batch", 8, "--epochs", 60, "--samples", 1]),
        *("-o", str(tmp_path / "run"), "--json"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    out, said = child.communicate()
    assert child.returncode == 130, said
    assert out == ""
    assert said.splitlines()[-1] == "Interrupted. The same command goes on where it stopped."
    assert "Traceback" not in said
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "goes on after epoch" in again.stderr
    whole = answer(search_command, *command[1:-3], "-o", str(tmp_path / "whole"))
    resumed = json.loads(again.stdout)
    del whole["seconds"], resumed["seconds"]
    assert resumed == whole


def test_weights_and_genotypes_that_went_missing_are_made_again(home: Path, tmp_path: Path) -> None:
    search = ["run", *asked(home), *SHORT, "-o", tmp_path / "run"]
    train = ["retrain", tmp_path / "run", "--data", home / "images.npz", "-o", tmp_path / "net"]
    answer(search_command, *search)
    genotype, weights = tmp_path / "run" / "genotype.json", tmp_path / "net" / "weights.safetensors"
    kept = genotype.read_bytes()
    genotype.unlink()
    answer(search_command, "resume", tmp_path / "run")
    assert genotype.read_bytes() == kept

    trained, bits = answer(search_command, *train, "--epochs", 2), weights.read_bytes()
    export = ["export", tmp_path / "net", "-o", tmp_path / "net.onnx"]
    for left, said in ((None, "is missing"), (bits[:-9], "does not hold the weights")):
        weights.unlink()
        if left is not None:
            weights.write_bytes(left)
        resume = f"binas-search resume {tmp_path / 'net'}"
        must_refuse(call(search_command, *export), 2, said, resume)
        again = call(search_command, "resume", tmp_path / "net", "--json")
        assert f"{weights} {said}" in again.stderr
        assert "they are made again" in again.stderr
        assert json.loads(again.stdout) == trained
        assert weights.read_bytes() == bits


def test_a_folder_without_its_config_gives_nothing_and_gets_nothing(
    home: Path, tmp_path: Path
) -> None:
    search = ["run", *asked(home), "--strategy", "darts", "--epochs", 2, "--batch", 16]
    search += ["-o", tmp_path / "run"]
    answer(search_command, *search)
    (tmp_path / "run" / "config.json").unlink()
    other = ["run", *asked(home), *SHORT, "--seed", 9, "-o", tmp_path / "run"]
    for name in ("result.json", "genotype.json", "checkpoint.safetensors", "log.jsonl"):
        refused = call(search_command, *other)
        must_refuse(refused, 2, f"{name} of a run, but no config.json", f"{tmp_path}/run --force")
        (tmp_path / "run" / name).unlink()
    must_refuse(call(search_command, "resume", tmp_path / "run"), 2, "holds no config.json", "-o")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["steps.jsonl"]


def test_a_checkpoint_of_another_strategy_is_refused(home: Path, tmp_path: Path) -> None:
    begin = ["run", *asked(home), "--epochs", 2, "--batch", 16, "--strategy"]
    for name in ("darts", "pc-darts"):
        warm = ["--warmup-epochs", 1]
        answer(search_command, *begin, name, *warm, "-o", tmp_path / name)
    there, here = (tmp_path / n / "checkpoint.safetensors" for n in ("darts", "pc-darts"))
    here.write_bytes(there.read_bytes())
    (tmp_path / "pc-darts" / "result.json").unlink()
    refused = call(search_command, "resume", tmp_path / "pc-darts")
    must_refuse(refused, 2, "is of another run", f"-o {tmp_path / 'pc-darts'} --force")
    here.unlink()
    assert call(search_command, "resume", tmp_path / "pc-darts").exit_code == 0


def test_a_genotype_alone_is_enough_to_train(home: Path, tmp_path: Path) -> None:
    answer(search_command, "run", *asked(home), *SHORT, "-o", tmp_path / "run")
    genotype = tmp_path / "run" / "genotype.json"
    assert record.load(Genotype, genotype).space.channels == 8
    found = answer(
        search_command,
        *("retrain", genotype, "--data", home / "images.npz", "--epochs", 1, "--real"),
        *("-o", tmp_path / "twin"),
    )
    assert found["real"] is True
    listed = answer(search_command, "list")
    assert listed["schema"] == "binas.search-list/1"
    assert "digits" in listed["spaces"]


def test_resume_needs_the_folder_alone_and_gives_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)  # typed with relative paths, resumed from elsewhere
    search = ["run", "--space", "tiny.toml", "--data", "images.npz", *SHORT, "--set", "samples=1"]
    whole = answer(search_command, *search, "-o", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "checkpoint.safetensors").unlink()  # as if killed in the first epoch
    again = answer(search_command, "resume", tmp_path / "run")
    del whole["seconds"], again["seconds"]
    assert again == whole
    kept: Config = record.load(Config, tmp_path / "run" / "config.json")
    assert kept.origins["epochs"] == kept.origins["samples"] == "command line"
    assert kept.origins["entropy"] == "default"

    record.save(replace(kept, arguments=()), tmp_path / "run" / "config.json")
    must_refuse(call(search_command, "resume", tmp_path / "run"), 2, "does not say which", "again")
    must_refuse(call(search_command, "resume", tmp_path / "no"), 2, "no such file")


@pytest.mark.parametrize(
    ("strategy", "given", "says"),
    [
        ("pc-darts", "partial=0", "partial is 0, expected 1"),
        ("pc-darts", "partial=-3", "partial is -3, expected 1"),
        ("pc-darts", "partial=7", "partial is 7: 8 channels of a node do not divide"),
        ("bnas", "partial=5", "partial is 5: 8 channels of a node do not divide"),
    ],
)
def test_what_cannot_be_searched_leaves_no_folder(
    home: Path, tmp_path: Path, strategy: str, given: str, says: str
) -> None:
    search = ["run", *asked(home), "--strategy", strategy, "--set", given]
    must_refuse(call(search_command, *search, "-o", tmp_path / "run"), 2, says)
    assert not (tmp_path / "run").exists()


def test_a_network_is_taught_by_its_twin_and_shows_its_settings(home: Path, tmp_path: Path) -> None:
    answer(search_command, "run", *asked(home), *SHORT, "-o", tmp_path / "run")
    train = ["retrain", tmp_path / "run", "--data", home / "images.npz", "--epochs", 3]
    answer(search_command, *train, "--real", "-o", tmp_path / "twin")
    teach = [*train, "--set", "distil=0.5", "-o", tmp_path / "net"]
    taught = answer(search_command, *teach, "--teacher", tmp_path / "twin", "--steps", "2")
    assert taught["real"] is False
    log = (tmp_path / "net" / "log.jsonl").read_text().splitlines()
    assert len(log) == 6, "three epochs in each of two steps"
    config: Config = record.load(Config, tmp_path / "net" / "config.json")
    assert config.inputs.keys() == {"genotype", "teacher"}
    must_refuse(call(search_command, *teach, "--force"), 2, "no teacher", "--teacher")
    must_refuse(
        call(search_command, *teach, "--force", "--teacher", home), 2, "no trained network", "run"
    )
    shown = answer(search_command, *teach, "--show-config")
    assert shown["schema"] == "binas.settings/1"
    assert shown["settings"]["distil"] == 0.5
    assert shown["origins"]["distil"] == "command line"
    must_refuse(
        call(search_command, *train, "--set", "distill=1", "-o", tmp_path / "x"),
        *(2, "unknown setting 'distill'", "did you mean distil?"),
    )
    must_refuse(
        call(search_command, "run", "--strategy", "bar", "-o", tmp_path / "x"),
        *(2, "unknown strategy 'bar'", "bars"),
    )
