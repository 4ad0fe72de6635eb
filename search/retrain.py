"""Train a genotype from scratch: as a 1-bit network, or as its real-valued twin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from binas.core import record
from binas.core.errors import UsageError
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.networks.bars import Network, build
from binas.search.run import RunFolder
from binas.search.space import Space
from binas.search.train import (
    Progress,
    accuracy,
    batches,
    calibrate,
    cosine_rate,
    cross_entropy,
    fit,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
    with_prefix,
    without_prefix,
)

CALIBRATION_BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSettings:
    """How to train.

    Attributes:
        epochs: Passes over the training images.
        batch: Images per step.
        rate: Peak of Adam's learning rate; cosine to 0 after a warm-up of a tenth. 1-bit nets need
            this much in a few hundred steps; a rate usual for real nets costs 10 points.
        smoothing: Of the labels.
    """

    epochs: int = 15
    batch: int = 32
    rate: float = 1e-2
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if min(self.epochs, self.batch) < 1 or not 0 < self.rate < math.inf:
            raise UsageError(
                "epochs, batch and rate must be above 0", hint="see binas-search retrain --help"
            )
        if not 0 <= self.smoothing < 1:
            raise UsageError(
                f"smoothing is {self.smoothing}, expected 0 to less than 1",
                hint="see binas-search retrain --help",
            )


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
    """

    SCHEMA: ClassVar[str] = "binas.trained/1"

    genotype: Genotype
    data: str
    labels: tuple[str, ...]
    real: bool
    seed: int
    accuracy: float
    train_accuracy: float
    seconds: float


class Training:
    """One network under training (a `Task`)."""

    def __init__(
        self, genotype: Genotype, data: Dataset, settings: RetrainSettings, seed: int, *, real: bool
    ) -> None:
        """Initial weights are drawn from the seed alone."""
        must_fit(genotype.space, data)
        self.settings, self.epochs = settings, settings.epochs
        self.x, self.y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = build(genotype, real=real)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=settings.rate)
        self.generator = torch.Generator().manual_seed(seed)

    def epoch(self, number: int) -> dict[str, Any]:
        """One pass over the training images."""
        self.net.train()
        settings, total, right, seen = self.settings, 0.0, 0, 0
        steps = max(1, len(self.x) // settings.batch)
        for step, picked in enumerate(batches(len(self.x), settings.batch, self.generator)):
            done = number * steps + step
            set_rate(self.optimiser, cosine_rate(done, self.epochs * steps, settings.rate))
            logits, y = self.net(self.x[picked]), self.y[picked]
            loss = cross_entropy(logits, y, settings.smoothing)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item() * len(picked)
            right += int((logits.argmax(dim=1) == y).sum())
            seen += len(picked)
        return {"loss": total / seen, "accuracy": right / seen}

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimiser, generator."""
        return {
            **with_prefix("net", self.net.state_dict()),
            **optimiser_tensors(self.optimiser, "adam"),
            "generator": self.generator.get_state(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        self.net.load_state_dict(without_prefix("net", tensors))
        restore_optimiser(self.optimiser, tensors, "adam")
        self.generator.set_state(tensors["generator"])


def retrain(
    genotype: Genotype,
    data: Dataset,
    settings: RetrainSettings | None = None,
    *,
    seed: int = 0,
    real: bool = False,
    folder: RunFolder | None = None,
    progress: Progress | None = None,
) -> tuple[Network, Trained]:
    """Train a genotype and measure it on the held-out images, once, at the end.

    Args:
        genotype: What to train.
        data: With images of the genotype's shape.
        settings: How; the defaults suit the digits.
        seed: Of initial weights and order of images.
        real: Train the real-valued twin.
        folder: Where log and checkpoints go, and where an interrupted run goes on.
        progress: Told after each epoch.

    Returns:
        The network in evaluation, batch norm recalibrated; and the record of it.
    """
    task = Training(genotype, data, settings or RetrainSettings(), seed, real=real)
    log = fit(task, folder, progress)
    net = task.net
    calibrate(net, net, task.x, CALIBRATION_BATCH)
    trained = Trained(
        genotype=genotype,
        data=data.name,
        labels=data.labels,
        real=real,
        seed=seed,
        accuracy=accuracy(net, torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)),
        train_accuracy=accuracy(net, task.x, task.y),
        seconds=sum(float(entry["seconds"]) for entry in log),
    )
    return net, trained


def save_network(net: Network, path: Path) -> None:
    """Weights as safetensors."""
    record.write_atomic(path, save_tensors(net.state_dict()))


def load_network(genotype: Genotype, path: Path, *, real: bool = False) -> Network:
    """The network of a genotype with the weights of a file, in evaluation.

    Raises:
        UsageError: Not weights of this genotype.
    """
    net = build(genotype, real=real)
    try:
        net.load_state_dict(load_tensors(record.read_bytes(path)))
    except (SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"{path} does not hold the weights of this genotype: {first}",
            hint="train it again: binas-search retrain",
        ) from None
    net.eval()
    return net


def must_fit(space: Space, data: Dataset) -> None:
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
