"""The networks of a BARS space: cells, and build(genotype) → module.

A cell has one input node and `nodes` computing nodes, dense; its output is their concatenation plus
a cell shortcut: identity in a normal cell, a binary 3x3 of stride 2 in a reduction, so that no real
layer stands between stem and classifier. The process op is a binary 1x1, or a real one where the
space says so.
Source: BARS, 2020, arXiv:2011.10804; walkerning/aw_nas, aw_nas/btcs/layer2.

What differs: the reduction's process op and shortcut change the stage width. In BARS the last kept
normal cell does, which needs a shortcut over only a part of the channels. And a node without any
input is not allowed: it would be a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from torch.nn import functional

from binas.search import binarize
from binas.search.genotype import Genotype
from binas.search.networks.bars_cell import Cell, nodes_channels
from binas.search.ops import NormConv
from binas.search.space import OpName, Space

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class Stem(nn.Module):
    """Real 3x3 (with the stem's stride), ReLU, real 1x1 to a cell's channels."""

    def __init__(self, space: Space, channels: int) -> None:
        """The second convolution is BARS' extra stem."""
        super().__init__()
        self.first = NormConv(space.input_shape[0], channels, 3, space.stem_stride)
        self.second = NormConv(channels, nodes_channels(space, channels), 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N, C, H, W] images → [N, nodes·C, P, Q]; the mask is on the middle channels."""
        y = functional.relu(self.first(x))
        z: Tensor = self.second(y if mask is None else y * mask)
        return z

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Conv, Relu, Conv."""
        y = writer.node("Relu", [self.first.write(writer, x, f"{name}/first")], name=f"{name}/relu")
        return self.second.write(writer, y, f"{name}/second")


class Head(nn.Module):
    """Mean over the image, then a linear classifier."""

    def __init__(self, channels: int, classes: int) -> None:
        """A real linear layer."""
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N, C, H, W] → logits [N, classes]."""
        y = x if mask is None else x * mask
        z: Tensor = self.linear(y.mean(dim=(2, 3)))
        return z

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """GlobalAveragePool, Flatten, Gemm."""
        y = writer.node("GlobalAveragePool", [x], name=f"{name}/pool")
        y = writer.node("Flatten", [y], name=f"{name}/flatten", axis=1)
        w = writer.constant(self.linear.weight.detach().numpy(), f"{name}/linear.w")
        b = writer.constant(self.linear.bias.detach().numpy(), f"{name}/linear.b")
        return writer.node("Gemm", [y, w, b], name=f"{name}/linear", transB=1)


class Network(nn.Module):
    """A network of the space: pieces in order, each with its name."""

    def __init__(self, pieces: Sequence[tuple[str, nn.Module]]) -> None:
        """Names are those of `pieces`, dots replaced by torch's rules."""
        super().__init__()
        self.names = tuple(name for name, _ in pieces)
        self.pieces = nn.ModuleList(module for _, module in pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""
        for piece in self.pieces:
            x = piece(x)
        return x

    def write(self, writer: ModelWriter, x: str) -> str:
        """All nodes; every node's name starts with its piece's name and `/`."""
        for name, piece in zip(self.names, self.pieces, strict=True):
            x = cast(Cell, piece).write(writer, x, name)
        return x


def build(genotype: Genotype, *, real: bool = False) -> Network:
    """The untrained network of a genotype, or its real-valued twin."""
    space, last = genotype.space, genotype.space.stages - 1
    pieces: list[tuple[str, nn.Module]] = [
        ("stem", Stem(space, space.node_channels(0, genotype.widths[0])))
    ]
    for stage, (width, cells) in enumerate(zip(genotype.widths, genotype.normal, strict=True)):
        for place, ops in enumerate(cells):
            cell = normal_cell(space, stage, width, [(op,) for op in ops], real=real)
            pieces.append((f"stage{stage}.cell{place}", cell))
        if stage < last:
            pair = (width, genotype.widths[stage + 1])
            chosen = [(op,) for op in genotype.reduction[stage]]
            cell = reduction_cell(space, stage, pair, chosen, real=real)
            pieces.append((f"reduction{stage}", cell))
    channels = nodes_channels(space, space.node_channels(last, genotype.widths[last]))
    return Network([*pieces, ("head", Head(channels, space.classes))])


def normal_cell(
    space: Space,
    stage: int,
    width: int,
    ops: Sequence[Sequence[OpName]],
    *,
    real: bool = False,
    partial: int = 1,
) -> Cell:
    """A normal cell of a stage at the width of that index."""
    node = space.node_channels(stage, width)
    sizes = (nodes_channels(space, node), node, node)
    binarizer = binarize.named(space.binarizer)
    return Cell(space, sizes, ops, 1, binarizer=binarizer, real=real, partial=partial)


def reduction_cell(
    space: Space,
    stage: int,
    widths: tuple[int, int],
    ops: Sequence[Sequence[OpName]],
    *,
    real: bool = False,
    partial: int = 1,
) -> Cell:
    """The reduction after a stage; `widths` are the indices before and after it."""
    before, after = widths
    out = space.node_channels(stage + 1, after)
    sizes = (nodes_channels(space, space.node_channels(stage, before)), out // 2, out)
    binarizer = binarize.named(space.binarizer)
    return Cell(space, sizes, ops, 2, binarizer=binarizer, real=real, partial=partial)
