"""The supernet of a BARS space: every network of it at once, with shared weights.

Depth: a stage's output is Σ_j p_j · x_j over the depths it may keep ("sink-connect"), p a softmax.
Width: channels are masked by a Gumbel-softmax over the widths; the masks multiply what convolutions
read, *after* the sign. Cells: every operation of every edge, weighted by a Gumbel-softmax.
Source: BARS, 2020, arXiv:2011.10804; walkerning/aw_nas, aw_nas/btcs/layer2.

What differs: BARS masks what nodes emit, which batch norm and sign undo; and it hands the next
stage's width to the last cell of the layout, where we hand it to the reduction (`bars.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.genotype import CellOps, Genotype
from binas.search.networks.bars import Head, Stem, normal_cell, reduction_cell
from binas.search.networks.bars_cell import Cell, Masks, nodes_channels
from binas.search.space import OpName, Space


@dataclass(frozen=True, slots=True)
class Choice:
    """One weight per alternative, logits or probabilities; what a supernet is run with.

    Attributes:
        depth: Per stage, [depths].
        width: Per stage, [widths].
        normal: Per stage, per cell of the layout, [edges, ops].
        reduction: Per reduction, [edges, ops].
    """

    depth: tuple[Tensor, ...]
    width: tuple[Tensor, ...]
    normal: tuple[tuple[Tensor, ...], ...]
    reduction: tuple[Tensor, ...]

    def tensors(self) -> list[Tensor]:
        """All of them, always in the same order."""
        cells = [cell for stage in self.normal for cell in stage]
        return [*self.depth, *self.width, *cells, *self.reduction]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Choice:
        """The same structure with other tensors, in the order of `tensors()`."""
        rest = iter(tensors)
        return Choice(
            tuple(next(rest) for _ in self.depth),
            tuple(next(rest) for _ in self.width),
            tuple(tuple(next(rest) for _ in stage) for stage in self.normal),
            tuple(next(rest) for _ in self.reduction),
        )

    def to(self, device: str) -> Choice:
        """The same there (`hardware.Selection`)."""
        return self.with_tensors([weights.to(device) for weights in self.tensors()])

    def probabilities(self) -> Choice:
        """Softmax of every vector of logits."""
        return self.with_tensors([logits.softmax(-1) for logits in self.tensors()])


def logits(space: Space, generator: torch.Generator) -> Choice:
    """Architecture parameters, 1e-3 · N(0, 1)."""

    def draw(*shape: int) -> Tensor:
        return (1e-3 * torch.randn(shape, generator=generator)).requires_grad_()

    edges = len(space.edges)
    return Choice(
        tuple(draw(len(space.depths)) for _ in range(space.stages)),
        tuple(draw(len(space.widths)) for _ in range(space.stages)),
        tuple(
            tuple(draw(edges, len(space.normal_ops)) for _ in range(space.max_cells))
            for _ in range(space.stages)
        ),
        tuple(draw(edges, len(space.reduction_ops)) for _ in range(space.stages - 1)),
    )


def sample(choice: Choice, temperature: float, generator: torch.Generator) -> Choice:
    """Weights for one step: softmax for depth, Gumbel-softmax for widths and operations.

    Gumbel-softmax: softmax((logits + g) / tau), g = -log(-log(U)).
    Source: Jang et al., 2017, arXiv:1611.01144, eq. 2; which part uses which: BARS' code.
    """

    def gumbel(values: Tensor) -> Tensor:
        uniform = torch.rand(values.shape, generator=generator).clamp_(1e-9, 1 - 1e-7)
        return ((values - (-uniform.log()).log()) / temperature).softmax(-1)

    return Choice(
        tuple((values / temperature).softmax(-1) for values in choice.depth),
        tuple(gumbel(values) for values in choice.width),
        tuple(tuple(gumbel(values) for values in stage) for stage in choice.normal),
        tuple(gumbel(values) for values in choice.reduction),
    )


def one_hot(genotype: Genotype) -> Choice:
    """The weights that make the supernet compute exactly that network."""
    space = genotype.space

    def at(index: int, length: int) -> Tensor:
        return functional.one_hot(torch.tensor(index), length).float()

    def cell(ops: CellOps, names: Sequence[OpName]) -> Tensor:
        return torch.stack([at(names.index(op), len(names)) for op in ops])

    def stage(cells: Sequence[CellOps]) -> tuple[Tensor, ...]:
        unused = [cells[0] if cells else (space.normal_ops[-1],) * len(space.edges)]
        padded = [*cells, *unused * (space.max_cells - len(cells))]
        return tuple(cell(ops, space.normal_ops) for ops in padded)

    return Choice(
        tuple(at(space.depths.index(d), len(space.depths)) for d in genotype.depths),
        tuple(at(width, len(space.widths)) for width in genotype.widths),
        tuple(stage(cells) for cells in genotype.normal),
        tuple(cell(ops, space.reduction_ops) for ops in genotype.reduction),
    )


class Supernet(nn.Module):
    """All networks of a space, at full width."""

    def __init__(self, space: Space) -> None:
        """Every cell of the layout with every operation on every edge."""
        super().__init__()
        self.space, full = space, len(space.widths) - 1
        self.stem = Stem(space, space.node_channels(0, full))
        normal, reduction = [space.normal_ops] * len(space.edges), [space.reduction_ops]
        self.normal = nn.ModuleList(
            nn.ModuleList(normal_cell(space, stage, full, normal) for _ in range(space.max_cells))
            for stage in range(space.stages)
        )
        self.reduction = nn.ModuleList(
            reduction_cell(space, stage, (full, full), reduction * len(space.edges))
            for stage in range(space.stages - 1)
        )
        channels = space.node_channels(space.stages - 1, full)
        self.head = Head(nodes_channels(space, channels), space.classes)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""
        nodes = [self.mask(stage, choice.width[stage]) for stage in range(self.space.stages)]
        outs = [node.repeat(self.space.nodes, 1, 1) for node in nodes]
        x = self.stem(x, nodes[0])
        for stage, cells in enumerate(self.normal):
            masks = Masks(outs[stage], nodes[stage], nodes[stage])
            kept = [x] if self.space.min_cells == 0 else []
            for place, cell in enumerate(cast(nn.ModuleList, cells)):
                x = cell(x, choice.normal[stage][place], masks)
                if place + 1 >= self.space.min_cells:
                    kept.append(x)
            # Sink-connect: y_s = Σ_j p_{s,j} x_{s,j}
            kept = [p * y for p, y in zip(choice.depth[stage], kept, strict=True)]
            x = sum(kept[1:], kept[0])  # a stack would leave the order N H W C
            if stage < len(self.reduction):
                after = nodes[stage + 1]
                # The reduction's nodes are its processed input twice: half of the mask is its mask.
                masks = Masks(outs[stage], after[: len(after) // 2], after)
                x = cast(Cell, self.reduction[stage])(x, choice.reduction[stage], masks)
        y: Tensor = self.head(x, outs[-1])
        return y

    def mask(self, stage: int, widths: Tensor) -> Tensor:
        """m(c) = Σ_i u_i · 1[c < w_i · C] for the channels of a node, [C, 1, 1].

        After the first stage a node is two halves of that form, since a reduction's shortcut
        doubles channels by repeating them.
        """
        full = self.space.node_channels(0, len(self.space.widths) - 1) << max(stage - 1, 0)
        channel = torch.arange(full, device=widths.device)
        live = torch.stack([channel < round(w * full) for w in self.space.widths]).to(widths.dtype)
        mask = (widths[:, None] * live).sum(0)
        return torch.cat([mask, mask] if stage else [mask])[:, None, None]
