"""Work for a crew, importable by the processes it starts."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from binas.core import record
from binas.core.errors import CompileError, UsageError
from examples.demo.cache import Tick


def count(folder: Path, tick: Tick, *, to: int) -> str:
    """Count, going on where an earlier call stopped."""
    path = folder / "count"
    start = int(path.read_text()) if path.exists() else 0
    for number in range(start, to):
        path.write_text(str(number + 1))
        tick(number + 1, to)
    return f"counted from {start} to {to}"


def stop_at(folder: Path, tick: Tick, *, to: int, at: int) -> str:
    """Count, and be interrupted on the way the first time."""
    path = folder / "count"
    if not path.exists():
        path.write_text(str(at))
        raise KeyboardInterrupt
    return count(folder, tick, to=to)


def fail(folder: Path, tick: Tick, *, hint: str) -> str:
    """Fail as a room does."""
    raise CompileError("no kernel", hint=hint)


def refuse(folder: Path, tick: Tick) -> str:
    """Leave a file behind and refuse it, as a run does with a checkpoint."""
    (folder / "checkpoint").write_text("damaged")
    raise UsageError("the checkpoint is damaged", hint="give --force to start over")


def fill(folder: Path, tick: Tick) -> str:
    """Run into a full disk, as a run does with its next checkpoint."""
    (folder / "checkpoint").write_text("good")
    with record.replacing(folder / "checkpoint"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stumble(folder: Path, tick: Tick) -> str:
    """Fail as a bug does."""
    raise ZeroDivisionError("a bug")


def meet(folder: Path, tick: Tick, *, other: Path) -> str:
    """Wait for a job that waits for this one: works only if both run at once."""
    (folder / "here").write_text("")
    for _ in range(600):
        if other.exists():
            return "met"
        time.sleep(0.05)
    raise TimeoutError("the other job never ran beside this one")


def sleep_long(folder: Path, tick: Tick) -> str:
    """Say that it runs, then do nothing for a minute."""
    (folder / "here").write_text("")
    time.sleep(60)
    return "slept"


def sleep_by(folder: Path, tick: Tick, *, started: Path) -> str:
    """Fail as soon as another job has started."""
    for _ in range(600):
        if started.exists():
            raise CompileError("stop everything")
        time.sleep(0.05)
    raise TimeoutError("the other job never started")
