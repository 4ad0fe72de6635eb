"""What DARTS and broad networks share: network, supernet, derive, for any body made of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from binas.core.errors import UsageError
from binas.search import binarize
from binas.search.cells import INPUTS, CellEdges, CellGenotype, CellOp, CellSpace
from binas.search.genotype import AnyGenotype
from binas.search.networks.cell import Cell
from binas.search.networks.cell_recipe import Recipe
from binas.search.networks.supernet import Group, Mixture, Supernet

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class CellMaker(Protocol):
    """Makes a cell of type 0 or 1."""

    def __call__(
        self, kind: int, sizes: tuple[int, int, int], *, stride: int, halve_first: bool
    ) -> Cell:
        """A cell with such channels (`Cell`)."""
        ...


class Body(Protocol):
    """A network made of cells: `DartsBody`, `BroadBody`; an nn.Module."""

    def __call__(self, x: Tensor, mixture: Mixture | None = None, drop_path: float = 0.0) -> Tensor:
        """Images → logits."""
        ...

    def write(self, writer: ModelWriter, x: str) -> str:
        """All nodes."""
        ...


MakeBody = Callable[[CellSpace, CellMaker, Recipe], nn.Module]


class CellNetwork(nn.Module):
    """A derived network, trainable and exportable.

    Attributes:
        drop_path: Probability that an edge is left out of an image in training; set it per epoch.
    """

    def __init__(self, genotype: CellGenotype, body: MakeBody, *, real: bool = False) -> None:
        """Untrained."""
        super().__init__()
        space = genotype.space
        pools = space.form == "residual"
        recipe = Recipe(
            space.form,
            binarize.named(space.binarizer),
            affine=True,
            real=real,
            pool_norm=pools,
            binary_inputs=space.inputs == "binary",
        )

        def make(kind: int, sizes: tuple[int, int, int], *, stride: int, halve_first: bool) -> Cell:
            cell = (genotype.normal, genotype.reduction)[kind]
            kept = [(e, node) for node, edges in enumerate(cell, start=INPUTS) for e in edges]
            return Cell(
                [(source, target) for (_, source), target in kept],
                [(op,) for (op, _), _ in kept],
                sizes,
                recipe,
                stride=stride,
                halve_first=halve_first,
            )

        self.body = body(space, make, recipe)
        self.drop_path = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""
        return cast(Tensor, self.body(x, None, self.drop_path))

    def write(self, writer: ModelWriter, x: str) -> str:
        """All nodes."""
        return cast(Body, self.body).write(writer, x)


class CellSupernet(Supernet):
    """Every network of a `CellSpace`.

    Args:
        space: Which networks.
        body: How cells are connected.
        real: Real convolutions in the DARTS order: the Parent of a child.
        partial: k of partial channels; operations have 1/k of the channels.
    """

    def __init__(
        self, space: CellSpace, body: MakeBody, *, real: bool = False, partial: int = 1
    ) -> None:
        """All operations on all edges; batch norms without parameters."""
        super().__init__()
        self.space = space
        self.groups = tuple(
            Group(name, space.edges, ops)
            for name, ops in zip(space.names, (space.normal_ops, space.reduction_ops), strict=True)
        )
        recipe = Recipe(
            space.form,
            binarize.named(space.binarizer),
            affine=False,
            real=real,
            binary_inputs=space.inputs == "binary",
        )
        self.by_group: tuple[list[Cell], list[Cell]] = ([], [])

        def make(kind: int, sizes: tuple[int, int, int], *, stride: int, halve_first: bool) -> Cell:
            ops = [cast("tuple[CellOp, ...]", self.groups[kind].ops)] * len(space.edges)
            cell = Cell(
                space.edges,
                ops,
                sizes,
                recipe,
                stride=stride,
                halve_first=halve_first,
                partial=partial,
            )
            self.by_group[kind].append(cell)
            return cell

        self.body = body(space, make, recipe)

    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""
        return cast(Tensor, self.body(x, mixture))

    def derive(self, scores: Sequence[Tensor]) -> CellGenotype:
        """DARTS' rule on each type of cell; two edges per node."""
        cells = [_best(group, found) for group, found in zip(self.groups, scores, strict=True)]
        return CellGenotype(space=self.space, normal=cells[0], reduction=cells[1])

    def mixture_of(self, genotype: AnyGenotype) -> Mixture:
        """One operation on the kept edges, none on the others."""
        if not isinstance(genotype, CellGenotype):
            raise UsageError("a stage genotype in a cell supernet", hint="derive it from this one")
        live = []
        for group, cell in zip(self.groups, (genotype.normal, genotype.reduction), strict=True):
            kept: dict[tuple[int, int], list[int]] = {edge: [] for edge in group.edges}
            for node, edges in enumerate(cell, start=INPUTS):
                for op, source in edges:
                    kept[source, node].append(group.ops.index(op))
            live.append([kept[edge] for edge in group.edges])
        return Mixture(live=tuple(tuple(tuple(ops) for ops in edges) for edges in live))

    def op_modules(self, group: int, op: int) -> tuple[nn.Module, ...]:
        """On every edge of every cell of the group."""
        name = cast(CellOp, self.groups[group].ops[op])
        found = (
            cell.module(edge, name)
            for cell in self.by_group[group]
            for edge in range(len(self.groups[group].edges))
        )
        return tuple(dict.fromkeys(module for module in found if module is not None))


def _best(group: Group, scores: Tensor) -> CellEdges:
    """Per node its two best edges (or all, if fewer), each with its best operation but none."""
    values = scores.detach().double().clone()
    if "none" in group.ops:
        values[:, group.ops.index("none")] = -1.0
    best, ops = values.max(dim=1)
    cell: list[tuple[Any, ...]] = []
    for edges in group.incoming:
        found = sorted(edges, key=lambda edge: -float(best[edge]))[:2]
        # An edge whose every operation has been removed is kept only if its node has no other.
        kept = [edge for edge in found if best[edge] > 0] or found[:1]
        cell.append(tuple((group.ops[int(ops[e])], group.edges[e][0]) for e in sorted(kept)))
    return cast(CellEdges, tuple(cell))


def uniform(groups: Sequence[Group], generator: torch.Generator) -> tuple[tuple[int, ...], ...]:
    """One operation per edge, every one alike, for `Mixture.path`."""
    return tuple(
        tuple(torch.randint(len(g.ops), (len(g.edges),), generator=generator).tolist())
        for g in groups
    )
