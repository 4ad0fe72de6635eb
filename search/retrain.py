"""Train a genotype from scratch: as a 1-bit network, or as its real-valued twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from binas.core import record
from binas.core.errors import UsageError
from binas.search.data import Dataset
from binas.search.genotype import AnySpace, Buildable
from binas.search.hardware import CPU, Hardware
from binas.search.networks.family import AnyNetwork, build
from binas.search.processes import Processes
from binas.search.recipe import RetrainSettings
from binas.search.reference import Reference
from binas.search.run import RunFolder
from binas.search.train import (
    Progress,
    accuracy,
    fit,
)
from binas.search.training import Training

MAX_WEIGHTS_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of training a genotype.

    Attributes:
        genotype: What was trained.
        data: Name of the data set.
        labels: A name per class.
        real: Whether it is the real-valued twin.
        seed: Of initial weights and order of images.
        accuracy: On the held-out images.
        train_accuracy: On the training images.
        seconds: Of training.
        sources: Name → digest of what it came from: "data" it was trained on, "table" and
            "search_data" that its search read. They go with it into the ONNX file and the artifact.
    """

    SCHEMA: ClassVar[str] = "binas.trained/1"

    genotype: Buildable
    data: str
    labels: tuple[str, ...]
    real: bool
    seed: int
    accuracy: float
    train_accuracy: float
    seconds: float
    sources: dict[str, str] = field(default_factory=dict)


def untrained(genotype: Buildable, seed: int, *, real: bool = False) -> AnyNetwork:
    """The network of a genotype with initial weights drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(genotype, real=real)


def retrain(
    genotype: Buildable,
    data: Dataset,
    settings: RetrainSettings | None = None,
    *,
    seed: int = 0,
    real: bool = False,
    teacher: nn.Module | None = None,
    hardware: Hardware = CPU,
    processes: Processes | None = None,
    folder: RunFolder | None = None,
    progress: Progress | None = None,
) -> tuple[AnyNetwork, Trained]:
    """Train a genotype and measure it on the held-out images, once, at the end.

    Args:
        genotype: What to train.
        data: With images of the genotype's shape.
        settings: How; the defaults suit the digits.
        seed: Of initial weights and order of images.
        real: Train the real-valued twin.
        teacher: Distilled from where the settings ask for it; images → logits.
        hardware: Where it is trained.
        processes: Who else trains on other shares of each batch.
        folder: Where log and checkpoints go, and where an interrupted run goes on.
        progress: Told after each epoch.

    Returns:
        The network in evaluation, batch norm recalibrated; and the record of it.
    """
    must_fit(genotype.space, data)
    settings, net = settings or RetrainSettings(), untrained(genotype, seed, real=real)
    task = Training(
        net, data, settings, seed, teacher=teacher, hardware=hardware, processes=processes
    )
    log = fit(task, folder, progress)
    task.finish()
    trained = Trained(
        genotype=genotype,
        data=data.name,
        labels=data.labels,
        real=real,
        seed=seed,
        accuracy=accuracy(net, torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)),
        train_accuracy=accuracy(net, task.x, task.y),
        seconds=sum(float(entry["seconds"]) for entry in log),
        sources={"data": data.digest},
    )
    return net, trained


def save_network(net: AnyNetwork, path: Path) -> None:
    """Weights as safetensors."""
    record.write_atomic(path, save_tensors(net.state_dict()))


def load_network(genotype: Buildable, path: Path, *, real: bool = False) -> AnyNetwork:
    """The network of a genotype with the weights of a file, in evaluation.

    Raises:
        UsageError: Not weights of this genotype.
    """
    run = path.parent
    of_run = (run / "config.json").exists()
    hint = f"binas-search resume {run} makes it again" if of_run else "give a training's own file"
    if not path.exists():
        raise UsageError(f"{path} is missing, the weights of a training", hint=hint)
    net = build(genotype, real=real)
    try:
        net.load_state_dict(load_tensors(record.read_bytes(path, MAX_WEIGHTS_BYTES)))
    except (SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"{path} does not hold the weights of this genotype: {first}",
            hint=hint,
        ) from None
    net.eval()
    return net


def must_fit(space: AnySpace | Reference, data: Dataset) -> None:
    """Check that a space is for such images.

    Raises:
        UsageError: Another shape or number of classes.
    """
    if space.input_shape != data.shape or space.classes != len(data.labels):
        raise UsageError(
            f"the space is for {space.classes} classes of {list(space.input_shape)} images, "
            f"{data.name} has {len(data.labels)} of {list(data.shape)}",
            hint="give another --data, or a --space with its input_shape and classes",
        )
