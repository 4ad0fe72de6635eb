"""Supernet: what a strategy sees of a network that holds every network of a space.

A strategy knows groups of edges and operations, nothing about cells, channels or layouts, so each
strategy runs on every substrate: DARTS cells (`darts.py`), broad networks (`broad.py`), and the
stages of a BARS space at fixed depths and widths (`stages.py`).

    net = supernet(space, partial=4)            # `family.py`; `real=True` makes the Parent
    alphas = [torch.zeros(group.shape, requires_grad=True) for group in net.groups]
    logits = net(x, Mixture.soft([a.softmax(-1) for a in alphas]))           # DARTS
    logits = net(x, Mixture.path(picks))                                     # one op per edge
    genotype = net.derive([a.softmax(-1) for a in alphas])

Every group belongs to one *type* of cell. A DARTS supernet has two, each used by several cells,
which share the architecture and not the weights; a stage supernet has one per cell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from binas.search.genotype import AnyGenotype

Picks = Sequence[Sequence[int]]  # per group, per edge, the index of an operation


@dataclass(frozen=True, slots=True)
class Group:
    """The edges of one type of cell.

    Attributes:
        name: Such as "normal", "reduction", "enhancement", "stage0.cell1".
        edges: (source, target) nodes, sorted by target; sources before the first target are inputs.
        ops: What every edge chooses from. "none" is no edge; it costs nothing and is never derived
            unless the space says that edges may be empty.
    """

    name: str
    edges: tuple[tuple[int, int], ...]
    ops: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(edges, ops): the shape of an architecture parameter, such as 14x8."""
        return len(self.edges), len(self.ops)

    @property
    def incoming(self) -> tuple[tuple[int, ...], ...]:
        """Per computing node, the indices of the edges into it."""
        targets = sorted({target for _, target in self.edges})
        return tuple(
            tuple(e for e, (_, into) in enumerate(self.edges) if into == target)
            for target in targets
        )

    def edge_softmax(self, logits: Tensor) -> Tensor:
        """Edge normalisation: softmax over the edges into each node, [edges] → [edges].

        Source: PC-DARTS (Xu et al., 2020, arXiv:1907.05737, eq. 4).
        """
        parts = [logits[list(edges)].softmax(0) for edges in self.incoming]
        order = [e for edges in self.incoming for e in edges]
        return torch.cat(parts)[torch.tensor(order).argsort()]


@dataclass(frozen=True, slots=True)
class Mixture:
    """What one forward pass runs.

    Attributes:
        ops: Per group, the weight of each operation [edges, ops]; None: each that runs counts 1.
        edges: Per group, the weight of each edge [edges]; None: 1.
        live: Per group, per edge, the indices of the operations that run; None: all. What does not
            run costs no time, whatever its weight.
    """

    ops: tuple[Tensor, ...] | None = None
    edges: tuple[Tensor, ...] | None = None
    live: tuple[tuple[tuple[int, ...], ...], ...] | None = None

    @staticmethod
    def soft(
        ops: Sequence[Tensor],
        edges: Sequence[Tensor] | None = None,
        live: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> Mixture:
        """Weighted operations: x_j = Σ_i edge_ij Σ_o op_ij,o · o(x_i).

        Args:
            ops: Per group [edges, ops], as softmax gives them; gradients flow to them.
            edges: Per group [edges]; `Group.edge_softmax` gives them.
            live: Per group, per edge, the candidates left; all when None.
        """
        return Mixture(tuple(ops), None if edges is None else tuple(edges), _frozen(live))

    @staticmethod
    def path(picks: Picks) -> Mixture:
        """One operation per edge, of weight 1."""
        return Mixture(live=_frozen([[(op,) for op in edges] for edges in picks]))

    def to(self, device: str) -> Mixture:
        """The same with its weights there (`hardware.Selection`)."""

        def moved(weights: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
            return None if weights is None else tuple(w.to(device) for w in weights)

        return Mixture(moved(self.ops), moved(self.edges), self.live)

    def of(self, group: int) -> CellMixture:
        """What the cells of one group run."""
        return CellMixture(
            None if self.ops is None else self.ops[group],
            None if self.edges is None else self.edges[group],
            None if self.live is None else self.live[group],
        )

    def dense(self, groups: Sequence[Group]) -> tuple[Tensor, ...]:
        """Per group, edge · op weight of everything that runs, 0 of what does not, [edges, ops]."""
        found: list[Tensor] = []
        for index, group in enumerate(groups):
            cell = self.of(index)
            weights = cell.weights(len(group.ops))
            weights = torch.ones(group.shape) if weights is None else weights
            if cell.live is not None:
                runs = torch.zeros(group.shape, dtype=torch.bool)
                for edge, ops in enumerate(cell.live):
                    runs[edge, list(ops)] = True
                weights = weights.masked_fill(~runs.to(weights.device), 0)
            found.append(weights)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class CellMixture:
    """The part of a `Mixture` that belongs to one group."""

    ops: Tensor | None
    edges: Tensor | None
    live: tuple[tuple[int, ...], ...] | None

    def runs(self, edge: int, op: int) -> bool:
        """Whether an operation runs."""
        return self.live is None or op in self.live[edge]

    def weights(self, ops: int) -> Tensor | None:
        """Products [edges, ops] of edge and operation; None where all count 1."""
        if self.edges is None:
            return self.ops
        edges = self.edges[:, None].expand(-1, ops)
        return edges if self.ops is None else self.ops * edges


ALL = CellMixture(None, None, None)


class Supernet(nn.Module, ABC):
    """All networks of a space with shared weights; `parameters()` are the weights alone.

    Architecture parameters belong to the strategy, which hands them in with each forward pass.
    """

    groups: tuple[Group, ...]

    @abstractmethod
    def forward(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""

    @abstractmethod
    def derive(self, scores: Sequence[Tensor]) -> AnyGenotype:
        """The network of the highest scores, by the rule of the space.

        DARTS cells and broad networks: without "none", an edge scores as its best operation, each
        node keeps its two best edges (1.1 of Liu et al., 2019, arXiv:1806.09055). Stages: each cell
        is the valid one with the highest product.

        Args:
            scores: Per group [edges, ops], 0 or more, such as softmax(alpha) · softmax(beta); an
                operation of score 0 is taken only where its node has nothing else.
        """

    @abstractmethod
    def mixture_of(self, genotype: AnyGenotype) -> Mixture:
        """What makes this supernet compute exactly that network, with its own weights."""

    @abstractmethod
    def op_modules(self, group: int, op: int) -> tuple[nn.Module, ...]:
        """The modules of one operation on every edge of every cell of a group; () without weights.

        DCP-NAS ranks operations by the norm of their weights.
        """


def _frozen(
    live: Sequence[Sequence[Sequence[int]]] | None,
) -> tuple[tuple[tuple[int, ...], ...], ...] | None:
    if live is None:
        return None
    return tuple(tuple(tuple(ops) for ops in edges) for edges in live)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """ShuffleNet's channel shuffle: channel g·(C/k) + c goes to c·k + g.

    Source: Zhang et al., 2018, arXiv:1707.01083; yuhuixu1993/PC-DARTS, model_search.py.
    """
    N, C, H, W = x.shape
    return x.view(N, groups, C // groups, H, W).transpose(1, 2).reshape(N, C, H, W)
