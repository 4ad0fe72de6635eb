"""Timing several engines side by side: interleaved, in batches, disturbed batches set apart.

What changes on a shared machine from one second to the next hits all engines alike when they take
turns. A batch during which somebody else had the core, or beside which a fixed piece of work took
longer than on the machine left alone (docs/measuring.md: the yardstick), is kept, but does not
count.
"""

from __future__ import annotations

import random
import resource
import time
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from binas.runtime.measure import FLUKES, MAX_DISTURBANCE

MIN_BATCH_NS = 400_000  # long beside a look at the yardstick, short beside a quiet moment
LOOKS = 64  # at the yardstick, to learn what it takes on this machine left alone
PATIENCE = 2_000  # looks for one quiet moment: some 20 ms
LOST_SHARE = 0.02  # of a batch: time on the wall that is none of our CPU time
MAX_ROUNDS = 4  # times the rounds wanted, before we take what there is
DEPTHS = (1, 4)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some runs in a row.

    Attributes:
        wall_ns: From begin to end.
        cpu_ns: CPU time of the process, all its threads together.
        switches: How often it lost the core against its will.
        runs: Number of runs.
        threads: How many were at work all the time.
    """

    wall_ns: int
    cpu_ns: int
    switches: int
    runs: int
    threads: int = 1

    @property
    def call_ns(self) -> float:
        """Mean time of a run."""
        return self.wall_ns / self.runs

    @property
    def preempted(self) -> bool:
        """Whether somebody else had the core meanwhile."""
        lost_ns = self.wall_ns - self.cpu_ns / self.threads
        return self.switches > 0 or lost_ns > LOST_SHARE * self.wall_ns


class Call(Protocol):
    """Something that can be run again and again."""

    def batch(self, runs: int) -> Batch:
        """Run it so often, in a loop as tight as its engine allows."""


def python_batch(call: Callable[[], object], runs: int) -> Batch:
    """A batch of an engine that is called from Python: a few 100 ns per call are the loop's."""
    switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    cpu, wall = time.process_time_ns(), time.monotonic_ns()
    for _ in range(runs):
        call()
    wall, cpu = time.monotonic_ns() - wall, time.process_time_ns() - cpu
    switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switched
    return Batch(wall, cpu, switched, runs)


@dataclass(slots=True)
class Gauge:
    """Tells a quiet moment from a disturbed one by a fixed piece of work.

    Attributes:
        look: Does that work once; ns.
        quickest: The quickest looks so far, ascending; some may be flukes, so the last one counts.
    """

    look: Callable[[], float]
    quickest: list[float] = field(default_factory=list)

    def learn(self) -> None:
        """See what the work takes now: a clock rate may have changed for good."""
        self.quickest.clear()
        for _ in range(LOOKS):
            self.quiet()

    def quiet(self) -> bool:
        """Whether nothing disturbs us at this moment."""
        ns = self.look()
        insort(self.quickest, ns)
        del self.quickest[FLUKES:]
        return ns <= MAX_DISTURBANCE * self.quickest[-1]

    def wait(self) -> bool:
        """Wait for a quiet moment; False where none came."""
        return any(self.quiet() for _ in range(PATIENCE))


@dataclass(slots=True)
class Series:
    """Everything that was measured of one call.

    Attributes:
        rounds: Per round, the mean times of a run in the batches that count.
        disturbed: The same of all batches that do not.
    """

    rounds: list[list[float]] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)

    @property
    def kept(self) -> tuple[float, ...]:
        """All batches that count."""
        return tuple(ns for one in self.rounds for ns in one)


def interleave(
    calls: Mapping[str, Sequence[Call]],
    gauge: Gauge,
    *,
    rounds: int,
    batches: int = 5,
    seed: int = 0,
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[Series]]:
    """Let engines take turns, in another order every round.

    Where an engine has no batch that counts, a round is made up for by one more of all of them, so
    that all are timed over the same minutes; each engine's rounds that count are its own.

    Args:
        calls: Engine → its calls, one per depth; they follow each other, so that a slope is of one
            moment.
        gauge: Says which batches were disturbed.
        rounds: Rounds wanted in which each call has a batch that counts.
        batches: Batches per round and call.
        seed: Of the orders.
        between: Called before every round.

    Returns:
        Engine → a series per call.
    """
    gauge.learn()
    series = {name: [Series() for _ in own] for name, own in calls.items()}
    runs = {name: [_runs(call) for call in own] for name, own in calls.items()}
    order, rng = list(calls), random.Random(seed)
    for _ in range(MAX_ROUNDS * rounds):
        if all(_complete(own) >= rounds for own in series.values()):
            break
        order = _another(order, rng)
        between()
        for name in order:
            for call, own, count in zip(calls[name], series[name], runs[name], strict=True):
                _round(call, own, gauge, count, batches)
    return series


def slopes(shallow: Series, deep: Series, layers: int = DEPTHS[1] - DEPTHS[0]) -> list[float]:
    """Time of one layer in every round in which both depths have a batch that counts."""
    return [
        (median(more) - median(less)) / layers
        for less, more in zip(shallow.rounds, deep.rounds, strict=True)
        if less and more
    ]


def levels(series: Series) -> list[float]:
    """Time of one call in every round that has a batch that counts."""
    return [median(one) for one in series.rounds if one]


def _another(order: list[str], rng: random.Random) -> list[str]:
    """An order that is not this one, if there are others."""
    found = order
    while found == order and len(order) > 1:
        found = rng.sample(order, len(order))
    return found


def _complete(own: Sequence[Series]) -> int:
    return sum(all(batches) for batches in zip(*(one.rounds for one in own), strict=True))


def _round(call: Call, series: Series, gauge: Gauge, runs: int, batches: int) -> None:
    kept: list[float] = []
    for _ in range(batches):
        quiet = gauge.wait()
        call.batch(1)  # brings its code and data back into the caches
        batch = call.batch(runs)
        quiet = gauge.quiet() and quiet and not batch.preempted
        (kept if quiet else series.disturbed).append(batch.call_ns)
    series.rounds.append(kept)


def _runs(call: Call) -> int:
    runs = 1
    call.batch(1)
    while (batch := call.batch(runs)).wall_ns < MIN_BATCH_NS:
        # A batch that was preempted looks long: trust no single one beyond a doubling.
        runs = min(2 * runs, int(runs * MIN_BATCH_NS / max(1, batch.wall_ns)) + 1)
    return runs
