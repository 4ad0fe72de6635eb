"""A fleet: boards of one kind that share the measuring of many artifacts.

One thread per board waits at its link; all decisions are taken in the caller's thread, one event at
a time. A board that fails, hangs or lies is set aside and what it had open, or had answered while
it could not be trusted, goes to the others. Nothing here knows of search spaces or of files: an
answer is handed to the caller the moment it is there.

Beyond about a thousand boards at one machine, TVM's RPC tracker is the engine: each machine runs a
fleet over the boards that it requests from the tracker, and the tables are merged.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from binas.core.errors import BinasError, DeviceError, WrongAnswerError
from binas.runtime.measure import Failure, Result, percentile

PATIENCE = 3  # boards that may be lost over one job before the job is given up
CHECK_EVERY = 50  # jobs of a board between two checks of its answers
MAX_LIE = 0.15  # a board whose anchor is further from the others' is not one of them


@dataclass(frozen=True, slots=True)
class Job:
    """Some steps of one artifact, to be measured in one go.

    Attributes:
        path: The artifact.
        steps: Indices of its steps.
        seed: Of their order.
    """

    path: Path
    steps: tuple[int, ...]
    seed: int = 0


class Board(Protocol):
    """What a fleet is made of."""

    @property
    def name(self) -> str:
        """The board's name, for messages."""

    def layers(self, job: Job) -> Sequence[Result]:
        """Measure; one result per step of the job.

        Raises:
            BinasError: The board is of no use any more.
        """

    def check(self) -> float:
        """Compute something whose result is known, and time it.

        Returns:
            Time of the anchor, in ns.

        Raises:
            BinasError: The result is wrong, or did not come.
        """


@dataclass(slots=True)
class _Seat:
    """A board at work; `since_check` holds the jobs whose answers are not vouched for yet."""

    board: Board
    inbox: SimpleQueue[Job | None] = field(default_factory=SimpleQueue)
    job: Job | None = None
    until_s: float = 0.0
    since_check: list[Job] = field(default_factory=list)
    thread: Thread | None = None
    anchor_ns: float | None = None
    is_checking: bool = False


Event = tuple[_Seat, Sequence[Result] | float | BinasError]
Answered = Callable[[Job, str, Sequence[Result]], None]
Withdrawn = Callable[[Job, str], None]


class Fleet:
    """Boards of one kind.

    Args:
        boards: At least one.
        lease_s: Seconds after which a job's board is taken for dead; the links have their own,
            shorter limits, so this catches only what those miss.
        say: Told when a board is set aside, for people.
    """

    def __init__(
        self,
        boards: Sequence[Board],
        *,
        lease_s: Callable[[Job], float],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Nothing starts before `run`."""
        self._seats = [_Seat(board) for board in boards]
        self._lease_s, self._say = lease_s, say
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._open: deque[Job] = deque()
        self._losses: dict[Job, int] = {}
        self.set_aside: dict[str, str] = {}

    def run(
        self,
        jobs: Iterable[Job],
        answered: Answered,
        withdrawn: Withdrawn = lambda _job, _name: None,
    ) -> None:
        """Have every job answered.

        Args:
            jobs: In the order in which they are begun.
            answered: Told (job, name of the board, results) once per answer.
            withdrawn: Told (job, name of the board) when an answer turned out to be worth nothing;
                the job will be answered again.

        Raises:
            DeviceError: No board is left; what was answered stays answered.
        """
        self._open.extend(jobs)
        try:
            self._work(answered, withdrawn)
        finally:
            for seat in self._seats:
                seat.inbox.put(None)
                seat.thread = None
                seat.inbox = SimpleQueue()

    def _work(self, answered: Answered, withdrawn: Withdrawn) -> None:
        alone = len(self._seats) == 1
        while True:
            self._assign(alone)
            busy = [seat for seat in self._seats if seat.job is not None or seat.is_checking]
            if not busy:
                if not self._open:
                    return
                raise DeviceError(
                    f"no board is left and {len(self._open)} jobs are open: "
                    + "; ".join(f"{name}: {why}" for name, why in self.set_aside.items()),
                    hint="mend the boards and repeat the command: what was measured is kept",
                )
            wait_s = min(seat.until_s for seat in busy) - time.monotonic()
            try:
                seat, what = self._events.get(timeout=max(0.0, wait_s))
            except Empty:
                self._expire(answered)
                continue
            if seat.board.name in self.set_aside:
                continue  # it woke up too late; somebody else has its job
            if isinstance(what, BinasError):
                if alone:
                    raise what
                self._lose(seat, str(what), answered)
                if isinstance(what, WrongAnswerError):
                    self._withdraw(seat, withdrawn)
            elif isinstance(what, float):
                seat.is_checking, seat.anchor_ns = False, what
                if self._is_honest(seat, answered, withdrawn):
                    seat.since_check.clear()
            elif seat.job is not None:
                job, seat.job = seat.job, None
                seat.since_check.append(job)
                answered(job, seat.board.name, what)

    def _assign(self, alone: bool) -> None:
        """Give every idle board a job, or a check where one is due."""
        for seat in self._seats:
            if seat.job is not None or seat.is_checking or seat.board.name in self.set_aside:
                continue
            due = len(seat.since_check) >= CHECK_EVERY or (seat.since_check and not self._open)
            first = seat.anchor_ns is None and bool(self._open)
            if not alone and (due or first):
                seat.is_checking = True
                self._hand(seat, None)
            elif self._open:
                seat.job = self._open.popleft()
                self._hand(seat, seat.job)

    def _hand(self, seat: _Seat, job: Job | None) -> None:
        limit_s = self._lease_s(job or Job(Path(), ()))
        seat.until_s = time.monotonic() + limit_s
        if seat.thread is None:
            seat.thread = Thread(target=self._serve, args=(seat, seat.inbox), daemon=True)
            seat.thread.start()
        seat.inbox.put(job or _CHECK)

    def _serve(self, seat: _Seat, inbox: SimpleQueue[Job | None]) -> None:
        """A board's thread: nothing is decided here."""
        while (job := inbox.get()) is not None:
            what: Sequence[Result] | float | BinasError
            try:
                what = seat.board.check() if job is _CHECK else seat.board.layers(job)
                if not isinstance(what, float) and all(isinstance(r, Failure) for r in what):
                    seat.board.check()  # is it the job's fault, or the board's?
            except BinasError as error:
                what = error
            except Exception as error:  # a fault of ours must not leave the fleet waiting
                what = DeviceError(f"{type(error).__name__}: {error}")
            self._events.put((seat, what))

    def _expire(self, answered: Answered) -> None:
        now = time.monotonic()
        for seat in self._seats:
            if (seat.job is not None or seat.is_checking) and seat.until_s <= now:
                self._lose(seat, "it does not answer", answered)

    def _lose(self, seat: _Seat, why: str, answered: Answered) -> None:
        """Set a board aside; its open job goes to the others, or is given up after some losses."""
        job, seat.job, seat.is_checking = seat.job, None, False
        self.set_aside[seat.board.name] = why
        self._say(f"{seat.board.name} is set aside: {why}")
        if job is None:
            return
        self._losses[job] = self._losses.get(job, 0) + 1
        if self._losses[job] >= PATIENCE:
            gone = Failure(kind="run", message=f"{PATIENCE} boards were lost over it, last: {why}")
            answered(job, seat.board.name, [gone] * len(job.steps))
        else:
            self._open.appendleft(job)

    def _withdraw(self, seat: _Seat, withdrawn: Withdrawn) -> None:
        """Take back what a board answered since it was last found honest."""
        for job in seat.since_check:
            withdrawn(job, seat.board.name)
            self._open.append(job)
        seat.since_check.clear()

    def _is_honest(self, asked: _Seat, answered: Answered, withdrawn: Withdrawn) -> bool:
        """Compare all anchors; whose is far from the others' is set aside. It takes three."""
        seats = [s for s in self._seats if s.anchor_ns and s.board.name not in self.set_aside]
        if len(seats) < 3:
            return True
        usual = percentile([seat.anchor_ns or 0.0 for seat in seats], 0.5)
        for seat in seats:
            off = (seat.anchor_ns or usual) / usual - 1
            if abs(off) > MAX_LIE:
                self._lose(seat, f"its anchor differs by {off:+.0%} from the others'", answered)
                self._withdraw(seat, withdrawn)
        return asked.board.name not in self.set_aside


_CHECK = Job(Path(), (), -1)
