"""A bound on a figure of some works, and whether it holds: judged on the median over runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import mean, median
from typing import Any, Literal

from benchmarks.ceiling import CEILINGS_OF
from benchmarks.schema import AnyReport, Report, Row
from benchmarks.works import RAGGED

Figure = Callable[[Report, str], float | None]
Over = Literal["each", "mean", "geometric mean"]

RUNS = 5  # that a verdict on a time rests on


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound on a figure of some works.

    Attributes:
        title: What is bounded.
        works: Names.
        figure: Of a work in one run; None where the run lacks it.
        low: It must not be below; None: no such bound.
        high: It must not be above; None: no such bound.
        over: How the works are summed up; "each" takes the worst.
        unit: Behind the number.
        of: The kind of report that `figure` reads.
        runs: That a verdict rests on; 1 where no run differs from another.
    """

    title: str
    works: tuple[str, ...]
    figure: Callable[[Any, str], float | None]
    low: float | None = None
    high: float | None = None
    over: Over = "each"
    unit: str = ""
    of: type[AnyReport] = Report
    runs: int = RUNS

    @property
    def bound(self) -> str:
        """In words."""
        sign, value = ("≥", self.low) if self.low is not None else ("≤", self.high)
        return f"{self.over} {sign} {value:g}{self.unit}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of a target.

    Attributes:
        target: The target.
        found: The worst work's figure or the mean; None where a work is missing.
        worst: The worst work where each counts; empty otherwise.
        missing: Works that no run has.
        runs: The fewest runs behind a figure.
    """

    target: Target
    found: float | None
    worst: str
    missing: tuple[str, ...]
    runs: int

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; None where it cannot be said."""
        if self.found is None:
            return None
        low, high = self.target.low, self.target.high
        return (low is None or self.found >= low) and (high is None or self.found <= high)

    @property
    def verdict(self) -> str:
        """In words; with fewer runs than a verdict needs, of how many."""
        if self.met is None:
            return "not measured"
        words, wanted = "met" if self.met else "not met", self.target.runs
        return words if self.runs >= wanted else f"{words}, {self.runs} of {wanted} runs"

    @property
    def measured(self) -> str:
        """The figure with its unit, a digit more than bounds have; empty where there is none."""
        return "" if self.found is None else f"{self.found:.4g}{self.target.unit}"

    def __str__(self) -> str:
        """A line for the terminal."""
        worst = f" ({self.worst})" if self.worst and len(self.target.works) > 1 else ""
        found = f"{self.measured}{worst}, " if self.measured else ""
        return f"{self.target.title}: {found}{self.target.bound}: {self.verdict}"


def judge(target: Target, reports: Sequence[AnyReport]) -> Judgement:
    """Hold a target to what was measured, in reports of its kind."""
    per_work: dict[str, float] = {}
    own = [report for report in reports if isinstance(report, target.of)]
    runs = len(own)
    for work in target.works:
        figures = [f for report in own if (f := target.figure(report, work)) is not None]
        if figures:
            per_work[work] = median(figures)
            runs = min(runs, len(figures))
    missing = tuple(work for work in target.works if work not in per_work)
    if missing:
        return Judgement(target, None, "", missing, 0)
    if target.over == "each":
        pick = min if target.low is not None else max
        worst = pick(per_work, key=lambda work: per_work[work])
        return Judgement(target, per_work[worst], worst, (), runs)
    values = per_work.values()
    found = mean(values) if target.over == "mean" else exp(mean(log(v) for v in values))
    return Judgement(target, found, "", (), runs)


def speedup(peer: str, peer_work: str = "") -> Figure:
    """The peer's time over ours; in the same run."""

    def figure(report: Report, work: str) -> float | None:
        ours, theirs = report.find(work, "binas"), report.find(peer_work or work, peer)
        if not ours or not theirs or not ours.median_ns or not theirs.median_ns:
            return None
        return theirs.median_ns / ours.median_ns

    return figure


def inverse(figure: Figure) -> Figure:
    """Our time over the peer's."""

    def turned(report: Report, work: str) -> float | None:
        found = figure(report, work)
        return 1 / found if found else None

    return turned


def share(engine: str = "binas", ceilings: Sequence[Sequence[str]] = ()) -> Figure:
    """Executed rate over the register peak measured in turns with it.

    Args:
        engine: Whose rate.
        ceilings: Loops; of the first row of which there is any, the quickest.
    """

    def figure(report: Report, work: str) -> float | None:
        row = report.find(work, engine)
        rows = ceilings or CEILINGS_OF[engine]
        there = ([name for name in names if row and name in row.peaks] for names in rows)
        best = (max(names, key=row.peaks.__getitem__) for names in there if row and names)
        return _of_peak(row, next(best, ""))

    return figure


def per_cycle(engine: str) -> Figure:
    """Executed multiply-adds per clock cycle."""

    def figure(report: Report, work: str) -> float | None:
        return _of_peak(report.find(work, engine), "clock")

    return figure


def _of_peak(row: Row | None, name: str) -> float | None:
    if not row or not row.gmacs_per_s or name not in row.peaks:
        return None
    return row.gmacs_per_s / row.peaks[name]


def raggedness(report: Report, work: str) -> float | None:
    """Our time over that of the same layer with whole words of channels."""
    by_name = {f"other_shapes/3x3_{C}x28": f"other_shapes/3x3_{D}x28" for C, D in RAGGED.items()}
    ragged, whole = report.find(work, "binas"), report.find(by_name[work], "binas")
    if not ragged or not whole or not ragged.median_ns or not whole.median_ns:
        return None
    return ragged.median_ns / whole.median_ns
