"""Short trainings, their folders' configuration, and their ends: Ctrl-C, SIGKILL."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.recipe import RetrainSettings
from binas.search.retrain import (
    untrained,
)
from binas.search.run import Config, versions
from binas.search.training import Training

FEW = RetrainSettings(epochs=3, batch=16)


def config(**changes: Any) -> Config:
    values: dict[str, Any] = {
        "kind": "retrain",
        "data": "bars",
        "data_digest": "0" * 12,
        "seed": 0,
        "settings": {"epochs": 3, "rate": 0.01, "real": False, "budget_ns": None},
        "inputs": {"genotype": "a" * 12},
        "versions": versions(),
    }
    return Config(**{**values, **changes})


def training(genotype: Genotype, images: Dataset, seed: int, *, real: bool = False) -> Training:
    return Training(untrained(genotype, seed, real=real), images, FEW, seed)


def killed(command: Sequence[str], run: Path, most_ms: int) -> int:
    """Start a program and kill it within so many ms of its first checkpoint; after how many."""
    child = subprocess.Popen(command)
    while not (run / "checkpoint.safetensors").exists():
        assert child.poll() is None
        time.sleep(0.002)
    wait_ms = random.SystemRandom().randrange(most_ms)
    time.sleep(wait_ms / 1000)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was too fast to be killed"
    return wait_ms


class Stop(KeyboardInterrupt):
    """Ctrl-C at a moment of the test's choice."""


def stop_after(epochs: int) -> Callable[[int, int, dict[str, Any]], None]:
    def progress(done: int, _total: int, _entry: dict[str, Any]) -> None:
        if done == epochs:
            raise Stop

    return progress
