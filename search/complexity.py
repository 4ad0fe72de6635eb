"""Complexity: the operations on bits that a distribution over a BARS space expects.

BARS' own cost term, which needs no table and no device: the binary convolutions on the edges of all
cells. What no choice but the width changes (process convolutions, shortcuts, stem, head) is left
out, as there.
Source: BARS, 2020, arXiv:2011.10804; walkerning/aw_nas, aw_nas/objective/image.py.

What differs: there reductions count nothing, convolutions of stride 2 twice, and the softmax over
the widths is taken twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from binas.search.space import OpName, Space

if TYPE_CHECKING:
    from binas.search.networks.bars_supernet import Choice


def keep_probability(depths: Sequence[int], p: Tensor) -> Tensor:
    """q_j = Σ_{j' >= j} p_j': the probability that cell j = 1, 2, ... of a stage is kept.

    Args:
        depths: The numbers of cells that the stage may keep, ascending.
        p: Their probabilities, [depths].

    Returns:
        [cells of the layout].
    """
    numbers = torch.tensor(depths)
    return torch.stack([p[numbers >= cell].sum() for cell in range(1, depths[-1] + 1)])


def expected_biops(space: Space, p: Choice) -> Tensor:
    """E[F] of independent choices with probabilities p; differentiable, float64, two per MAC.

    F = Σ_s Σ_j q_{s,j} F_cell(s,j) + Σ_s F_red(s)
    F_cell = Σ_e p_e(conv) Σ_i u_{s,i} F_conv(s,i) with F_conv = 2 · 9 · C² · H · W
    and C the channels of a node, which has w_i² of the operations of full width. A reduction counts
    at the width of the stage that it leads to; its input has half of the channels of its nodes.
    """
    total = torch.zeros((), dtype=torch.float64)
    for stage, cells in enumerate(p.normal):
        convolutions = torch.stack([_b3(cell, space.normal_ops).sum() for cell in cells])
        q = keep_probability(space.depths, p.depth[stage].double())
        total = total + _conv_biops(space, stage, p.width[stage]) * (q @ convolutions)
    share = torch.tensor([0.5 if source == 0 else 1.0 for source, _ in space.edges]).double()
    for stage, cell in enumerate(p.reduction, start=1):
        convolutions = share @ _b3(cell, space.reduction_ops)
        total = total + _conv_biops(space, stage, p.width[stage]) * convolutions
    return total


def _b3(cell: Tensor, ops: Sequence[OpName]) -> Tensor:
    """The probability of a convolution on every edge, [edges]."""
    found = cell[:, ops.index("b3")] if "b3" in ops else torch.zeros(cell.shape[0])
    return found.double()


def _conv_biops(space: Space, stage: int, widths: Tensor) -> Tensor:
    """Operations of one 3x3 between two nodes of a stage, expected over its widths."""
    rows, columns = space.size(stage)
    channels = [space.node_channels(stage, width) for width in range(len(space.widths))]
    biops = torch.tensor([2.0 * 9 * C * C * rows * columns for C in channels])
    return widths.double() @ biops.double()
