"""What a search is asked for, and what it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from binas.core.errors import UsageError
from binas.search.cost import Form
from binas.search.genotype import Genotype


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsSettings:
    """How to search.

    Attributes:
        epochs: Passes over the weight half of the training images.
        warmup_epochs: First epochs, in which the architecture stays uniform.
        batch: Images per step.
        weight_rate: Peak of the weights' learning rate (Adam, cosine).
        architecture_rate: The architecture's learning rate (Adam).
        first_temperature: Of the Gumbel-softmax, falling exponentially after the warm-up ...
        last_temperature: ... to this.
        entropy: Weight of the entropy term at the end, rising linearly from 0.
        form: Of the cost term.
        strength: λ of the cost term at the end, rising with the root of the progress.
        samples: Networks evaluated at the end.
    """

    epochs: int = 20
    warmup_epochs: int = 5
    batch: int = 64
    weight_rate: float = 5e-3
    architecture_rate: float = 3e-2
    first_temperature: float = 3.0
    last_temperature: float = 0.5
    entropy: float = 0.02
    form: Form = "hinge"
    strength: float = 1.0
    samples: int = 8

    def __post_init__(self) -> None:
        """Refuse settings that cannot search."""
        if not 0 <= self.warmup_epochs < self.epochs:
            raise UsageError(
                f"warmup_epochs is {self.warmup_epochs}, expected 0 to {self.epochs - 1}",
                hint="search for more epochs or warm up for fewer",
            )
        rates = (self.weight_rate, self.architecture_rate)
        if min(self.batch, self.samples) < 1 or not all(0 < rate < math.inf for rate in rates):
            raise UsageError(
                "batch, samples and rates must be above 0", hint="see binas-search run --help"
            )
        if not all(0 <= weight < math.inf for weight in (self.entropy, self.strength)):
            raise UsageError(
                "entropy and strength must be 0 or more", hint="see binas-search run --help"
            )
        if not 0 < self.last_temperature <= self.first_temperature < math.inf:
            raise UsageError(
                f"temperatures fall from {self.first_temperature} to {self.last_temperature}, "
                "expected a fall to a value above 0",
                hint="see binas-search run --help",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A sampled network, with the shared weights.

    Attributes:
        genotype: What was sampled.
        accuracy: On the architecture half of the training images, batch norm recalibrated.
        predicted_ns: By the table; None without one.
    """

    genotype: Genotype
    accuracy: float
    predicted_ns: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search gave.

    Attributes:
        genotype: The most accurate candidate.
        seed: Of everything that was drawn.
        budget_ns: What was asked for; None without a latency term.
        predicted_ns: Of the genotype, by the table; None without one.
        expected_ns: Of the final distribution; None without a table.
        candidates: All that were evaluated, best first.
        seconds: Of training the supernet.
    """

    SCHEMA: ClassVar[str] = "binas.found/1"

    genotype: Genotype
    seed: int
    budget_ns: float | None
    predicted_ns: float | None
    expected_ns: float | None
    candidates: tuple[Candidate, ...]
    seconds: float
