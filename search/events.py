"""A run's logs as TensorBoard reads them; needs the extra `binas[tensorboard]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from binas.core.errors import UsageError

EVENT_FILES = "events/*/events.out.tfevents.*"


class Events:
    """Writes into `events/epoch` and `events/step` of a run's folder, two curves of their own.

    A resumed run writes files of its own that purge what a killed one wrote beyond the last
    checkpoint, so nothing is shown twice. What is purged is said by number, and epochs and steps
    count differently: hence two.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet: a run may write no epoch."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (1 s, optional)
        except ImportError:
            raise UsageError(
                "--tensorboard needs the package tensorboard",
                hint="pip install 'binas[tensorboard]'",
            ) from None
        self._path, self._make = path / "events", SummaryWriter
        self._writers: dict[str, Any] = {}

    def epoch(self, entry: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> None:
        """Every number of an epoch, and of its steps."""
        number = int(entry["epoch"])
        self._write("epoch", number, [(number, entry)])
        first = number * len(steps)
        self._write("step", first, [(first + int(step["step"]), step) for step in steps])

    def _write(self, kind: str, first: int, entries: list[tuple[int, Mapping[str, Any]]]) -> None:
        if kind not in self._writers:
            self._writers[kind] = self._make(str(self._path / kind), purge_step=first)
        for place, entry in entries:
            for name, value in _numbers(entry):
                self._writers[kind].add_scalar(name, value, place)
        self._writers[kind].flush()


def _numbers(entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [
        (name, float(value))
        for name, value in entry.items()
        if name not in ("epoch", "step")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    ]
