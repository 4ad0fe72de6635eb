"""Two processes that share each batch do what one does with the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from binas.core import record
from binas.core.errors import UsageError
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.networks.cell_recipe import Norm
from binas.search.processes import GatheredBatchNorm2d, Processes
from binas.search.recipe import RetrainSettings
from binas.search.retrain import untrained
from binas.search.training import Training
from tests.unit.search import gathered

# The gradients after one batch, the weights and statistics after an epoch.
CHILD = """
import sys, torch, warnings
from dataclasses import replace
from pathlib import Path
from typing import cast
from safetensors.torch import save_file
from binas.core import record
from binas.search import data
from binas.search.genotype import Genotype
from binas.search.processes import Processes
from binas.search.recipe import RetrainSettings
from binas.search.retrain import untrained
from binas.search.training import Training
warnings.filterwarnings("error", message="Grad strides")  # torch's, of no use to a user
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # in float32 rounding turns signs
folder = Path(sys.argv[1])
images, genotype = data.load(str(folder / "images.npz")), record.load(Genotype, folder / "g.json")
images = replace(images, x_train=images.x_train.astype("float64"))
processes = Processes.joined()
settings = RetrainSettings(epochs=1, batch=48, optimiser="sgd", rate=1e-3, auxiliary=0.4)
training = Training(untrained(genotype, 0), images, settings, 0, processes=processes)
entry = training.epoch(0)
grads = {f"grad.{i}": p.grad.contiguous() for i, p in enumerate(training.parameters)}
kept = {name: value for name, value in training.tensors().items() if "optimiser" not in name}
state = {name: value.contiguous() for name, value in kept.items()}
numbers = {"loss": torch.tensor(entry["loss"]), "accuracy": torch.tensor(entry["accuracy"])}
save_file({**grads, **state, **numbers}, folder / f"{processes.count}-{processes.rank}.safetensors")
"""


def test_two_processes_give_the_gradients_of_one_with_the_joint_batch(
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
    gathered.run(CHILD, tmp_path, count=2)
    gathered.run(CHILD, tmp_path, count=1)
    one = load_file(tmp_path / "1-0.safetensors")
    for rank in (0, 1):
        two = load_file(tmp_path / f"2-{rank}.safetensors")
        assert two.keys() == one.keys()
        for name, tensor in one.items():
            assert torch.allclose(two[name], tensor, rtol=1e-6, atol=1e-9), name
    assert sum(name.startswith("grad.") for name in one) > 20


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binas.search.processes._summed", lambda x: x)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1)


def test_gathered_batch_norm_is_batch_norm_where_one_process_gathers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone(monkeypatch)
    x = torch.randn(5, 3, 4, 2, dtype=torch.double, requires_grad=True)
    for momentum in (0.1, None):
        plain = nn.BatchNorm2d(3, momentum=momentum).double()
        ours = GatheredBatchNorm2d(3, momentum=momentum).double()
        results = []
        for norm in (plain, ours):
            norm.weight.data = torch.tensor([1.0, 2.0, -1.0]).double()
            (first,) = torch.autograd.grad((norm(x) ** 3).sum(), x)
            results.append((norm(x + 1), first))
        for expected, got in zip(*results, strict=True):
            assert torch.allclose(got, expected)
        for name, value in plain.state_dict().items():
            assert torch.allclose(ours.state_dict()[name], value), name
        assert torch.allclose(plain.eval()(x), ours.eval()(x))


def test_the_norms_of_cells_are_gathered_with_their_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    plain, net = Norm(3, affine=False), nn.Sequential(Norm(3, affine=False))
    two, x = Processes(rank=0, count=2), torch.randn(4, 3, 5, 5)
    ours = cast(nn.Sequential, two.gathered(net))[0]
    assert type(ours) is GatheredBatchNorm2d
    for gain in (torch.tensor(0.3), torch.rand(4, 1, 1, 1), None):
        assert torch.allclose(ours(x, gain), plain(x, gain), atol=1e-6)
    half = ours(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), plain(x), atol=0.05)
    monkeypatch.setattr("binas.search.processes._summed", None)
    with two.apart(net):
        assert torch.allclose(ours(x), plain(x), atol=1e-6)
    with pytest.raises(TypeError):
        ours(x)


def test_a_batch_that_cannot_be_shared_is_refused_with_one_that_can(
    genotype: Genotype, images: Dataset
) -> None:
    assert Processes.alone().whole(33) == 33
    training = Training(untrained(genotype, 0), images, RetrainSettings(batch=32), 0)
    training.processes = Processes(rank=0, count=3)
    with pytest.raises(UsageError, match="a batch of 32 cannot be shared by 3") as caught:
        training.epoch(0)
    assert "--batch 30" in caught.value.hint
    assert Processes(rank=1, count=3).share(torch.arange(6)).tolist() == [2, 3]
