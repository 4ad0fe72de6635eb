"""What is logged of every step of an epoch, and the watch over losses that are no numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from binas.search.processes import Processes
from binas.search.train import diverged

LOOK = 50  # steps


class StepLog:
    """Loss and rate of each step of an epoch.

    A loss stays on the processor that computed it and is looked at with others, every `LOOK` steps:
    a look waits for the processor and for the other processes.

    Args:
        epoch: Its number, for the log.
        processes: Who else computes losses of other shares of the batches; means are logged.
    """

    def __init__(self, epoch: int, processes: Processes) -> None:
        """No step yet."""
        self._epoch, self._processes = epoch, processes
        self._waiting: list[tuple[Tensor, float]] = []
        self._entries: list[dict[str, Any]] = []

    def add(self, loss: Tensor, rate: float) -> None:
        """One more step.

        Args:
            loss: Its loss, a scalar.
            rate: Learning rate of its weights.

        Raises:
            SearchError: A loss since the last look is not finite.
        """
        self._waiting.append((loss.detach().double(), rate))
        if len(self._waiting) == LOOK:
            self._look()

    def entries(self) -> list[dict[str, Any]]:
        """What to log of each step, from the first; errors as of `add`."""
        if self._waiting:
            self._look()
        return self._entries

    def _look(self) -> None:
        losses = torch.stack([loss for loss, _ in self._waiting]).cpu()
        sums = self._processes.summed(*losses.tolist())
        rates = [rate for _, rate in self._waiting]
        self._waiting = []
        for total, rate in zip(sums, rates, strict=True):
            step, loss = len(self._entries), total / self._processes.count
            if not math.isfinite(loss):
                raise diverged(f"the loss of step {step} is {loss}", self._epoch)
            entry = {"epoch": self._epoch, "step": step, "loss": loss, "rate": rate}
            self._entries.append(entry)
