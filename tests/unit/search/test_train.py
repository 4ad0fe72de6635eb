"""Training: what is interrupted or killed goes on bit for bit, and NaN never becomes the state."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from binas.core import record
from binas.core.errors import SearchError, UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.recipe import RetrainSettings
from binas.search.retrain import (
    load_network,
    retrain,
    save_network,
)
from binas.search.run import RunFolder
from binas.search.space import Space
from binas.search.strategy.bars import BarsSettings, Search
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.train import Task, accuracy, batches, calibrate, cosine_rate, fit
from tests.unit.search.runs import FEW, Stop, config, killed, stop_after, training

MakeTask = Callable[[], Task]


@pytest.fixture(params=["retrain", "twin", "search"])
def make_task(
    request: pytest.FixtureRequest,
    tiny: Space,
    genotype: Genotype,
    images: Dataset,
    lut_of: Callable[[Space], Lut],
) -> MakeTask:
    """A task, made anew at each call as a new process would."""
    if request.param == "search":
        settings = BarsSettings(epochs=3, warmup_epochs=1, batch=24)
        return lambda: Search(LayoutGround(tiny, lut_of(tiny)), images, settings, 5, 2e4)
    return lambda: training(genotype, images, 5, real=request.param == "twin")


def untimed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in entries]


@pytest.mark.parametrize("epochs", [1, 2])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    make_task: MakeTask, tmp_path: Path, epochs: int
) -> None:
    whole = make_task()
    log = fit(whole)
    with pytest.raises(Stop):
        fit(make_task(), RunFolder(tmp_path, config()), stop_after(epochs))
    resumed = make_task()
    again = fit(resumed, RunFolder(tmp_path, config()))
    assert untimed(again) == untimed(log)
    expected, got = whole.tensors(), resumed.tensors()
    assert expected.keys() == got.keys()
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]


def test_a_finished_task_trains_no_more(make_task: MakeTask, tmp_path: Path) -> None:
    log = fit(make_task(), RunFolder(tmp_path, config()))
    again = fit(make_task(), RunFolder(tmp_path, config()), stop_after(1))
    assert again == log


@pytest.mark.parametrize(
    ("place", "says"),
    [
        # The sign in front of a reduction hides a NaN from the loss.
        (0, r"net\.pieces\.0\.first\.conv\.weight is not finite in epoch 1"),
        (-1, "the loss of step 0 is nan in epoch 1"),
    ],
)
def test_nan_is_seen_and_the_last_good_state_is_kept(
    genotype: Genotype, images: Dataset, tmp_path: Path, place: int, says: str
) -> None:
    task = training(genotype, images, 0)
    good: dict[str, torch.Tensor] = {}

    def spoil(done: int, _total: int, _entry: dict[str, Any]) -> None:
        if done == 1:
            good.update({name: tensor.clone() for name, tensor in task.tensors().items()})
            list(task.net.parameters())[place].data[0] = float("nan")

    with pytest.raises(SearchError, match=says) as caught:
        fit(task, RunFolder(tmp_path, config()), spoil)
    assert "lower the learning rate" in caught.value.hint
    kept = RunFolder(tmp_path, config()).resume()
    assert kept is not None
    tensors, entries = kept
    assert len(entries) == 1
    assert all(torch.equal(tensors[name], tensor) for name, tensor in good.items())


def test_a_weight_that_overflows_unseen_by_the_loss_is_named(
    genotype: Genotype, images: Dataset, tmp_path: Path
) -> None:
    task = training(genotype, images, 0)
    whole = task.epoch

    def epoch(number: int) -> dict[str, Any]:
        entry = whole(number)
        list(task.net.parameters())[-1].data[1] = float("inf")
        return entry

    task.epoch = epoch  # type: ignore[method-assign]
    with pytest.raises(SearchError, match=r"linear\.bias is not finite in epoch 0"):
        fit(task, RunFolder(tmp_path, config()))
    assert RunFolder(tmp_path, config()).resume() is None


CHILD = """
import sys, torch
from pathlib import Path
from binas.core import record
from binas.search import data
from binas.search.genotype import Genotype
from binas.search.recipe import RetrainSettings
from binas.search.retrain import retrain, save_network
from binas.search.run import Config, RunFolder
torch.set_num_threads(1)
folder = Path(sys.argv[1])
images, genotype = data.load(str(folder / "images.npz")), record.load(Genotype, folder / "g.json")
run = RunFolder(folder / "run", record.load(Config, folder / "c.json"))
net, trained = retrain(genotype, images, RetrainSettings(epochs=40, batch=8), folder=run)
save_network(net, folder / "weights.safetensors")
"""


def test_killed_at_a_random_moment_a_run_goes_on_to_the_same_weights(
    genotype: Genotype, images: Dataset, tmp_path: Path
) -> None:
    np.savez(
        tmp_path / "images.npz",
        x_train=images.x_train,
        y_train=images.y_train,
        x_test=images.x_test,
        y_test=images.y_test,
    )
    record.save(genotype, tmp_path / "g.json")
    record.save(config(), tmp_path / "c.json")
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    wait_ms = killed(command, tmp_path / "run", 1000)
    kept = RunFolder(tmp_path / "run", config()).resume()
    assert kept is not None
    assert 0 < len(kept[1]) < 40
    subprocess.run(command, check=True)
    net, _ = retrain(genotype, images, RetrainSettings(epochs=40, batch=8))
    save_network(net, tmp_path / "whole.safetensors")
    resumed, whole = (tmp_path / f"{n}.safetensors" for n in ("weights", "whole"))
    assert resumed.read_bytes() == whole.read_bytes(), f"killed after {wait_ms} ms"


def test_a_1_bit_network_and_its_twin_learn_and_are_measured_on_held_out_images(
    genotype: Genotype, images: Dataset, tmp_path: Path
) -> None:
    spoilt = replace(images, y_test=(images.y_test + 1) % 3)
    for real in (False, True):
        net, trained = retrain(
            genotype, images, RetrainSettings(epochs=8, batch=8), real=real, seed=1
        )
        assert trained.accuracy > 0.9
        assert trained.real is real
        x = torch.from_numpy(images.x_test)
        assert accuracy(net, x, torch.from_numpy(spoilt.y_test)) < 0.1
        save_network(net, tmp_path / "w.safetensors")
        again = load_network(genotype, tmp_path / "w.safetensors", real=real)
        assert torch.equal(again(x), net(x))


def test_weights_of_another_genotype_are_refused(
    genotype: Genotype, images: Dataset, tmp_path: Path
) -> None:
    net, _ = retrain(genotype, images, FEW)
    save_network(net, tmp_path / "w.safetensors")
    other = replace(genotype, widths=tuple(1 - width for width in genotype.widths))
    with pytest.raises(UsageError, match="does not hold the weights of this genotype"):
        load_network(other, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="does not hold the weights"):
        load_network(genotype, tmp_path / "w.safetensors")


def test_initial_weights_come_from_the_seed_alone(genotype: Genotype, images: Dataset) -> None:
    torch.manual_seed(1)
    first = training(genotype, images, 3).net.state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after), "training moved the caller's generator"
    second = training(genotype, images, 3).net.state_dict()
    other = training(genotype, images, 4).net.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_the_rate_rises_then_follows_a_cosine_to_nothing() -> None:
    rates = [cosine_rate(step, 100, 2.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] < 2.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 0.001


def test_batches_shuffle_all_images_and_drop_a_short_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    found = list(batches(10, 4, generator))
    assert [len(batch) for batch in found] == [4, 4]
    whole = torch.cat(list(batches(10, 4, generator, drop_last=False)))
    assert sorted(whole.tolist()) == list(range(10))
    assert whole.tolist() != list(range(10))
    assert [len(batch) for batch in batches(3, 8, generator)] == [3]


def test_calibration_is_the_plain_average_over_the_images() -> None:
    norm = nn.BatchNorm2d(2)
    x = torch.randn(64, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1
    calibrate(norm, norm, x, 16)
    assert not norm.training
    assert norm.momentum == 0.1
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, x.mean(dim=(0, 2, 3)))
