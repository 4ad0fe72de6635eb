"""Candidates measured on a device while a search evaluates them."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from binas.runtime.measure import Result
from binas.search.genotype import AnyGenotype
from binas.search.strategy.settings import Candidate


class Timer(Protocol):
    """Measures networks in the background; a `DeviceQueue`."""

    def submit(self, genotype: AnyGenotype) -> Future[Result]:
        """Queue a network."""


def within(found: list[Candidate], budget_ns: float | None) -> list[Candidate]:
    """Candidates without those that were measured above the budget, as long as some are left."""
    if budget_ns is None:
        return found
    kept = [one for one in found if one.measured_ns is None or one.measured_ns <= budget_ns]
    return kept or found
