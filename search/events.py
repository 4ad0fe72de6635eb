"""A run's logs as TensorBoard reads them; needs the extra `binas[tensorboard]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from binas.core.errors import UsageError

EVENT_FILES = "events.out.tfevents.*"


class Events:
    """Writes one event file into a run's folder; an earlier run's file stays beside it."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet: a run may write no epoch."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (1 s, optional)
        except ImportError:
            raise UsageError(
                "--tensorboard needs the package tensorboard",
                hint="pip install 'binas[tensorboard]'",
            ) from None
        self._path, self._make = path, SummaryWriter
        self._writer: Any = None

    def epoch(self, entry: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> None:
        """Every number of an epoch under `epoch/`, of its steps under `step/`.

        A resumed run writes a file of its own that purges what a killed one wrote beyond the last
        checkpoint, so no step is shown twice.
        """
        number = int(entry["epoch"])
        if self._writer is None:
            self._writer = self._make(str(self._path), purge_step=number)
        for name, value in _numbers(entry):
            self._writer.add_scalar(f"epoch/{name}", value, number)
        for step in steps:
            for name, value in _numbers(step):
                self._writer.add_scalar(
                    f"step/{name}", value, number * len(steps) + int(step["step"])
                )
        self._writer.flush()


def _numbers(entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [
        (name, float(value))
        for name, value in entry.items()
        if name not in ("epoch", "step")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    ]
