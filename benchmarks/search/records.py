"""What the benchmark of searches keeps: units of work and their results, as records.

A unit holds everything that decides its result but the sources, and is named by its digest; those
change with every commit, so a result keeps the commit that it was made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from binas.search.genotype import AnyGenotype, AnySpace


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchUnit:
    """One search."""

    SCHEMA: ClassVar[str] = "binas.benchmark-search-unit/1"

    strategy: str
    settings: dict[str, Any]
    data: str
    budget_macs: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FullSearchUnit:
    """One search of any space, without a budget.

    Attributes:
        strategy: Its name.
        settings: Of the search.
        space: Where it searches.
        data: The data set.
        images: The first of the training images.
        seed: Of the search.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-full-search-unit/1"

    strategy: str
    settings: dict[str, Any]
    space: AnySpace
    data: str
    images: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What came of a search.

    Attributes:
        genotype: The network found; None where the search failed.
        failure: Why; empty otherwise.
        cpu_s: Processor time, one thread.
        commit: Of the sources.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-searched/1"

    genotype: AnyGenotype | None
    failure: str
    cpu_s: float
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainUnit:
    """One training.

    Attributes:
        genotype: Of any space; None: the ResNet of `channels`.
        channels: Of the ResNet's first stage; 0 otherwise.
        images: The first of the training images.
        seed: Of weights and order.
        settings: Of the training.
        data: The data set.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-train-unit/1"

    genotype: AnyGenotype | None
    channels: int
    images: int
    seed: int
    settings: dict[str, Any]
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it.

    Attributes:
        validation: Accuracy on the validation split.
        accuracy: On the held-out images.
        cpu_s: Processor time, one thread.
        commit: Of the sources.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-trained/1"

    validation: float
    accuracy: float
    cpu_s: float
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeUnit:
    """One network measured on this machine."""

    SCHEMA: ClassVar[str] = "binas.benchmark-time-unit/1"

    genotype: AnyGenotype | None
    channels: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Median time of an inference."""

    SCHEMA: ClassVar[str] = "binas.benchmark-timed/1"

    latency_us: float


Unit = SearchUnit | FullSearchUnit | TrainUnit
Result = Searched | Trained
