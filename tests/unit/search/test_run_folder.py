"""The folder of a run: whose it is, what is in it after a crash, and what TensorBoard reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from binas.core import record
from binas.core.errors import UsageError
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.run import FILES, Config, RunFolder
from binas.search.train import fit
from tests.unit.search.runs import Stop, config, stop_after, training


def test_a_folder_belongs_to_one_request(tmp_path: Path) -> None:
    RunFolder(tmp_path, config())
    RunFolder(tmp_path, config(versions={"torch": "0"}))  # versions alone forbid nothing
    for changes, says in (
        ({"seed": 1}, "seed: 0, now 1"),
        ({"kind": "search"}, "kind: retrain, now search"),
        ({"data_digest": "1" * 12}, "data_digest"),
        ({"settings": {**config().settings, "rate": 0.02}}, "rate: 0.01, now 0.02"),
        ({"inputs": {"genotype": "b" * 12}}, f"genotype: {'a' * 12}, now {'b' * 12}"),
    ):
        with pytest.raises(UsageError, match="holds a run with other") as caught:
            RunFolder(tmp_path, config(**changes))
        assert says in str(caught.value)
        assert caught.value.hint.endswith(f"or start over: delete {tmp_path}")
    typed = {"seed": 1, "arguments": ("retrain", "/my runs/a")}
    with pytest.raises(UsageError) as caught:
        RunFolder(tmp_path, config(**typed))
    force = f"start over: binas-search retrain '/my runs/a' -o {tmp_path} --force"
    assert caught.value.hint == f"give another -o; or {force}", "resume has no --force of its own"


@pytest.mark.parametrize("left", [name for name in FILES if name != "config.json"])
def test_a_folder_that_does_not_say_whose_it_is_is_never_taken_for_ours(
    tmp_path: Path, left: str
) -> None:
    (tmp_path / left).touch()
    for writes in (True, False):
        with pytest.raises(UsageError, match=f"holds {left} of a run, but no config.json"):
            RunFolder(tmp_path, config(), writes=writes)
    assert [path.name for path in tmp_path.iterdir()] == [left], "nothing false is written"
    RunFolder(tmp_path, config(), force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_checkpoint_of_another_run_is_refused_and_one_that_moved_is_not(tmp_path: Path) -> None:
    tensors, entries = {"a": torch.ones(2)}, [{"epoch": 0, "loss": 1.0}]
    RunFolder(tmp_path / "other", config(seed=1)).checkpoint(tensors, entries)
    RunFolder(tmp_path / "mine", config()).checkpoint(tensors, entries)
    there = {"settings": {**config().settings, "processor": "cuda"}, "versions": {"torch": "9"}}
    record.save(config(**there), tmp_path / "mine" / "config.json")
    assert RunFolder(tmp_path / "mine", config(**there)).resume() is not None

    place = tmp_path / "mine" / "checkpoint.safetensors"
    place.write_bytes((tmp_path / "other" / "checkpoint.safetensors").read_bytes())
    with pytest.raises(UsageError, match=r"checkpoint\.safetensors is of another run"):
        RunFolder(tmp_path / "mine", config(**there)).resume()
    record.save(config(), tmp_path / "mine" / "config.json")
    with pytest.raises(UsageError, match="is of another run") as caught:
        RunFolder(tmp_path / "mine", config()).resume()
    assert caught.value.hint == f"delete {tmp_path / 'mine'}"


def test_force_forgets_every_result(tmp_path: Path) -> None:
    RunFolder(tmp_path, config())
    results = ("result.json", "trained.json", "weights.safetensors", "genotype.json", "log.jsonl")
    for name in (*results, "checkpoint.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    RunFolder(tmp_path, config(seed=1), force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]
    assert record.load(Config, tmp_path / "config.json").seed == 1


def test_origins_and_the_typed_command_do_not_make_another_run(tmp_path: Path) -> None:
    RunFolder(tmp_path, config())
    RunFolder(tmp_path, config(origins={"epochs": "default"}, arguments=("retrain", "x")))


def test_steps_of_a_killed_epoch_are_written_once(tmp_path: Path) -> None:
    def entries(count: int) -> list[dict[str, Any]]:
        return [{"epoch": number, "loss": 1.0} for number in range(count)]

    folder = RunFolder(tmp_path, config())
    tensors = {"a": torch.ones(2)}
    folder.checkpoint(tensors, entries(1), [{"epoch": 0, "step": 0}])
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"epoch": 1, "step": 0}\n{"epoch": 1, "st')  # killed before the checkpoint
    again = RunFolder(tmp_path, config())
    kept = again.resume()
    assert kept is not None
    assert kept[1] == entries(1)
    again.checkpoint(tensors, entries(2), [{"epoch": 1, "step": 0}])
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert lines == [{"epoch": 0, "step": 0}, {"epoch": 1, "step": 0}]


@pytest.mark.parametrize("left", [b"", b'{"step": 0}\n{"st', b'{"step": 0}\n', None])
def test_steps_that_were_lost_are_said_and_not_made_up(tmp_path: Path, left: bytes | None) -> None:
    folder = RunFolder(tmp_path, config())
    tensors, log = {"a": torch.ones(2)}, tmp_path / "steps.jsonl"
    folder.checkpoint(tensors, [{"epoch": 0}], [{"step": 0}, {"step": 1}])
    size = log.stat().st_size
    assert folder.resume() is not None
    assert folder.lost == ""
    if left is None:
        log.unlink()
    else:
        log.write_bytes(left)
    again = RunFolder(tmp_path, config())
    assert again.resume() is not None
    whole = '{"step": 0}\n' if left else ""
    assert f"{log} holds {len(whole)} of the {size} bytes of finished epochs" in again.lost
    again.checkpoint(tensors, [{"epoch": 0}, {"epoch": 1}], [{"step": 2}])
    assert log.read_text() == whole + '{"step": 2}\n'
    assert again.resume() is not None
    assert again.lost == "", "it was said once"


def test_a_process_that_does_not_write_leaves_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", config(), writes=False)
    folder.checkpoint({"a": torch.ones(1)}, [{"epoch": 0}], [{"step": 0}])
    assert not (tmp_path / "run").exists()


def test_tensorboard_shows_every_step_once_although_the_run_was_resumed(
    genotype: Genotype, images: Dataset, tmp_path: Path
) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    with pytest.raises(Stop):
        fit(
            training(genotype, images, 0), RunFolder(tmp_path, config(), events=True), stop_after(2)
        )
    fit(training(genotype, images, 0), RunFolder(tmp_path, config(), events=True))
    by_epoch, by_step = (
        reader.EventAccumulator(str(tmp_path / "events" / kind)).Reload()
        for kind in ("epoch", "step")
    )
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = by_epoch.Scalars("loss")
    assert [event.step for event in losses] == [0, 1, 2]
    assert [event.value for event in losses] == pytest.approx([entry["loss"] for entry in log])
    assert [event.step for event in by_step.Scalars("rate")] == list(range(18))
    RunFolder(tmp_path, config(), force=True)
    assert not list(tmp_path.glob("events/*/*"))


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_checkpoint_is_refused_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path, config())
    assert folder.resume() is None
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match="is damaged") as caught:
        folder.resume()
    assert caught.value.hint == f"delete {tmp_path}"


def test_no_checkpoint_is_left_half_written(
    genotype: Genotype, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, config())
    task = training(genotype, images, 0)
    entry = {"epoch": 0, "seconds": 0.0, **task.epoch(0)}
    folder.checkpoint(task.tensors(), [entry])

    def full(path: Path, data: bytes) -> int:
        path.open("wb").write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="No space left"):
        folder.checkpoint(task.tensors(), [entry, entry])
    monkeypatch.undo()
    kept = folder.resume()
    assert kept is not None
    assert len(kept[1]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "log.jsonl",
    ]
