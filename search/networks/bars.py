"""The networks of a BARS space: cells, and build(genotype) → module.

A cell has one input node and `nodes` computing nodes, dense; its output is their concatenation plus
a cell shortcut: identity in a normal cell, a binary 3x3 of stride 2 in a reduction, so that no real
layer stands between stem and classifier. The process op is a binary 1x1.
Source: BARS, 2020, arXiv:2011.10804; walkerning/aw_nas, aw_nas/btcs/layer2.

What differs: the reduction's process op and shortcut change the stage width. In BARS the last kept
normal cell does, which needs a shortcut over only a part of the channels. And a node without any
input is not allowed: it would be a constant.

The same `Cell` serves a derived network (one operation per edge) and the supernet (all of them,
weighted by gates, channels masked), so the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.binarize import BI_REAL, Binarizer
from binas.search.genotype import Genotype
from binas.search.ops import BatchSign, BinaryConv, Halve, NormConv, Pool, Unit
from binas.search.space import OpName, Space

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter

# The binarisers of `binarize.py` train to within about a point of each other on digits; this one
# has a scale per channel, which costs nothing in a fused epilogue.
BINARIZER = BI_REAL


@dataclass(frozen=True, slots=True)
class Masks:
    """Which channels live, as soft masks [C, 1, 1]; they multiply what convolutions *read*.

    A mask on what a node emits would be undone: batch norm and sign turn a zero into ±1.
    """

    cell_in: Tensor
    processed: Tensor
    node: Tensor


class Cell(nn.Module):
    """A normal cell (stride 1) or a reduction cell (stride 2).

    Args:
        space: For its nodes.
        sizes: Channels of the cell's input, of its processed input, of one of its nodes.
        ops: Per edge, the operations present; exactly one in a derived network.
        stride: 1 or 2.
        binarizer: Gradients and scales.
        real: Build the real-valued twin.
    """

    def __init__(
        self,
        space: Space,
        sizes: tuple[int, int, int],
        ops: Sequence[Sequence[OpName]],
        stride: int,
        *,
        binarizer: Binarizer,
        real: bool = False,
    ) -> None:
        """Make the operations that are named, and the binarisation of the nodes they read."""
        super().__init__()
        channels, processed, out = sizes
        self.edges, self.nodes, self.ops, self.stride = space.edges, space.nodes, ops, stride
        self.sign = BatchSign(channels, binarizer, real=real)
        self.process = BinaryConv(channels, processed, 1, binarizer, real=real)
        if stride == 2:
            self.halve = Halve()
            self.shortcut = BinaryConv(
                channels, nodes_channels(space, out), 3, binarizer, stride=2, real=real
            )
        self.signs, self.units, self.pools = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for edge, ((source, _), present) in enumerate(zip(self.edges, ops, strict=True)):
            width, step = (processed, stride) if source == 0 else (out, 1)
            if "b3" in present:
                self.units[str(edge)] = Unit(width, out, binarizer, stride=step, real=real)
                if str(source) not in self.signs:
                    self.signs[str(source)] = BatchSign(width, binarizer, real=real)
            if "pool" in present:
                self.pools[str(edge)] = Pool(width, stride=step)

    def forward(self, x: Tensor, gates: Tensor | None = None, masks: Masks | None = None) -> Tensor:
        """[N, C, H, W] → [N, K, P, Q].

        Args:
            x: The previous cell's output.
            gates: Weight of each operation of each edge [edges, ops]; None: every one counts fully.
            masks: Live channels; None: all.
        """
        bits = self.sign(x)
        bits = bits if masks is None else bits * masks.cell_in
        values = [functional.relu(self.process(bits))]
        raw = [self.halve(values[0]) if self.stride == 2 else values[0]]  # in a node's shape
        packed: dict[int, Tensor] = {}
        if "0" in self.signs:
            mask = None if masks is None else masks.processed
            packed[0] = self._binarize(self.signs["0"], values[0], mask)
        for target in range(1, self.nodes + 1):
            total: Tensor | None = None
            for edge, (source, into) in enumerate(self.edges):
                if into != target:
                    continue
                for place, op in enumerate(self.ops[edge]):
                    y = self._operate(op, edge, values[source], raw[source], packed.get(source))
                    if y is None:
                        continue
                    y = y if gates is None else y * gates[edge, place]
                    total = y if total is None else total + y
            if total is None:
                raise ValueError("a node without input; Genotype refuses such cells")
            values.append(total)
            raw.append(total)
            if str(target) in self.signs:
                mask = None if masks is None else masks.node
                packed[target] = self._binarize(self.signs[str(target)], total, mask)
        out = torch.cat(values[1:], dim=1)
        return out + (self.shortcut(bits) if self.stride == 2 else x)

    def _binarize(self, sign: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
        bits: Tensor = sign(x)
        return bits if mask is None else bits * mask

    def _operate(
        self, op: OpName, edge: int, value: Tensor, raw: Tensor, bits: Tensor | None
    ) -> Tensor | None:
        if op == "none":
            return None
        if op == "skip":
            return raw
        if op == "pool":
            return cast(Tensor, self.pools[str(edge)](value))
        return cast(Tensor, self.units[str(edge)](bits, raw))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """The nodes of a derived cell; names start with `name/`."""
        bits = self.sign.write(writer, x, f"{name}/in")
        process = self.process.write(writer, bits, f"{name}/process")
        values = [writer.node("Relu", [process], name=f"{name}/process.relu")]
        live = [(source, self.ops[edge][0]) for edge, (source, _) in enumerate(self.edges)]
        halved = self.stride == 2 and ((0, "skip") in live or (0, "b3") in live)
        raw = [self.halve.write(writer, values[0], f"{name}/halve") if halved else values[0]]
        packed: dict[int, str] = {}
        for target in range(1, self.nodes + 1):
            source = target - 1
            if str(source) in self.signs:
                sign = cast(BatchSign, self.signs[str(source)])
                packed[source] = sign.write(writer, values[source], f"{name}/node{source}")
            terms: list[str] = []
            for edge, (source, into) in enumerate(self.edges):
                op, here = self.ops[edge][0], f"{name}/edge{source}-{into}"
                if into != target or op == "none":
                    continue
                if op == "skip":
                    terms.append(raw[source])
                elif op == "pool":
                    pool = cast(Pool, self.pools[str(edge)])
                    terms.append(pool.write(writer, values[source], here))
                else:
                    unit = cast(Unit, self.units[str(edge)])
                    terms.append(unit.write(writer, packed[source], raw[source], here))
            total = terms[0]
            for place, term in enumerate(terms[1:]):
                total = writer.node("Add", [total, term], name=f"{name}/node{target}.add{place}")
            values.append(total)
            raw.append(total)
        out = values[1]
        if self.nodes > 1:
            out = writer.node("Concat", values[1:], name=f"{name}/concat", axis=1)
        shortcut = x
        if self.stride == 2:
            shortcut = self.shortcut.write(writer, bits, f"{name}/shortcut")
        return writer.node("Add", [out, shortcut], name=f"{name}/out")


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


def build(genotype: Genotype, *, real: bool = False, binarizer: Binarizer = BINARIZER) -> Network:
    """The untrained network of a genotype, or its real-valued twin."""
    space, last = genotype.space, genotype.space.stages - 1
    pieces: list[tuple[str, nn.Module]] = [
        ("stem", Stem(space, space.node_channels(0, genotype.widths[0])))
    ]
    for stage, (width, cells) in enumerate(zip(genotype.widths, genotype.normal, strict=True)):
        for place, ops in enumerate(cells):
            cell = normal_cell(space, stage, width, [(op,) for op in ops], binarizer, real=real)
            pieces.append((f"stage{stage}.cell{place}", cell))
        if stage < last:
            pair = (width, genotype.widths[stage + 1])
            chosen = [(op,) for op in genotype.reduction[stage]]
            cell = reduction_cell(space, stage, pair, chosen, binarizer, real=real)
            pieces.append((f"reduction{stage}", cell))
    channels = nodes_channels(space, space.node_channels(last, genotype.widths[last]))
    return Network([*pieces, ("head", Head(channels, space.classes))])


def normal_cell(
    space: Space,
    stage: int,
    width: int,
    ops: Sequence[Sequence[OpName]],
    binarizer: Binarizer = BINARIZER,
    *,
    real: bool = False,
) -> Cell:
    """A normal cell of a stage at the width of that index."""
    node = space.node_channels(stage, width)
    sizes = (nodes_channels(space, node), node, node)
    return Cell(space, sizes, ops, 1, binarizer=binarizer, real=real)


def reduction_cell(
    space: Space,
    stage: int,
    widths: tuple[int, int],
    ops: Sequence[Sequence[OpName]],
    binarizer: Binarizer = BINARIZER,
    *,
    real: bool = False,
) -> Cell:
    """The reduction after a stage; `widths` are the indices before and after it."""
    before, after = widths
    out = space.node_channels(stage + 1, after)
    sizes = (nodes_channels(space, space.node_channels(stage, before)), out // 2, out)
    return Cell(space, sizes, ops, 2, binarizer=binarizer, real=real)


def nodes_channels(space: Space, channels: int) -> int:
    """Channels of a cell's output, given those of a node."""
    return space.nodes * channels
