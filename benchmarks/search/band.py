"""Networks inside the band of cost: drawn at random, or brought there from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch

from benchmarks.search.plan import BAND, SPACE, in_band
from binas.core.errors import SearchError
from binas.search.genotype import CellOps, Genotype
from binas.search.menu import cell_choices
from binas.search.strategy.derive import uniform

T = TypeVar("T")
Cost = Callable[[Genotype], float]
MOST_CHANGES = 12  # far more than any network of the space is away from the band


def random_nets(count: int, seed: int, cost: Cost) -> tuple[Genotype, ...]:
    """Different networks of the band: every choice alike, those outside thrown away."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[Genotype, None] = {}
    while len(found) < count:
        genotype = uniform(SPACE, generator)
        if in_band(cost(genotype)):
            found[genotype] = None
    return tuple(found)


def projected(genotype: Genotype, cost: Cost) -> tuple[Genotype, int]:
    """The network itself if it lies in the band, or one nearby that does; and how many changes.

    Each change takes the neighbour (one width, one cell, one cell more or fewer) whose cost is
    nearest to the band; of equal ones the first, so the result is always the same.

    Raises:
        SearchError: The band is not reached.
    """
    for changes in range(MOST_CHANGES):
        if in_band(cost(genotype)):
            return genotype, changes
        genotype = min(neighbours(genotype), key=lambda g: distance(cost(g)))
    raise SearchError(f"no network of the band is within {MOST_CHANGES} changes")


def distance(macs: float) -> float:
    """To the band; 0 inside."""
    return max(BAND[0] - macs, macs - BAND[1], 0.0)


def neighbours(genotype: Genotype) -> Iterator[Genotype]:
    """Every network that differs in one place."""
    space = genotype.space
    normals = cell_choices(space, space.normal_ops)
    for stage, width in enumerate(genotype.widths):
        for other in (width - 1, width + 1):
            if 0 <= other < len(space.widths):
                yield replace(genotype, widths=_with(genotype.widths, stage, other))
    for stage, cells in enumerate(genotype.normal):
        for place, cell in enumerate(cells):
            for ops in normals:
                if _changes(cell, ops) == 1:
                    yield _with_cells(genotype, stage, _with(cells, place, ops))
        if len(cells) > max(1, space.min_cells):
            yield _with_cells(genotype, stage, cells[:-1])
        if len(cells) < space.max_cells:
            yield _with_cells(genotype, stage, (*cells, cells[-1]))
    for stage, cell in enumerate(genotype.reduction):
        for ops in cell_choices(space, space.reduction_ops):
            if _changes(cell, ops) == 1:
                yield replace(genotype, reduction=_with(genotype.reduction, stage, ops))


def _with_cells(genotype: Genotype, stage: int, cells: tuple[CellOps, ...]) -> Genotype:
    return replace(genotype, normal=_with(genotype.normal, stage, cells))


def _with(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _changes(one: CellOps, other: CellOps) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))
