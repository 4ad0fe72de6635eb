"""Candidates measured while a search goes on: compiled in another process, timed by a free board.

A strategy that samples networks submits them as it draws them and asks for the results when it
needs them, so it waits neither for the compiler nor for one slow board.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from signal import SIG_IGN, SIGINT, signal
from threading import Lock, Thread
from types import TracebackType
from typing import NamedTuple, Self

from binas.core import record
from binas.core.errors import BinasError, CompileError, DeviceError
from binas.devices.device import Device
from binas.runtime.measure import Failure, Plan, Result
from binas.search.genotype import AnyGenotype
from binas.search.workshop import NetworkBoard, compile_one


class _Candidate(NamedTuple):
    path: Path
    result: Future[Result]


class DeviceQueue:
    """Networks waiting for one of several boards.

    Args:
        device: What they are compiled for.
        boards: Of that kind; at least one. Their links stay the caller's.
        folder: For artifacts, each of which is removed once it is measured.
        plan: How a network is measured.
    """

    def __init__(
        self, device: Device, boards: Sequence[NetworkBoard], folder: Path, plan: Plan
    ) -> None:
        """Start a thread per board; the compiler's process starts with the first network."""
        self._device, self._folder, self._plan = device, folder, plan
        self._known: dict[AnyGenotype, Future[Result]] = {}
        self._ready: SimpleQueue[_Candidate | None] = SimpleQueue()
        self._left, self._lock, self._last = len(boards), Lock(), ""
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=signal, initargs=(SIGINT, SIG_IGN)
        )
        self._threads = [Thread(target=self._serve, args=(b,), daemon=True) for b in boards]
        for thread in self._threads:
            thread.start()

    def submit(self, genotype: AnyGenotype) -> Future[Result]:
        """Queue a network; the same one is measured once.

        Returns:
            A Measurement, or a Failure that says why there is none.
        """
        if genotype not in self._known:
            result: Future[Result] = Future()
            self._known[genotype] = result
            path = self._folder / f"candidate-{record.digest(genotype)}.binas"
            try:
                made = self._pool.submit(compile_one, genotype, self._device, path)
            except BrokenExecutor as error:  # its process was killed, for memory as a rule
                result.set_result(_uncompiled(error))
            else:
                made.add_done_callback(lambda done: self._made(done, _Candidate(path, result)))
        return self._known[genotype]

    def close(self) -> None:
        """Forget what is not measured yet, and end."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        """Nothing more to begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _made(self, done: Future[CompileError | None], candidate: _Candidate) -> None:
        """The compiler is done with a network, one way or the other."""
        if done.cancelled():
            candidate.result.cancel()
            return
        error = done.exception() or done.result()
        if error is not None:
            candidate.result.set_result(_uncompiled(error))
        else:
            self._hand_on(candidate)

    def _hand_on(self, candidate: _Candidate) -> None:
        with self._lock:
            if self._left:
                self._ready.put(candidate)
                return
        self._give_up(candidate)

    def _give_up(self, candidate: _Candidate) -> None:
        candidate.path.unlink(missing_ok=True)
        candidate.result.set_result(
            Failure(
                kind="run", message=f"no board is left to measure it; the last said: {self._last}"
            )
        )

    def _serve(self, board: NetworkBoard) -> None:
        """A board's thread: networks until the board is lost or nothing is left."""
        while (candidate := self._ready.get()) is not None:
            try:
                result: Result = board.time(candidate.path, self._plan)
            except DeviceError as error:
                self._lost(candidate, str(error))
                return
            except BinasError as error:
                result = Failure(kind="run", message=str(error))
            except Exception as error:  # a fault of ours must not leave the search waiting
                self._lost(candidate, f"{type(error).__name__}: {error}")
                return
            candidate.path.unlink(missing_ok=True)
            candidate.result.set_result(result)

    def _lost(self, candidate: _Candidate, why: str) -> None:
        """A board's network goes to another; with the last board, all that wait are given up."""
        with self._lock:
            self._left -= 1
            self._last = why
            left = self._left
        self._hand_on(candidate)
        while not left and not self._ready.empty():
            waiting = self._ready.get()
            if waiting is not None:
                self._give_up(waiting)


def _uncompiled(error: BaseException) -> Failure:
    return Failure(kind="compile", message=str(error) or type(error).__name__)
