"""From the distribution over a BARS space to its networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from binas.search.genotype import CellOps, Genotype
from binas.search.menu import cell_choices
from binas.search.networks.bars_supernet import Choice
from binas.search.space import OpName, Space


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
