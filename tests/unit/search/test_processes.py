"""Two processes that share each batch do what one does with the whole of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from binas.core import record
from binas.core.errors import UsageError
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.processes import GatheredBatchNorm2d, Processes
from binas.search.recipe import RetrainSettings
from binas.search.retrain import untrained
from binas.search.training import Training

# The gradients after one batch, the weights and statistics after an epoch.
CHILD = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from safetensors.torch import save_file
from binas.core import record
from binas.search import data
from binas.search.genotype import Genotype
from binas.search.processes import Processes
from binas.search.recipe import RetrainSettings
from binas.search.retrain import untrained
from binas.search.training import Training
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


def start(folder: Path, rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "error::FutureWarning", "-c", CHILD, str(folder)]
    return subprocess.Popen(command, env=environment)


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for child in [start(tmp_path, 0, 2, port), start(tmp_path, 1, 2, port)]:
        assert child.wait(timeout=200) == 0
    assert start(tmp_path, 0, 1, port).wait(timeout=200) == 0
    one = load_file(tmp_path / "1-0.safetensors")
    for rank in (0, 1):
        two = load_file(tmp_path / f"2-{rank}.safetensors")
        assert two.keys() == one.keys()
        for name, tensor in one.items():
            assert torch.allclose(two[name], tensor, rtol=1e-6, atol=1e-9), name
    assert sum(name.startswith("grad.") for name in one) > 20


def test_gathered_batch_norm_is_batch_norm_where_one_process_gathers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("binas.search.processes._summed", lambda x: x)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1)
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
