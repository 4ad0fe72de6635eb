"""The log of an epoch's steps, and how soon a loss that is no number ends them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from binas.core.errors import SearchError
from binas.search import step_log
from binas.search.cells import CellSpace
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.processes import Processes
from binas.search.recipe import RetrainSettings
from binas.search.retrain import untrained
from binas.search.run import RunFolder
from binas.search.step_log import LOOK, StepLog
from binas.search.strategy import darts
from binas.search.strategy.cell_ground import CellGround
from binas.search.train import fit
from binas.search.training import Training
from tests.unit.search.runs import config


def test_every_step_is_logged_once_and_in_order() -> None:
    log = StepLog(3, Processes.alone())
    count = 2 * LOOK + 1
    for step in range(count):
        log.add(torch.tensor(step / 8), 1.0 / (step + 1))
    found = log.entries()
    assert found == log.entries()
    assert [(e["epoch"], e["step"], e["loss"]) for e in found] == [
        (3, step, step / 8) for step in range(count)
    ]
    assert found[-1]["rate"] == 1 / count


def test_the_step_is_named_whose_loss_is_no_number_and_the_look_comes_after_so_many() -> None:
    log = StepLog(2, Processes.alone())
    bad = LOOK // 2
    for step in range(LOOK - 1):
        log.add(torch.tensor(float("nan") if step == bad else 0.0), 0.1)
    with pytest.raises(SearchError, match=f"the loss of step {bad} is nan in epoch 2") as caught:
        log.add(torch.tensor(0.0), 0.1)
    assert "the last good epoch is kept" in caught.value.hint


Task = tuple[Any, torch.nn.Module, torch.optim.Optimizer]


def retraining(genotype: Genotype, images: Dataset) -> Task:
    settings = RetrainSettings(epochs=3, batch=8)
    task = Training(untrained(genotype, 0), images, settings, 0)
    return task, task.net, task.optimiser


def searching(_genotype: Genotype, images: Dataset) -> Task:
    space = CellSpace(input_shape=(1, 8, 8), classes=3, channels=8, nodes=1, cells=3)
    task = darts.Search(CellGround(space, None), images, darts.DartsSettings(epochs=3, batch=4), 0)
    return task, task.net, task.weights


@pytest.mark.parametrize("make", [retraining, searching])
def test_nan_stops_a_training_within_its_epoch_and_the_last_good_state_is_kept(
    make: Callable[[Genotype, Dataset], Task],
    genotype: Genotype,
    images: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_log, "LOOK", 3)
    task, net, optimiser = make(genotype, images)
    good: dict[str, torch.Tensor] = {}
    steps: list[int] = []

    def spoil_after_two_steps(*_: object) -> None:
        steps.append(len(steps))
        if good and len(steps) == 2:
            list(net.parameters())[-1].data[0] = float("nan")

    def progress(_done: int, _total: int, _entry: dict[str, Any]) -> None:
        assert len(steps) == 12
        steps.clear()
        good.update({name: tensor.clone() for name, tensor in task.tensors().items()})

    optimiser.register_step_post_hook(spoil_after_two_steps)
    with pytest.raises(SearchError, match="the loss of step 2 is nan in epoch 1") as caught:
        fit(task, RunFolder(tmp_path, config()), progress)
    assert len(steps) == 3
    assert "the last good epoch is kept" in caught.value.hint
    kept = RunFolder(tmp_path, config()).resume()
    assert kept is not None
    assert len(kept[1]) == 1
    assert all(torch.equal(kept[0][name], tensor) for name, tensor in good.items())
    assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == 12
