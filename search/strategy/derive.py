"""From the final distribution of a search to networks worth evaluating."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from binas.core.errors import SearchError
from binas.search.cost import Lut
from binas.search.genotype import CellOps, Genotype
from binas.search.menu import cell_choices
from binas.search.networks.bars_supernet import Choice
from binas.search.space import OpName, Space

# A band below the budget, widened downwards only while nothing lies within it.
BANDS = (0.92, 0.85, 0.75, 0.5, 0.0)
FLATTENINGS = (1.0, 2.0, 4.0)  # temperatures: a sharp distribution may have no mass in the band
DRAWS = 192  # per band and flattening


def candidates(
    space: Space,
    p: Choice,
    count: int,
    generator: torch.Generator,
    *,
    lut: Lut | None = None,
    budget_ns: float | None = None,
) -> tuple[Genotype, ...]:
    """Different networks to evaluate: samples in the band, or samples and the most probable one.

    Args:
        space: Where they come from.
        p: Final probabilities.
        count: How many samples to return, at most; the most probable network comes in addition.
        generator: Of the draws.
        lut: Prices; needed with a budget.
        budget_ns: Predicted latency must lie in [0.92, 1] of it; in a wider band if none does.

    Raises:
        SearchError: Every network drawn is above the budget.
    """
    if lut is None or budget_ns is None:
        return _unconstrained(space, p, count, generator)
    pool: dict[Genotype, float] = {}
    for flattening in FLATTENINGS:
        flat = p.with_tensors([_flatten(v, flattening) for v in p.tensors()])
        for _ in range(DRAWS):
            genotype = draw(space, flat, generator)
            if genotype not in pool:
                pool[genotype] = lut.predict_ns(genotype)
        low = BANDS[0] * budget_ns
        if sum(low <= ns <= budget_ns for ns in pool.values()) >= count:
            break
    for band in BANDS:
        fits = [g for g, ns in pool.items() if band * budget_ns <= ns <= budget_ns]
        if fits:
            return tuple(fits[:count])
    raise SearchError(
        f"of {len(pool)} networks drawn none is within {budget_ns / 1e3:.1f} us; "
        f"the fastest takes {min(pool.values()) / 1e3:.1f} us",
        hint="raise --budget, or add narrower widths to the space",
    )


def most_probable(space: Space, p: Choice) -> Genotype:
    """The network of highest probability, each choice for itself, cells as wholes."""
    return _pick(space, p, lambda weights: int(weights.argmax()))


def draw(space: Space, p: Choice, generator: torch.Generator) -> Genotype:
    """One sample; cells with a node without input are never drawn."""
    return _pick(space, p, lambda weights: int(torch.multinomial(weights, 1, generator=generator)))


def uniform(space: Space, generator: torch.Generator) -> Genotype:
    """One network of the space, every choice alike."""
    flat = [torch.ones(len(space.depths)), torch.ones(len(space.widths))]
    cells = [
        torch.ones(len(space.edges), len(ops)) for ops in (space.normal_ops, space.reduction_ops)
    ]
    p = Choice(
        (flat[0],) * space.stages,
        (flat[1],) * space.stages,
        ((cells[0],) * space.max_cells,) * space.stages,
        (cells[1],) * (space.stages - 1),
    )
    return draw(space, p, generator)


def _unconstrained(
    space: Space, p: Choice, count: int, generator: torch.Generator
) -> tuple[Genotype, ...]:
    pool = dict.fromkeys([most_probable(space, p)])
    for _ in range(DRAWS):
        if len(pool) > count:
            break
        pool[draw(space, p, generator)] = None
    return tuple(pool)


def _pick(space: Space, p: Choice, choose: Callable[[Tensor], int]) -> Genotype:
    normals = cell_choices(space, space.normal_ops)
    reductions = cell_choices(space, space.reduction_ops)

    def cell(weights: Tensor, choices: Sequence[CellOps], ops: Sequence[OpName]) -> CellOps:
        edges = torch.arange(len(space.edges))
        picked = torch.tensor([[ops.index(op) for op in choice] for choice in choices])
        return choices[choose(weights[edges, picked].prod(dim=1) + 1e-30)]

    return Genotype(
        space=space,
        widths=tuple(choose(w) for w in p.width),
        normal=tuple(
            tuple(
                cell(weights, normals, space.normal_ops)
                for weights in stage[: space.depths[choose(depth)]]
            )
            for depth, stage in zip(p.depth, p.normal, strict=True)
        ),
        reduction=tuple(cell(weights, reductions, space.reduction_ops) for weights in p.reduction),
    )


def _flatten(p: Tensor, temperature: float) -> Tensor:
    return (p.clamp(min=1e-12).log() / temperature).softmax(-1)
