"""The cell of a BARS space, as a derived network and the supernet use it.

The same `Cell` serves a derived network (one operation per edge) and the supernet (all of them,
weighted by gates, channels masked), so the two cannot drift apart. Its source and what differs are
said in `bars.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.binarize import Binarizer
from binas.search.networks.supernet import ALL, CellMixture, shuffle
from binas.search.ops import BatchSign, BinaryConv, Halve, NormConv, Pool, Unit
from binas.search.space import OpName, Space

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


@dataclass(frozen=True, slots=True)
class Masks:
    """Which channels live, as soft masks [C, 1, 1]; they multiply what convolutions *read*.

    A mask on what a node emits would be undone: batch norm and sign turn a zero into ±1.
    """

    cell_in: Tensor
    processed: Tensor
    node: Tensor


@dataclass(frozen=True, slots=True)
class _Node:
    """A node during a pass: all of it, what operations see, in their readers' shape, the rest."""

    whole: Tensor
    value: Tensor
    raw: Tensor
    passed: Tensor
    bits: Tensor | None


class Cell(nn.Module):
    """A normal cell (stride 1) or a reduction cell (stride 2).

    Args:
        space: For its nodes and its process convolution.
        sizes: Channels of the cell's input, of its processed input, of one of its nodes.
        ops: Per edge, the operations present; exactly one in a derived network.
        stride: 1 or 2.
        binarizer: Gradients and scales.
        real: Build the real-valued twin.
        partial: k of partial channels (PC-DARTS): operations see the first 1/k of a node, the rest
            passes by, and the node's channels are shuffled.
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
        partial: int = 1,
    ) -> None:
        """Make the operations that are named, and the binarisation of the nodes they read."""
        super().__init__()
        channels, processed, out = sizes
        if processed % partial:
            raise ValueError(f"{processed} channels in {partial} parts")
        self.edges, self.nodes, self.ops, self.stride = space.edges, space.nodes, ops, stride
        self.partial = partial
        # Behind a real process convolution a normal cell does not read the sign of its input.
        read = space.process == "binary" or stride == 2
        self.sign = BatchSign(channels, binarizer, real=real) if read else None
        self.process = (
            NormConv(channels, processed, 1)
            if space.process == "real"
            else BinaryConv(channels, processed, 1, binarizer, real=real)
        )
        self.halve = Halve()
        if stride == 2:
            self.shortcut = BinaryConv(
                channels, nodes_channels(space, out), 3, binarizer, stride=2, real=real
            )
        self.signs, self.units, self.pools = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for edge, ((source, _), present) in enumerate(zip(self.edges, ops, strict=True)):
            width, step = (processed, stride) if source == 0 else (out, 1)
            width, made = width // partial, out // partial
            if "b3" in present:
                self.units[str(edge)] = Unit(width, made, binarizer, stride=step, real=real)
                if str(source) not in self.signs:
                    self.signs[str(source)] = BatchSign(width, binarizer, real=real)
            if "pool" in present:
                self.pools[str(edge)] = Pool(width, stride=step)

    def forward(
        self,
        x: Tensor,
        gates: Tensor | None = None,
        masks: Masks | None = None,
        mixture: CellMixture = ALL,
    ) -> Tensor:
        """[N, C, H, W] → [N, K, P, Q].

        Args:
            x: The previous cell's output.
            gates: Weight of each operation of each edge [edges, ops]; None: the mixture's.
            masks: Live channels; None: all.
            mixture: What runs; all by default.
        """
        live = None if masks is None else masks.cell_in
        bits = x if self.sign is None else _masked(self.sign(x), live)
        gates = mixture.weights(max(map(len, self.ops))) if gates is None else gates
        nodes: list[_Node] = []
        mask = None if masks is None else masks.processed
        self._append(nodes, self._processed(x, bits, live), mask)
        for target in range(1, self.nodes + 1):
            total, rest = self._sums(target, nodes, gates, mixture)
            if total is None and gates is None and mixture.live is None:
                raise ValueError("a node without input; Genotype refuses such cells")
            # A path sampled at random may leave a node without input.
            total = torch.zeros_like(nodes[0].raw) if total is None else total
            if self.partial > 1:
                rest = torch.zeros_like(nodes[0].passed) if rest is None else rest
                total = shuffle(torch.cat([total, rest], dim=1), self.partial)
            self._append(nodes, total, None if masks is None else masks.node)
        out = torch.cat([node.whole for node in nodes[1:]], dim=1)
        return out + (self.shortcut(bits) if self.stride == 2 else x)

    def _processed(self, x: Tensor, bits: Tensor, live: Tensor | None) -> Tensor:
        """ReLU(binary 1x1(bits)), or norm(real 1x1(ReLU(x)))."""
        if isinstance(self.process, BinaryConv):
            return functional.relu(self.process(bits))
        processed: Tensor = self.process(_masked(functional.relu(x), live))
        return processed

    def _append(self, nodes: list[_Node], x: Tensor, mask: Tensor | None) -> None:
        """A node, and what its readers need of it."""
        place = len(nodes)
        value = x[:, : x.shape[1] // self.partial]
        rest = x[:, x.shape[1] // self.partial :]
        halved = self.stride == 2 and place == 0
        raw = self.halve(value) if halved else value  # in the shape of the nodes that read it
        passed = self.halve(rest) if halved and self.partial > 1 else rest
        bits = self.signs[str(place)](value) if str(place) in self.signs else None
        bits = bits if mask is None or bits is None else bits * mask
        nodes.append(_Node(x, value, raw, passed, bits))

    def _sums(
        self, target: int, nodes: Sequence[_Node], gates: Tensor | None, mixture: CellMixture
    ) -> tuple[Tensor | None, Tensor | None]:
        """Σ of the operations into a node, and of what passes by them."""
        total: Tensor | None = None
        rest: Tensor | None = None
        for edge, (source, into) in enumerate(self.edges):
            if into != target:
                continue
            for place, op in enumerate(self.ops[edge]):
                if op == "none" or not mixture.runs(edge, place):
                    continue
                if gates is not None and _is_off(gates[edge, place]):
                    continue
                y = self._operate(op, edge, nodes[source])
                y = y if gates is None else y * gates[edge, place]
                total = y if total is None else total + y
            if self.partial > 1 and (mixture.live is None or mixture.live[edge]):
                y = nodes[source].passed
                y = y if mixture.edges is None else y * mixture.edges[edge]
                rest = y if rest is None else rest + y
        return total, rest

    def _operate(self, op: OpName, edge: int, node: _Node) -> Tensor:
        if op == "skip":
            return node.raw
        if op == "pool":
            return cast(Tensor, self.pools[str(edge)](node.value))
        return cast(Tensor, self.units[str(edge)](node.bits, node.raw))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """The nodes of a derived cell; names start with `name/`."""
        bits = x if self.sign is None else self.sign.write(writer, x, f"{name}/in")
        values = [self._write_process(writer, x, bits, name)]
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

    def _write_process(self, writer: ModelWriter, x: str, bits: str, name: str) -> str:
        """Node 0; like the sign, the ReLU of the input is a step of the piece that made it."""
        if isinstance(self.process, BinaryConv):
            process = self.process.write(writer, bits, f"{name}/process")
            return writer.node("Relu", [process], name=f"{name}/process.relu")
        rectified = writer.node("Relu", [x], name=f"{name}/in.relu")
        return self.process.write(writer, rectified, f"{name}/process")


def _masked(x: Tensor, live: Tensor | None) -> Tensor:
    return x if live is None else x * live


def _is_off(gate: Tensor) -> bool:
    """Whether an operation need not run: its weight is exactly 0 and nothing learns from it.

    A GPU is not asked: every look would wait for it, and 0 · y costs it less.
    """
    return gate.device.type == "cpu" and not gate.requires_grad and float(gate) == 0.0


def nodes_channels(space: Space, channels: int) -> int:
    """Channels of a cell's output, given those of a node."""
    return space.nodes * channels
