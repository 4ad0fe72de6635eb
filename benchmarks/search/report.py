"""What the benchmark of searches writes, and how its intervals are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev, variance
from typing import ClassVar

from scipy.stats import t

LEVEL = 0.95
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A row's mean less another row's.

    Attributes:
        than: The other row.
        mean: In accuracy, 0 to 1.
        interval95: Welch's t interval over networks, every network being the mean of the same
            training seeds; None where neither row has two networks.
    """

    than: str
    mean: float
    interval95: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One strategy or reference.

    Attributes:
        strategy: Its name.
        seeds: Of the searches that gave a network; of draws for random ones.
        accuracy_mean: Held out; over networks, each the mean of the training seeds.
        accuracy_std: Over networks; 0 for a single one.
        interval95: Student's t interval of the mean; None for a single network.
        accuracies: Per network.
        macs: Mean multiply-accumulates per image.
        latency_us: Median measured time of an inference, mean over the networks measured; None
            where none was.
        search_s: Mean processor seconds of a search, one thread; 0 where nothing is searched.
        changes: Per network, how many changes brought it into the band.
        weight_free: Mean share of edge operations without weights; None outside the space.
        failures: Searches that ended without a network, and why.
        differences: From the references.
    """

    strategy: str
    seeds: tuple[int, ...]
    accuracy_mean: float
    accuracy_std: float
    interval95: Interval | None
    accuracies: tuple[float, ...]
    macs: float
    latency_us: float | None
    search_s: float
    changes: tuple[int, ...]
    weight_free: float | None
    failures: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of the benchmark.

    Attributes:
        commit: Whose settings and seeds were run; "+" behind it: the tree had changes.
        unit_commits: That searches and trainings were done with: more than one where a run went on
            after the sources had changed.
        reduced: What was left out of the plan; empty where nothing was.
        data_digest: Of the images.
        best_of: k, networks that best-of-k chose from.
        plan: The numbers of plan.py.
        versions: Of the programs.
        cpu: Of the machine.
        rows: References first.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-search/1"

    commit: str
    unit_commits: tuple[str, ...]
    reduced: str
    data_digest: str
    best_of: int
    plan: dict[str, str]
    versions: dict[str, str]
    cpu: str
    rows: tuple[Row, ...]


def interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean; None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return fmean(values) - half, fmean(values) + half


def difference(than: str, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Welch's interval; one network alone has no variance and is taken as it is."""
    mean = fmean(ours) - fmean(theirs)
    terms = [(variance(v) / len(v), len(v) - 1) for v in (ours, theirs) if len(v) > 1]
    total = sum(term for term, _ in terms)
    if not total:
        return Difference(than=than, mean=mean, interval95=None)
    freedom = total**2 / sum(term**2 / df for term, df in terms)
    half = float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(total)
    return Difference(than=than, mean=mean, interval95=(mean - half, mean + half))


def with_differences(rows: Sequence[Row], references: Sequence[str]) -> tuple[Row, ...]:
    """Every row with its differences from the references, itself left out."""
    named: Mapping[str, Row] = {row.strategy: row for row in rows}
    return tuple(
        replace(
            row,
            differences=tuple(
                difference(name, row.accuracies, named[name].accuracies)
                for name in references
                if name in named and name != row.strategy
            ),
        )
        for row in rows
    )
