"""Measurement and Failure: what came of timing something, with every reason to doubt it.

The clock and the batches are the harness's (`runtime/native/`); this file says how to measure, and
judges what came back. Nanoseconds throughout. Doubts are data: they stay with the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from binas.core.errors import UsageError

MIN_REPEATS = 2  # one sample can be neither trusted nor doubted
MAX_REPEATS = 100_000
PREEMPTED_SHARE = 0.5  # more batches than this preempted: the machine is not ours
FLUKES = 5  # so many yardsticks may be quicker than a machine left alone
MAX_DISTURBANCE = 1.04  # a batch beside a slower yardstick was disturbed; sampling.c: TOLERANCE

FailureKind = Literal["timeout", "compile", "link", "run", "wrong", "unstable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure.

    Attributes:
        repeats: Undisturbed samples wanted; each is the mean over one batch of runs.
        warmup: Batches thrown away first, while caches and clock rate settle.
        min_batch_ns: A batch lasts at least this: a thousand times the clock's grain, and short
            enough to fit between two disturbances.
        max_ns: No further batch is begun after this; per network, or per layer.
        max_spread: Relative spread or drift above which a result is doubted.
        waits: Batches wait for quiet moments. False: samples are taken as they come, on one core,
            so that the device is busy all the time.
    """

    repeats: int = 20
    warmup: int = 3
    min_batch_ns: int = 200_000
    max_ns: int = 60_000_000_000
    max_spread: float = 0.05
    waits: bool = True

    @staticmethod
    def lasting(duration_ns: int) -> Plan:
        """A plan that keeps the device busy for so long, a sample per tenth of a second."""
        batch_ns = min(100_000_000, max(1, duration_ns // 20))
        return Plan(
            repeats=min(MAX_REPEATS, max(MIN_REPEATS, duration_ns // batch_ns)),
            warmup=0,
            min_batch_ns=batch_ns,
            max_ns=max(batch_ns, duration_ns),
            waits=False,
        )

    def __post_init__(self) -> None:
        """Refuse a plan whose result could be neither trusted nor doubted."""
        if not MIN_REPEATS <= self.repeats <= MAX_REPEATS:
            raise UsageError(f"repeats is {self.repeats}, expected {MIN_REPEATS} to {MAX_REPEATS}")
        if self.warmup < 0:
            raise UsageError(f"warmup is {self.warmup}, expected 0 or more")
        if not 0 < self.min_batch_ns <= self.max_ns:
            raise UsageError(
                f"a batch of {self.min_batch_ns} ns does not fit a limit of {self.max_ns} ns"
            )
        if not 0 < self.max_spread < 1:
            raise UsageError(f"max_spread is {self.max_spread}, expected a share between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was the case around a measurement; None where the machine does not say.

    Attributes:
        threads: Threads of the network.
        core: Core it was pinned to.
        cores: Cores of the machine.
        governor: Frequency governors in use, joined with commas.
        temperature_before_c: Of the CPU.
        temperature_after_c: Of the CPU.
        load: Mean number of runnable programs in the minute before.
        throttled: What the board's firmware reported afterwards, in words.
    """

    threads: int = 1
    core: int | None = None
    cores: int | None = None
    governor: str | None = None
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    load: float | None = None
    throttled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Latency of one thing on one device, raw samples included.

    Attributes:
        samples_ns: Mean time of one run per batch, in the order taken.
        runs_per_batch: Runs that a sample is the mean of.
        preemptions: Involuntary context switches during each batch.
        doubts: What speaks against the numbers; empty: nothing.
        facts: What was the case meanwhile.
        yardsticks_ns: Time of a fixed piece of work beside each batch, the slower of the one before
            and the one after; empty where the harness has no yardstick.
        quiet_ns: The same work on the device left alone: as known beforehand, or at its quickest,
            a few flukes left out; None where there is no yardstick.
    """

    SCHEMA: ClassVar[str] = "binas.measurement/1"

    samples_ns: tuple[float, ...]
    runs_per_batch: int
    preemptions: tuple[int, ...]
    doubts: tuple[str, ...] = ()
    facts: Facts = Facts()
    yardsticks_ns: tuple[float, ...] = ()
    quiet_ns: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no harness can have measured.

        Raises:
            UsageError: No samples, a time that is not positive, or preemptions that do not match.
        """
        if not self.samples_ns or len(self.samples_ns) != len(self.preemptions):
            raise UsageError(
                f"a measurement of {len(self.samples_ns)} samples and "
                f"{len(self.preemptions)} preemption counts, expected as many, and at least one"
            )
        if not all(0 < sample < float("inf") for sample in self.samples_ns):
            raise UsageError("a measurement holds a time that is not positive and finite")
        if self.yardsticks_ns and len(self.yardsticks_ns) != len(self.samples_ns):
            raise UsageError(
                f"{len(self.yardsticks_ns)} yardsticks beside {len(self.samples_ns)} samples"
            )

    @property
    def undisturbed_ns(self) -> tuple[float, ...]:
        """The samples of batches that nothing disturbed; perhaps none.

        A batch is disturbed where the program was preempted, or where the yardstick beside it says
        that something else slowed the machine down.
        """
        return self._beside(self.quiet_ns or self.quickest_ns)

    @property
    def kept_ns(self) -> tuple[float, ...]:
        """The samples that count: undisturbed ones, else the least disturbed, else all."""
        return self.undisturbed_ns or self._beside(self.quickest_ns) or self.samples_ns

    @property
    def quickest_ns(self) -> float:
        """The yardstick at its quickest during these samples, a few flukes left out."""
        return sorted(self.yardsticks_ns)[:FLUKES][-1] if self.yardsticks_ns else float("inf")

    def _beside(self, yardstick_ns: float) -> tuple[float, ...]:
        """The samples taken without preemption beside yardsticks about as quick as that."""
        yardsticks = self.yardsticks_ns or (0.0,) * len(self.samples_ns)
        seen = zip(self.samples_ns, self.preemptions, yardsticks, strict=True)
        return tuple(ns for ns, n, y in seen if not n and y <= MAX_DISTURBANCE * yardstick_ns)

    @property
    def median_ns(self) -> float:
        """The number to quote: one late scheduler tick does not move it."""
        return percentile(self.kept_ns, 0.5)

    @property
    def p10_ns(self) -> float:
        """A tenth of the kept samples lie below."""
        return percentile(self.kept_ns, 0.1)

    @property
    def p90_ns(self) -> float:
        """A tenth of the kept samples lie above."""
        return percentile(self.kept_ns, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no measurement.

    Attributes:
        kind: At which door it failed; "wrong" is a wrong answer, "unstable" too wide a spread.
        message: What was found and what was expected.
    """

    SCHEMA: ClassVar[str] = "binas.failure/1"

    kind: FailureKind
    message: str


Result = Measurement | Failure


def measured(
    samples_ns: Sequence[float],
    preemptions: Sequence[int],
    runs_per_batch: int,
    *,
    plan: Plan,
    facts: Facts,
    doubts: Sequence[str] = (),
    yardsticks_ns: Sequence[float] = (),
    quiet_ns: float | None = None,
) -> Measurement:
    """A measurement with the doubts that its own numbers and its facts raise.

    Args:
        samples_ns: Mean time of one run per batch, in the order taken.
        preemptions: Involuntary context switches during each batch.
        runs_per_batch: Runs that a sample is the mean of.
        plan: What was asked for.
        facts: What was the case meanwhile.
        doubts: Doubts known beforehand; they come first.
        yardsticks_ns: Time of the yardstick beside each batch, where there is one.
        quiet_ns: The same on the device left alone, if known; None: what these saw must do.

    Raises:
        UsageError: The samples cannot have been measured.
    """
    raw = Measurement(
        samples_ns=tuple(float(ns) for ns in samples_ns),
        preemptions=tuple(preemptions),
        runs_per_batch=runs_per_batch,
        facts=facts,
        yardsticks_ns=tuple(float(ns) for ns in yardsticks_ns),
    )
    if raw.yardsticks_ns:
        raw = replace(raw, quiet_ns=float(quiet_ns or raw.quickest_ns))
    return replace(raw, doubts=(*doubts, *_sample_doubts(raw, plan), *_fact_doubts(raw)))


def quiet_ns_of(results: Iterable[Result]) -> float | None:
    """The yardstick of a device left alone, as many measurements saw it; None where none has one.

    The tenth percentile of theirs: the quickest of hundreds would be a fluke.
    """
    seen = [r.quiet_ns for r in results if isinstance(r, Measurement) and r.quiet_ns is not None]
    return percentile(seen, 0.1) if seen else None


def percentile(samples: Sequence[float], share: float) -> float:
    """The value below which `share` of the samples lie, interpolated linearly.

    Example:
        >>> percentile([3.0, 1.0, 2.0], 0.5)
        2.0
    """
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _sample_doubts(raw: Measurement, plan: Plan) -> list[str]:
    doubts = []
    kept, median, taken = raw.kept_ns, raw.median_ns, len(raw.samples_ns)
    undisturbed = len(raw.undisturbed_ns)
    if taken < plan.repeats:
        doubts.append(f"{taken} of {plan.repeats} batches fitted the time limit")
    preempted = sum(1 for count in raw.preemptions if count)
    if preempted > PREEMPTED_SHARE * taken:
        doubts.append(f"{preempted} of {taken} batches were preempted")
    elif undisturbed < min(taken, plan.repeats / 2):
        doubts.append(f"only {undisturbed} of {taken} batches were undisturbed")
    spread = (raw.p90_ns - raw.p10_ns) / median
    if spread > plan.max_spread:
        doubts.append(f"spread (p90 - p10) is {spread:.0%} of the median")
    third = max(1, len(kept) // 3)
    drift = (percentile(kept[-third:], 0.5) - percentile(kept[:third], 0.5)) / median
    if len(kept) >= 2 * MIN_REPEATS and abs(drift) > plan.max_spread:
        doubts.append(f"drift from the first to the last third is {drift:+.0%}")
    if median * raw.runs_per_batch < plan.min_batch_ns / 2:
        doubts.append(
            f"a batch took {median * raw.runs_per_batch / 1e6:.2f} ms, "
            f"expected {plan.min_batch_ns / 1e6:g} ms"
        )
    return doubts


def _fact_doubts(raw: Measurement) -> list[str]:
    doubts, facts = [], raw.facts
    if facts.governor is not None and facts.governor != "performance":
        doubts.append(f"frequency governor is {facts.governor}, not performance")
    # Our own preparation leaves some load behind; a whole busy core more than we use does harm.
    # Where there is a yardstick, it says itself whether it did.
    busy = facts.load is not None and facts.cores and facts.load > facts.cores - facts.threads + 0.5
    if busy and not raw.yardsticks_ns:
        doubts.append(f"load was {facts.load:g} on {facts.cores} cores")
    doubts += [f"the board reports: {words}" for words in facts.throttled]
    return doubts
