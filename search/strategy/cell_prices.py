"""Expected latency of cells: what one more operation costs, so that α of any edge gets a gradient.

Cells of 14 edges of eight operations have too many forms to plan each, as `menu.py` does with the
small cells of BARS. So networks are planned in pairs, with an operation on an edge and without it;
the difference is its entry, summed over all cells that share the architecture, its sign and its add
included. Then, with T_rest what is left of a network whose edges are all taken away,

    E[T] = T_rest + Σ_types Σ_e Σ_o p_e,o · LUT[type, kind of e, o]

where edges are of two kinds: those that leave a cell's inputs, which carry its stride, and the
others. For certain choices T is the sum of the entries of that network; what operations that read
one node share is not in it.
Source: ours; ProxylessNAS (Cai et al., 2019, arXiv:1812.00332, eq. 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.search.cells import INPUTS, CellEdges, CellGenotype, CellOp, CellSpace, Edge
from binas.search.cost import Prices, layers_of, predict_ns
from binas.search.genotype import AnyGenotype
from binas.search.networks.family import supernet


@dataclass(frozen=True, slots=True)
class CellLut:
    """Prices of the cells of a space (a `CellPrices`).

    Attributes:
        space: Whose cells.
        entries: Per type of cell, float64 ns [edges, ops] over all cells of the type.
        rest_ns: What is no operation of an edge, with the fixed cost of a run.
    """

    space: CellSpace
    entries: tuple[Tensor, Tensor]
    rest_ns: float

    @staticmethod
    def of(space: CellSpace, table: Prices) -> CellLut:
        """Plan networks in pairs: one for each type of cell, kind of edge and operation.

        Raises:
            MeasureError: The table lacks a step of them.
        """
        base = _plain(space)
        cells = (base.normal, base.reduction)
        base_ns = predict_ns(base, table)
        entries: list[Tensor] = []
        for place, ops in enumerate((space.normal_ops, space.reduction_ops)):
            found = torch.zeros(len(space.edges), len(ops), dtype=torch.float64)
            for inner in (False, True)[: min(space.nodes, 2)]:
                target, source = (INPUTS + inner, INPUTS if inner else 0)
                rows = torch.tensor([(s >= INPUTS) == inner for s, _ in space.edges])
                for column, op in enumerate(ops):
                    if op != "none":
                        more = _with_edge(cells[place], target, (op, source))
                        changed = (more, cells[1]) if place == 0 else (cells[0], more)
                        net = CellGenotype(space=space, normal=changed[0], reduction=changed[1])
                        found[rows, column] = predict_ns(net, table) - base_ns
            entries.append(found)
        whole = CellLut(space, (entries[0], entries[1]), 0.0)
        return CellLut(space, whole.entries, base_ns - whole.predict_ns(base))

    def expected_ns(self, p: Sequence[Tensor]) -> Tensor:
        """E[T] for probabilities per type of cell [edges, ops]; differentiable, float64 ns."""
        pairs = zip(self.entries, p, strict=True)
        parts = [(entry * weights.double()).sum() for entry, weights in pairs]
        return torch.stack(parts).sum() + self.rest_ns

    def predict_ns(self, genotype: AnyGenotype) -> float:
        """The sum of the entries of a network's edges."""
        if not isinstance(genotype, CellGenotype) or genotype.space != self.space:
            raise UsageError("prices of cells for a network of another space", hint="price it anew")
        total, space = self.rest_ns, self.space
        types = zip(
            self.entries,
            (genotype.normal, genotype.reduction),
            (space.normal_ops, space.reduction_ops),
            strict=True,
        )
        for entry, cell, ops in types:
            for node, edges in enumerate(cell, start=INPUTS):
                for op, source in edges:
                    total += float(entry[space.edges.index((source, node)), ops.index(op)])
        return total

    def fastest_ns(self) -> float:
        """Of all networks with two edges per node, as DARTS derives them."""
        cheapest = [
            torch.where(torch.tensor([op == "none" for op in ops]), torch.inf, entry)
            for entry, ops in zip(
                self.entries, (self.space.normal_ops, self.space.reduction_ops), strict=True
            )
        ]
        return self.predict_ns(supernet(self.space).derive([(-c / 1e6).exp() for c in cheapest]))


@dataclass(frozen=True, slots=True)
class CellMenu:
    """The fused steps that a table of a space of cells must hold.

    Attributes:
        layers: Of the networks that prices are made of, and of `networks`; once each, sorted.
        networks: Further networks, and their steps.
    """

    layers: tuple[Layer, ...]
    networks: dict[CellGenotype, tuple[Layer, ...]]

    @staticmethod
    def of(space: CellSpace, networks: Sequence[CellGenotype]) -> CellMenu:
        """Plan them all."""
        seen = _Seen()
        CellLut.of(space, seen)
        planned = {net: layers_of(net) for net in networks}
        return CellMenu(tuple(sorted(seen.layers.union(*planned.values()))), planned)

    def steps(self, genotype: CellGenotype) -> tuple[Layer, ...]:
        """The steps of one of the further networks."""
        return self.networks[genotype]


class _Seen:
    """Prices that only remember what they were asked for (a `Prices`)."""

    fixed_ns = 0.0

    def __init__(self) -> None:
        self.layers: set[Layer] = set()

    def latency_ns(self, layer: Layer) -> float:
        self.layers.add(layer)
        return 1.0


def _plain(space: CellSpace) -> CellGenotype:
    """Two edges per node from the inputs, with what costs least to plan around: a skip, if any."""

    def cell(ops: tuple[CellOp, ...]) -> CellEdges:
        op = "skip" if "skip" in ops else next(op for op in ops if op != "none")
        return tuple(((op, 0), (op, 1)) for _ in range(space.nodes))

    return CellGenotype(
        space=space, normal=cell(space.normal_ops), reduction=cell(space.reduction_ops)
    )


def _with_edge(cell: CellEdges, target: int, edge: Edge) -> CellEdges:
    """A cell with one more edge into a node."""
    place = target - INPUTS
    return (*cell[:place], (*cell[place], edge), *cell[place + 1 :])
