"""The supernet of a BARS space at fixed depths and widths, for strategies that search cells only.

Every cell of the layout is a group of its own: "stage0.cell0", ..., "reduction0", ... The cells are
those of `bars_cell.py`, so what is derived here and what BARS derives are networks of one space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from binas.core.errors import UsageError
from binas.search.genotype import AnyGenotype, CellOps, Genotype
from binas.search.menu import cell_choices
from binas.search.networks.bars import Head, Stem, normal_cell, reduction_cell
from binas.search.networks.bars_cell import Cell, nodes_channels
from binas.search.networks.bars_supernet import Choice, one_hot
from binas.search.networks.supernet import Group, Mixture, Supernet
from binas.search.space import OpName, Space


class StageSupernet(Supernet):
    """All cells of a BARS space, its depths and widths given.

    Args:
        space: A BARS space.
        depths: Normal cells per stage; the most that the space allows by default.
        widths: Per stage, an index into `space.widths`; the greatest by default.
        real: Build the real-valued Parent.
        partial: k of partial channels; the bypass at stride 2 is the space's own 2x2 mean.
    """

    def __init__(
        self,
        space: Space,
        *,
        depths: Sequence[int] | None = None,
        widths: Sequence[int] | None = None,
        real: bool = False,
        partial: int = 1,
    ) -> None:
        """Every operation on every edge."""
        super().__init__()
        self.space = space
        self.depths = tuple(depths or (space.max_cells,) * space.stages)
        self.widths = tuple(widths or (len(space.widths) - 1,) * space.stages)
        if len(self.depths) != space.stages or not set(self.depths) <= set(space.depths):
            raise UsageError(
                f"depths {self.depths}, expected {space.stages} of {space.depths}",
                hint="leave them out for the greatest",
            )
        self.stem = Stem(space, space.node_channels(0, self.widths[0]))
        groups: list[Group] = []
        cells: list[Cell] = []
        edges = len(space.edges)
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            for place in range(depth):
                groups.append(Group(f"stage{stage}.cell{place}", space.edges, space.normal_ops))
                ops: list[tuple[OpName, ...]] = [space.normal_ops] * edges
                cells.append(normal_cell(space, stage, width, ops, real=real, partial=partial))
            if stage < space.stages - 1:
                groups.append(Group(f"reduction{stage}", space.edges, space.reduction_ops))
                pair = (width, self.widths[stage + 1])
                ops = [space.reduction_ops] * edges
                cells.append(reduction_cell(space, stage, pair, ops, real=real, partial=partial))
        self.groups, self.cells = tuple(groups), nn.ModuleList(cells)
        channels = space.node_channels(space.stages - 1, self.widths[-1])
        self.head = Head(nodes_channels(space, channels), space.classes)

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""
        x = self.stem(x)
        for index, cell in enumerate(self.cells):
            x = cell(x, mixture=mixture.of(index))
        return cast(Tensor, self.head(x))

    def derive(self, scores: Sequence[Tensor]) -> Genotype:
        """Each cell the valid one (every node has an input) of the highest product of scores."""
        normals = cell_choices(self.space, self.space.normal_ops)
        reductions = cell_choices(self.space, self.space.reduction_ops)
        normal: list[list[CellOps]] = [[] for _ in self.depths]
        reduction: list[CellOps] = []
        rest = iter(zip(self.groups, scores, strict=True))
        for stage, depth in enumerate(self.depths):
            normal[stage] = [_best(*next(rest), normals) for _ in range(depth)]
            if stage < self.space.stages - 1:
                reduction.append(_best(*next(rest), reductions))
        return Genotype(
            space=self.space,
            widths=self.widths,
            normal=tuple(tuple(cells) for cells in normal),
            reduction=tuple(reduction),
        )

    def mixture_of(self, genotype: AnyGenotype) -> Mixture:
        """One operation on every edge."""
        if not isinstance(genotype, Genotype):
            raise UsageError("a cell genotype in a stage supernet", hint="derive it from this one")
        if (genotype.depths, genotype.widths) != (self.depths, self.widths):
            raise UsageError(
                f"a network of depths {genotype.depths} and widths {genotype.widths}, this "
                f"supernet stands at {self.depths} and {self.widths}",
                hint="make a StageSupernet with its depths and widths",
            )
        cells: list[CellOps] = []
        for stage, found in enumerate(genotype.normal):
            cells += [*found, *genotype.reduction[stage : stage + 1]]
        return Mixture.path(
            [[g.ops.index(op) for op in ops] for g, ops in zip(self.groups, cells, strict=True)]
        )

    def op_modules(self, group: int, op: int) -> tuple[nn.Module, ...]:
        """On every edge of the one cell of the group."""
        cell, name = cast(Cell, self.cells[group]), self.groups[group].ops[op]
        if name == "b3":
            return tuple(cell.units.values())
        return tuple(cell.pools.values()) if name == "pool" else ()

    def choice(self, ops: Sequence[Tensor]) -> Choice:
        """Probabilities of a whole network, for `cost.Lut.expected_ns`: depths and widths certain.

        Args:
            ops: Per group [edges, ops], probabilities; gradients flow to them.
        """
        uniform = [torch.full(g.shape, 1 / len(g.ops)) for g in self.groups]
        certain = one_hot(self.derive(uniform))
        rest, normal, reduction = iter(ops), [], []
        for stage, depth in enumerate(self.depths):
            kept = [next(rest) for _ in range(depth)]
            # Cells beyond the depth have probability 0; what stands there counts nothing.
            normal.append((*kept, *certain.normal[stage][depth:]))
            if stage < self.space.stages - 1:
                reduction.append(next(rest))
        return Choice(certain.depth, certain.width, tuple(normal), tuple(reduction))


def _best(group: Group, scores: Tensor, choices: Sequence[CellOps]) -> CellOps:
    """The valid cell of the highest product, by logarithms."""
    logs = scores.detach().double().clamp(min=1e-300).log()
    places = torch.tensor([[group.ops.index(op) for op in choice] for choice in choices])
    return choices[int(logs[torch.arange(len(group.edges)), places].sum(dim=1).argmax())]
