"""Training for another task than classes: the loss is the task's, the rest `search/train.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from binas.search.train import (
    batches,
    cosine_rate,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
    with_prefix,
    without_prefix,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSettings:
    """How to train.

    Attributes:
        epochs: Passes over the training images.
        batch: Images per step.
        rate: Peak of Adam's learning rate; cosine to 0 after a warm-up of a tenth.
    """

    epochs: int = 12
    batch: int = 64
    rate: float = 1e-2


class Transfer:
    """A network and the parameters of its loss under training (a `Task`).

    Args:
        nets: What is trained, the loss's own parameters included.
        loss: Indices of a batch → its loss.
        count: How many images there are.
        settings: How.
        seed: Of the order of images.
    """

    def __init__(
        self,
        nets: nn.ModuleList,
        loss: Callable[[Tensor], Tensor],
        count: int,
        settings: TransferSettings,
        seed: int,
    ) -> None:
        """Nothing is trained yet."""
        self.nets, self.loss, self.count, self.settings = nets, loss, count, settings
        self.epochs = settings.epochs
        self.optimiser = torch.optim.Adam(nets.parameters(), lr=settings.rate)
        self.generator = torch.Generator().manual_seed(seed)

    def epoch(self, number: int) -> dict[str, Any]:
        """One pass over the training images."""
        self.nets.train()
        steps = max(1, self.count // self.settings.batch)
        total = 0.0
        for step, picked in enumerate(batches(self.count, self.settings.batch, self.generator)):
            done = number * steps + step
            set_rate(self.optimiser, cosine_rate(done, self.epochs * steps, self.settings.rate))
            loss = self.loss(picked)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item()
        return {"loss": total / steps}

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimiser, generator."""
        return {
            **with_prefix("net", self.nets.state_dict()),
            **optimiser_tensors(self.optimiser, "adam"),
            "generator": self.generator.get_state(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        self.nets.load_state_dict(without_prefix("net", tensors))
        restore_optimiser(self.optimiser, tensors, "adam")
        self.generator.set_state(tensors["generator"])
