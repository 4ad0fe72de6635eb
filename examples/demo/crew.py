"""Jobs side by side in processes of their own, with one bar per job and one Ctrl-C for all.

A job that is interrupted leaves what it wrote whole; called again it goes on from there. That is
the job's own doing (checkpoints, `core/record.py`); here they are only started and stopped.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self, cast

from binas.core import cli
from binas.core.errors import BinasError, UnwritableError, UsageError
from examples.demo.cache import Done, Stage, Tick

Work = Callable[..., str]  # (folder, tick, **arguments) → one sentence of what came out


@dataclass(frozen=True, slots=True)
class Job:
    """A stage and the work that fills its folder.

    Attributes:
        stage: Where the result goes.
        work: A function of a module, so that another process can import it.
        arguments: What it is given besides the folder and the progress callback.
    """

    stage: Stage
    work: Work
    arguments: dict[str, Any] = field(default_factory=dict)


class Crew:
    """Runs jobs, shows bars on stderr, says what was reused."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._progress = cli.progress()

    def __enter__(self) -> Self:
        """Start the display."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the display."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """A line above the bars."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def alone(self, job: Job) -> Done:
        """Do one job in this process: the machine is quiet, as measuring needs it."""
        done = job.stage.done
        if done is not None:
            return self._reused(done)
        name = job.stage.name
        bar = self._progress.add_task(name, total=None)
        return self._finished(name, bar, _do(job, partial(self._show, name, bar)))

    def together(self, *chains: Sequence[Job]) -> None:
        """Do chains of jobs at the same time, each chain in a process of its own.

        Raises:
            BinasError: A job failed; the others are stopped, and go on at the next call.
        """
        context = multiprocessing.get_context("spawn")  # torch and its threads survive no fork
        running: dict[Connection[Any, Any], Any] = {}
        try:
            for chain in chains:
                left = [job for job in chain if self._left(job)]
                if not left:
                    continue
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(theirs, left), daemon=True)
                with _unheard_interrupt():
                    process.start()
                theirs.close()
                running[ours] = process
            self._watch(running)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.join()

    def _watch(self, running: dict[Connection[Any, Any], Any]) -> None:
        """Show what the chains say until all have ended."""
        bars: dict[str, Any] = {}
        while running:
            for ready in wait(list(running)):
                connection = cast("Connection[Any, Any]", ready)
                try:
                    kind, name, value = connection.recv()
                except EOFError:  # a chain ends by closing its end
                    process = running.pop(connection)
                    process.join()
                    if process.exitcode:
                        raise RuntimeError(f"a job ended with status {process.exitcode}") from None
                    continue
                if kind == "began":
                    bars[name] = self._progress.add_task(name, total=None)
                elif kind == "tick":
                    self._show(name, bars[name], *value)
                elif kind == "error":
                    raise value
                else:
                    self._finished(name, bars[name], value)

    def _show(self, name: str, bar: Any, done: int, total: int, doing: str = "") -> None:
        words = f"{name}: {doing}" if doing else name
        self._progress.update(bar, completed=done, total=total, description=words)

    def _left(self, job: Job) -> bool:
        """Whether a job is still to be done; says so where it is not."""
        done = job.stage.done
        if done is not None:
            self._reused(done)
        return done is None

    def _reused(self, done: Done) -> Done:
        self.say(f"{done.stage:<22} reused: {done.summary} ({done.seconds:.0f} s saved)")
        return done

    def _finished(self, name: str, bar: Any, done: Done) -> Done:
        self._progress.remove_task(bar)
        self.say(f"{name:<22} {done.seconds:>5.1f} s  {done.summary}")
        return done


@contextmanager
def _unheard_interrupt() -> Iterator[None]:
    """A process started here ignores Ctrl-C from its first moment: the parent ends it in order."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _child(connection: Connection[Any, Any], chain: Sequence[Job]) -> None:
    """Entry of a chain's process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _one_thread()
    for job in chain:
        name = job.stage.name
        connection.send(("began", name, None))
        try:
            done = _do(job, partial(_send_tick, connection, name))
        except Exception as error:  # whatever it is, the parent raises it
            if not isinstance(error, BinasError):
                error.add_note(traceback.format_exc())  # a bug; its own trace stays behind here
            connection.send(("error", name, error))
            return
        connection.send(("done", name, done))


def _send_tick(
    connection: Connection[Any, Any], name: str, done: int, total: int, doing: str = ""
) -> None:
    connection.send(("tick", name, (done, total, doing)))


def _do(job: Job, tick: Tick) -> Done:
    """The work of one job, timed and marked as done."""
    began_s = time.monotonic()
    folder = job.stage.folder
    goes_on = folder.is_dir() and any(folder.iterdir())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        said = job.work(folder, tick, **job.arguments)
    except UnwritableError:  # no fault of what was found: with space again, it goes on from there
        raise
    except UsageError as error:
        if not goes_on:
            raise
        raise job.stage.damaged(f"it was interrupted, and {error}") from error
    return job.stage.finish(said, began_s)


def _one_thread() -> None:
    """Two trainings on two cores: one thread each is faster than two that take turns."""
    os.environ["OMP_NUM_THREADS"] = "1"  # what torch reads when it is imported ...
    torch = sys.modules.get("torch")
    if torch is not None:  # ... which a job's own module may have done already
        torch.set_num_threads(1)
