"""Fit: how well the sum of a table's layers predicts whole networks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from binas.core.errors import UsageError

BUILD_AGAIN = "build the table again: binas-table build"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A whole network: what the table says, and what was measured."""

    name: str
    predicted_ns: float
    measured_ns: float

    def __post_init__(self) -> None:
        """Refuse a time that nothing takes, as a damaged file may hold.

        Raises:
            UsageError: That.
        """
        if not (self.measured_ns > 0 and math.isfinite(self.relative_error)):
            raise UsageError(
                f"network {self.name} took {self.measured_ns} ns and should take "
                f"{self.predicted_ns}, expected times that can be compared",
                hint=BUILD_AGAIN,
            )

    @property
    def relative_error(self) -> float:
        """Positive where the table says too much."""
        return self.predicted_ns / self.measured_ns - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well the sum of a table's layers predicts whole networks.

    Attributes:
        spearman: Rank correlation of predicted and measured.
        median_abs_relative_error: Share, not percent.
        worst: Largest absolute relative error.
        pairs: The networks themselves, each predicted with the cost of a step that the others gave.
    """

    spearman: float
    median_abs_relative_error: float
    worst: float
    pairs: tuple[Pair, ...]

    def __post_init__(self) -> None:
        """Refuse a fit over nothing, or of errors that have no mean.

        Raises:
            UsageError: That.
        """
        if not self.pairs or not math.isfinite(self.mean_abs_relative_error):
            raise UsageError(
                f"a fit over {len(self.pairs)} networks has no mean error, expected one or more "
                "networks whose times can be compared",
                hint=BUILD_AGAIN,
            )

    @property
    def nets(self) -> int:
        """How many networks."""
        return len(self.pairs)

    @property
    def mean_abs_relative_error(self) -> float:
        """Share, not percent."""
        return sum(abs(pair.relative_error) for pair in self.pairs) / len(self.pairs)


def fit_of(pairs: Iterable[Pair]) -> Fit:
    """How well predictions match.

    Raises:
        UsageError: Fewer than two networks.
    """
    pairs = tuple(pairs)
    if len(pairs) < 2:
        raise UsageError(f"a fit over {len(pairs)} networks says nothing, expected 2 or more")
    errors = sorted(abs(pair.relative_error) for pair in pairs)
    middle = len(errors) // 2
    median = errors[middle] if len(errors) % 2 else (errors[middle - 1] + errors[middle]) / 2
    return Fit(
        spearman=_spearman(
            [pair.predicted_ns for pair in pairs], [pair.measured_ns for pair in pairs]
        ),
        median_abs_relative_error=median,
        worst=errors[-1],
        pairs=pairs,
    )


def _spearman(first: list[float], second: list[float]) -> float:
    """Pearson's correlation of the ranks; equal values share their mean rank."""
    x, y = _ranks(first), _ranks(second)
    mean = (len(x) - 1) / 2
    covariance = sum((a - mean) * (b - mean) for a, b in zip(x, y, strict=True))
    spread = (sum((a - mean) ** 2 for a in x) * sum((b - mean) ** 2 for b in y)) ** 0.5
    return covariance / spread if spread else 0.0


def _ranks(values: list[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]
