"""Strategies side by side: what each search gave, trained and measured alike, over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import ClassVar, Literal

from binas.search.cells import CellGenotype
from binas.search.genotype import WEIGHT_FREE, AnyGenotype


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One search and what became of its network.

    Attributes:
        strategy: Its name.
        seed: Of the search and of the training.
        genotype: What was found.
        accuracy: Held out, after training from scratch.
        validation: Of the search itself, with shared weights.
        latency_us: Measured on the device; None without one.
        predicted_us: By the table; None without one.
        biops: Operations on bits per image, two per multiply-accumulate.
        flops: Operations on floats in convolutions and dense layers.
        parameters: Trained numbers, real ones and binary ones alike.
        binary_weights: Of them, one bit each when deployed.
        search_s: Of training the supernet.
        weight_free: Share of edges whose operation has no weights.
    """

    strategy: str
    seed: int
    genotype: AnyGenotype
    accuracy: float
    validation: float
    latency_us: float | None
    predicted_us: float | None
    biops: int
    flops: int
    parameters: int
    binary_weights: int
    search_s: float
    weight_free: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A search that gave no trained network, which is a result, too.

    Attributes:
        strategy: Its name.
        seed: Of the search and of the training.
        stage: What could not go on.
        reason: Why.
    """

    strategy: str
    seed: int
    stage: Literal["search", "retrain"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that one `binas-search compare` gave.

    Attributes:
        data: Name of the data set.
        data_digest: Of its arrays.
        device: What latency was measured on; None where nothing was.
        budget_us: Latency asked of every search; None without.
        images: Training images that every search saw, in forward and backward passes.
        entries: In the order asked for, seeds inside strategies.
        versions: Of the programs.
        failures: What has no entry, in the same order.
    """

    SCHEMA: ClassVar[str] = "binas.comparison/1"

    data: str
    data_digest: str
    device: str | None
    budget_us: float | None
    images: int
    entries: tuple[Entry, ...]
    versions: dict[str, str]
    failures: tuple[Failed, ...] = ()

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names in the order asked for, of those that have entries."""
        return tuple(dict.fromkeys(entry.strategy for entry in self.entries))

    def of(self, strategy: str) -> tuple[Entry, ...]:
        """A strategy's entries."""
        return tuple(entry for entry in self.entries if entry.strategy == strategy)

    def failed(self, strategy: str) -> tuple[Failed, ...]:
        """A strategy's failures."""
        return tuple(failed for failed in self.failures if failed.strategy == strategy)


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; of a single value none is known."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def weight_free(genotype: AnyGenotype) -> float:
    """Share of a network's edges, in both types of cell, that carry no weights.

    Cells of a BARS space count as often as they stand in the network; those of other spaces, which
    are repeated, once.
    """
    if isinstance(genotype, CellGenotype):
        nodes = [*genotype.normal, *genotype.reduction]
        ops: list[str] = [op for node in nodes for op, _ in node]
    else:
        cells = [*(cell for stage in genotype.normal for cell in stage), *genotype.reduction]
        ops = [op for cell in cells for op in cell]
    return sum(op in WEIGHT_FREE for op in ops) / len(ops)
