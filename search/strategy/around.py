"""A search from its task to what it found, and what it runs in."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import torch

from binas.core.errors import UsageError
from binas.search.hardware import Hardware
from binas.search.processes import Processes
from binas.search.run import RunFolder
from binas.search.strategy.settings import Found
from binas.search.strategy.task import SearchTask
from binas.search.strategy.timing import Timer
from binas.search.train import Progress, fit


class Around(TypedDict, total=False):
    """What a search runs in; a GPU rounds otherwise, nothing else changes what it finds.

    Attributes:
        folder: Where log and checkpoints go, and where an interrupted run goes on.
        progress: Told after each epoch.
        timer: Measures the candidates on a device while they are evaluated.
        processes: Who else searches with other shares of each batch; alone when left out.
        hardware: Where networks are trained; a CPU when left out.
    """

    folder: RunFolder | None
    progress: Progress | None
    timer: Timer | None
    processes: Processes | None
    hardware: Hardware | None


def run(task: SearchTask[Any, Any], **around: Unpack[Around]) -> Found:
    """Search to the end and choose among what was found.

    Args:
        task: At its start; where the folder holds a checkpoint it goes on there.
        around: See `Around`.

    Raises:
        SearchError: No derived network is within the budget, the training diverged, or the
            architecture collapsed; the folder keeps the last good epoch.
        UsageError: Processes cannot share a batch alike, or are to measure.
    """
    task.timer = around.get("timer")
    if (processes := around.get("processes")) is not None:
        if processes.count > 1 and task.timer is not None:
            raise UsageError(
                f"{processes.count} processes would measure every network {processes.count} times",
                hint="search without --measure, or in one process",
            )
        task.join(processes)
    if (hardware := around.get("hardware")) is not None:
        task.place(hardware)
    log = fit(task, around.get("folder"), around.get("progress"))
    with torch.no_grad():
        found = task.candidates()
        expected = task.ground.expected_ns(task.probabilities())
    found.sort(key=lambda candidate: (-candidate.accuracy, candidate.predicted_ns or 0.0))
    return Found(
        genotype=found[0].genotype,
        seed=task.seed,
        budget_ns=task.budget_ns,
        predicted_ns=found[0].predicted_ns,
        expected_ns=None if expected is None else float(expected),
        candidates=tuple(found),
        seconds=sum(float(entry["seconds"]) for entry in log),
    )
