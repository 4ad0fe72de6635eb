"""The cell of DARTS and broad networks, as derived networks and supernets use it.

A derived cell has its two edges per node with one operation each; a supernet's has every edge with
every operation, of which a `CellMixture` says what runs and with which weight.

    x_j = Σ_i e_ij Σ_o w_ij,o · o(x_i)
Partial channels (PC-DARTS, k > 1): operations see the first C/k channels, the rest passes by, and
the node's channels are shuffled in k groups:
    x_j = shuffle_k [Σ_i e_ij Σ_o w_ij,o · o(x_i[:C/k]),  Σ_i e_ij · pass(x_i[C/k:])]
Concatenation and shuffle are linear, so they are done once per node and not once per edge.

Sources: DARTS (Liu et al., 2019, arXiv:1806.09055; quark0/darts); PC-DARTS (Xu et al., 2020,
arXiv:1907.05737; yuhuixu1993/PC-DARTS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.cells import INPUTS, CellOp
from binas.search.networks.cell_ops import Pointwise, Prepare, operation, reads_prepared
from binas.search.networks.cell_recipe import Recipe
from binas.search.networks.supernet import ALL, CellMixture, shuffle

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class Cell(nn.Module):
    """One cell: [N, C0, H0, W0], [N, C1, H, W] → [N, nodes · C, P, Q].

    Args:
        edges: (source, target) of every edge present.
        ops: Per edge, the operations present; exactly one in a derived network.
        sizes: Channels of input 0, of input 1, of a node.
        recipe: What convolutions are made of.
        stride: Of the edges that leave the inputs.
        halve_first: Whether input 0 has twice the rows and columns of input 1.
        partial: k of partial channels.
    """

    def __init__(
        self,
        edges: Sequence[tuple[int, int]],
        ops: Sequence[Sequence[CellOp]],
        sizes: tuple[int, int, int],
        recipe: Recipe,
        *,
        stride: int = 1,
        halve_first: bool = False,
        partial: int = 1,
    ) -> None:
        """Operations without parameters are kept once per source, not once per edge."""
        super().__init__()
        first, second, channels = sizes
        if channels % partial:
            raise ValueError(f"{channels} channels in {partial} parts")
        self.edges, self.ops = tuple(edges), tuple(tuple(row) for row in ops)
        self.stride, self.partial, self.channels = stride, partial, channels
        self.targets = sorted({target for _, target in self.edges})
        self.inputs = nn.ModuleList(
            [
                Pointwise(first, channels, recipe, stride=2 if halve_first else 1),
                Pointwise(second, channels, recipe),
            ]
        )
        self.share_pools = not recipe.affine
        self.prepare, self.modules_by_edge = nn.ModuleDict(), nn.ModuleDict()
        part = channels // partial
        for edge, ((source, _), present) in enumerate(zip(self.edges, self.ops, strict=True)):
            step = stride if source < INPUTS else 1
            for op in present:
                if reads_prepared(op) and str(source) not in self.prepare:
                    self.prepare[str(source)] = Prepare(part, recipe)
                key = self._key(edge, op)
                if key not in self.modules_by_edge:
                    module = operation(op, part, recipe, step)
                    if module is not None:
                        self.modules_by_edge[key] = module

    def forward(
        self, first: Tensor, second: Tensor, mixture: CellMixture = ALL, drop_path: float = 0.0
    ) -> Tensor:
        """The concatenation of the computing nodes.

        Args:
            first: Output of the cell before the previous one.
            second: Output of the previous cell.
            mixture: What runs, with which weights; a derived cell runs all it has.
            drop_path: Probability that an edge other than an identity is left out of an image, in
                training (Larsson et al., 2017, arXiv:1605.07648); the rest is scaled up.
        """
        walk = _Walk(self, mixture, drop_path if self.training else 0.0)
        for module, x in zip(self.inputs, (first, second), strict=True):
            walk.add(module(x))
        for target in self.targets:
            walk.add(walk.node(target))
        return torch.cat(walk.nodes[INPUTS:], dim=1)

    def step(self, edge: int) -> int:
        """The stride of an edge."""
        return self.stride if self.edges[edge][0] < INPUTS else 1

    def _key(self, edge: int, op: CellOp) -> str:
        """Where an operation is kept: without parameters it is the same for all of a node's."""
        if self.share_pools and op in ("max", "avg"):
            return f"node{self.edges[edge][0]}_{op}"
        return f"edge{edge}_{op}"

    def module(self, edge: int, op: CellOp) -> nn.Module | None:
        """The module of an operation on an edge, None where it has none."""
        key = self._key(edge, op)
        if key not in self.modules_by_edge:
            return None
        return self.modules_by_edge[key]

    def write(self, writer: ModelWriter, first: str, second: str, name: str) -> str:
        """The nodes of a derived cell; names start with `name/`."""
        nodes = [
            cast(Pointwise, module).write(writer, x, f"{name}/input{place}")
            for place, (module, x) in enumerate(zip(self.inputs, (first, second), strict=True))
        ]
        prepared: dict[int, str] = {}
        for target in self.targets:
            terms: list[str] = []
            for edge, (source, into) in enumerate(self.edges):
                if into != target:
                    continue
                (op,) = self.ops[edge]
                x = nodes[source]
                if reads_prepared(op):
                    if source not in prepared:
                        prepare = cast(Prepare, self.prepare[str(source)])
                        prepared[source] = prepare.write(writer, x, f"{name}/node{source}")
                    x = prepared[source]
                module = self.module(edge, op)
                where = f"{name}/edge{edge}.{source}-{into}"
                terms.append(
                    x if module is None else cast(Pointwise, module).write(writer, x, where)
                )
            total = terms[0]
            for place, term in enumerate(terms[1:]):
                total = writer.node("Add", [total, term], name=f"{name}/node{target}.add{place}")
            nodes.append(total)
        if len(nodes) == INPUTS + 1:
            return nodes[-1]
        return writer.node("Concat", nodes[INPUTS:], name=f"{name}/concat", axis=1)


class _Walk:
    """One pass through a cell: its nodes, and what has been computed of them once."""

    def __init__(self, cell: Cell, mixture: CellMixture, drop_path: float) -> None:
        self.cell, self.mixture, self.drop_path = cell, mixture, drop_path
        weights = mixture.weights(max(map(len, cell.ops)))
        # One unbind instead of a select per operation: autograd keeps one node per cell.
        self.gains = None if weights is None else [row.unbind() for row in weights.unbind()]
        self.factors = None if mixture.edges is None else mixture.edges.unbind()
        self.nodes: list[Tensor] = []
        self.parts: list[Tensor] = []  # what operations see
        self.prepared: dict[int, Tensor] = {}
        self.pooled: dict[tuple[int, CellOp], Tensor] = {}
        self.passed: dict[int, Tensor] = {}

    def add(self, x: Tensor) -> None:
        """The next node."""
        self.nodes.append(x)
        self.parts.append(x[:, : self.cell.channels // self.cell.partial])

    def node(self, target: int) -> Tensor:
        """The sum over the edges into a node."""
        cell, terms, rest = self.cell, _Sum(), _Sum()
        for edge, (source, into) in enumerate(cell.edges):
            if into != target:
                continue
            for place, op in enumerate(cell.ops[edge]):
                if op != "none" and self.mixture.runs(edge, place):
                    terms.add(*self._operate(edge, source, op, place))
            if cell.partial > 1 and (self.mixture.live is None or self.mixture.live[edge]):
                rest.add(
                    self._pass(edge, source), None if self.factors is None else self.factors[edge]
                )
        total = terms.total if terms.total is not None else self._zeros(target)
        if cell.partial == 1:
            return total
        around = rest.total if rest.total is not None else self._zeros(target, rest=True)
        return shuffle(torch.cat([total, around], dim=1), cell.partial)

    def _operate(
        self, edge: int, source: int, op: CellOp, place: int
    ) -> tuple[Tensor, Tensor | None]:
        """An operation's result, and the weight it still has to be multiplied with."""
        gain = None if self.gains is None else self.gains[edge][place]
        module = self.cell.module(edge, op)
        if module is None:
            return self.parts[source], gain
        if self.cell.share_pools and op in ("max", "avg"):
            if (source, op) not in self.pooled:
                self.pooled[source, op] = module(self.parts[source])
            return self.pooled[source, op], gain
        x = self.parts[source]
        if reads_prepared(op):
            if source not in self.prepared:
                self.prepared[source] = self.cell.prepare[str(source)](x)
            x = self.prepared[source]
        y = module(x, gain if self.cell.share_pools else None)
        if self.drop_path:
            keep = 1 - self.drop_path
            y = y * (y.new_empty(len(y), 1, 1, 1).bernoulli_(keep) / keep)
        return y, None if self.cell.share_pools else gain

    def _pass(self, edge: int, source: int) -> Tensor:
        """The channels that pass by an edge; their 2x2 maximum at stride 2."""
        if source not in self.passed:
            rest = self.nodes[source][:, self.cell.channels // self.cell.partial :]
            self.passed[source] = (
                functional.max_pool2d(rest, 2) if self.cell.step(edge) == 2 else rest
            )
        return self.passed[source]

    def _zeros(self, target: int, *, rest: bool = False) -> Tensor:
        """A node nothing flows into."""
        N, C, H, W = self.nodes[1].shape
        part = self.cell.channels // self.cell.partial
        shape = (N, C - part if rest else part, H // self.cell.stride, W // self.cell.stride)
        return self.nodes[1].new_zeros(shape)


class _Sum:
    """Σ gain · x."""

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def add(self, x: Tensor, gain: Tensor | None) -> None:
        """One more term."""
        if gain is not None:
            x = x * gain if self.total is None else torch.addcmul(self.total, x, gain.to(x.dtype))
            self.total = x
        else:
            self.total = x if self.total is None else self.total + x
