"""What a network costs: counts, predicted latency, and the expected latency of a distribution.

The expectation is differentiable, so a search can lower it; at one-hot parameters it is exactly the
sum of the table's entries for that network, because whole cells are priced (`menu.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from binas.core.layer import Layer
from binas.search.complexity import keep_probability
from binas.search.genotype import Buildable, CellOps, Genotype
from binas.search.menu import Ends, Menu
from binas.search.space import OpName

if TYPE_CHECKING:
    from binas.search.networks.bars_supernet import Choice

Form = Literal["hinge", "two-sided", "product", "log-product"]


class Prices(Protocol):
    """What a `LatencyTable` is to a search."""

    def latency_ns(self, layer: Layer) -> float:
        """What a step adds to a network; a MeasureError where it is not known."""
        ...

    @property
    def fixed_ns(self) -> float:
        """What every run costs besides its steps."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Operations and weights of a network, two operations per multiply-accumulate.

    Attributes:
        biops: Operations on bits.
        flops: Operations on floats in convolutions and dense layers.
        binary_weights: Weights of one bit.
        real_weights: Weights of 32 bits; biases and batch norm not counted.
    """

    biops: int
    flops: int
    binary_weights: int
    real_weights: int

    @property
    def binary_weight_bytes(self) -> int:
        """Bytes of the binary weights, without padding."""
        return -(-self.binary_weights // 8)


def count(layers: Iterable[Layer]) -> Counts:
    """Counts of a network's steps."""
    biops = flops = binary = real = 0
    for layer in layers:
        biops += 2 * layer.binary_macs
        flops += 2 * (layer.macs - layer.binary_macs)
        if layer.op in ("binary_conv", "conv"):
            R, S = layer.kernel
            weights = layer.out_channels * R * S * (layer.in_shape[3] // layer.groups)
            binary += weights if layer.weight_bits == 1 else 0
            real += weights if layer.weight_bits == 32 else 0
    return Counts(biops=biops, flops=flops, binary_weights=binary, real_weights=real)


def layers_of(genotype: Buildable, *, real: bool = False) -> tuple[Layer, ...]:
    """The fused steps of a network (or of its real-valued twin), in order."""
    from binas.compile.build import plan_layers  # noqa: PLC0415 (onnx)
    from binas.compile.model import BinaryModel  # noqa: PLC0415 (onnx)
    from binas.search.export import export  # noqa: PLC0415 (onnx)
    from binas.search.networks.family import build  # noqa: PLC0415 (a cycle: networks know costs)

    proto = export(build(genotype, real=real), genotype)
    return tuple(layer for _, layer in plan_layers(BinaryModel.of(proto, "genotype")))


def predict_ns(genotype: Buildable, table: Prices) -> float:
    """Predicted latency of a network: the table's entries of its plan plus the fixed cost.

    Raises:
        MeasureError: The table lacks a step.
    """
    return sum(table.latency_ns(layer) for layer in layers_of(genotype)) + table.fixed_ns


@dataclass(frozen=True, slots=True)
class Lut:
    """The menu with prices: tensors of float64 ns, of the menu's shapes; `fixed_ns` per run."""

    menu: Menu
    stem: Tensor  # [width, end]
    normal: Tensor  # [stage, width, choice, end]
    reduction: Tensor  # [stage, width before, width after, choice, end]
    head: Tensor  # [width]
    normal_ops: Tensor  # [choice, edge]: index of the operation
    reduction_ops: Tensor
    fixed_ns: float

    @staticmethod
    def of(menu: Menu, table: Prices) -> Lut:
        """Price a menu.

        Raises:
            MeasureError: The table lacks a step of the space.
        """
        prices = [table.latency_ns(layer) for layer in menu.layers]

        def price(ends: Sequence[Ends]) -> list[list[float]]:
            return [[sum(prices[step] for step in steps) for steps in end] for end in ends]

        def double(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.float64)

        space, widths, edges = menu.space, len(menu.space.widths), len(menu.space.edges)
        reduction = [[[price(c) for c in row] for row in stage] for stage in menu.reduction]
        shape = (space.stages - 1, widths, widths, len(menu.reduction_choices), 2)
        return Lut(
            menu,
            double(price(menu.stem)),
            double([[price(cells) for cells in stage] for stage in menu.normal]),
            double(reduction).reshape(shape),
            double([sum(prices[step] for step in steps) for steps in menu.head]),
            _indices(menu.normal_choices, space.normal_ops).reshape(-1, edges),
            _indices(menu.reduction_choices, space.reduction_ops).reshape(-1, edges),
            table.fixed_ns,
        )

    def predict_ns(self, genotype: Genotype) -> float:
        """The same number as `predict_ns(genotype, table)`, without planning."""
        from binas.search.networks.bars_supernet import one_hot  # noqa: PLC0415 (a cycle)

        return float(self.expected_ns(one_hot(genotype)))

    def fastest_ns(self) -> float:
        """What the fastest network of the space takes: stage by stage, the best for each width."""
        space, before = self.menu.space, self.stem
        for stage in range(space.stages):
            inner, last = self.normal[stage].amin(dim=1).unbind(dim=1)
            kept = [(depth - 1) * inner + last + before[:, 0] for depth in space.depths if depth]
            best = torch.stack(kept + [before[:, 1]] * (space.min_cells == 0)).amin(dim=0)
            if stage < space.stages - 1:
                pairs = best[:, None, None] + self.reduction[stage].amin(dim=2)
                before = pairs.amin(dim=0)
        return float((best + self.head).amin()) + self.fixed_ns

    def fastest_at(self, depths: Sequence[int], widths: Sequence[int]) -> float:
        """What the fastest network of one layout takes: each cell the fastest."""
        total = self.stem[widths[0], int(depths[0] == 0)] + self.head[widths[-1]]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            inner, last = self.normal[stage, width].amin(dim=0)
            total = total + (max(depth - 1, 0) * inner + last if depth else 0.0)
            if stage < len(depths) - 1:
                cells = self.reduction[stage, width, widths[stage + 1]]
                total = total + cells[:, int(depths[stage + 1] == 0)].amin()
        return float(total) + self.fixed_ns

    def expected_ns(self, p: Choice) -> Tensor:
        """E[T] of independent choices with probabilities p; differentiable, float64 ns.

        T = T_stem + Σ_s Σ_j (q_{s,j+1} T_inner(s,j) + p_{s,j} T_last(s,j)) + Σ_s T_red(s) + T_head
        with q_{s,j} = Σ_{j' >= j} p_{s,j'} the probability that cell j is kept;
        q_{s,j+1} = q_{s,j} - p_{s,j}.
        Source: ours; ProxylessNAS (Cai et al., 2019, arXiv:1812.00332, eq. 2) extended to BARS'
        depth and width, TF-NAS (Hu et al., 2020, arXiv:2008.05314) for the sink.
        """
        space = self.menu.space
        depth, width = [d.double() for d in p.depth], [w.double() for w in p.width]
        empty = [_at_depth(space.depths, d, 0) for d in depth]
        total = self.head @ width[-1] + self.fixed_ns
        total = total + width[0] @ (self.stem @ torch.stack([1 - empty[0], empty[0]]))
        for stage in range(space.stages):
            q = keep_probability(space.depths, depth[stage])
            for place, cell in enumerate(p.normal[stage], start=1):
                last = _at_depth(space.depths, depth[stage], place)
                ends = torch.stack([q[place - 1] - last, last])
                choices = _joint(cell.double(), self.normal_ops)
                total = total + width[stage] @ (self.normal[stage] @ ends) @ choices
            if stage < space.stages - 1:
                ends = torch.stack([1 - empty[stage + 1], empty[stage + 1]])
                choices = _joint(p.reduction[stage].double(), self.reduction_ops)
                pairs = (self.reduction[stage] @ ends) @ choices
                total = total + width[stage] @ pairs @ width[stage + 1]
        return total


def penalised(loss: Tensor, ratio: Tensor, form: Form, strength: float) -> Tensor:
    """The training loss with its latency term.

    Args:
        loss: Cross entropy.
        ratio: Expected latency over budget, T/T*.
        form: hinge        CE + λ max(0, T/T* - 1): no pressure when the budget is met;
              two-sided    CE + λ |T/T* - 1|: pins the target (TF-NAS, arXiv:2008.05314, eq. 8);
              product      CE · max(1, T/T*)^λ: BARS' R(F) with a = 0 (aw_nas, objective/image.py);
              log-product  CE · (1 + log T/T*)^λ above e^-1: ProxylessNAS' mul#log, in units of T*.
        strength: λ.
    """
    if form == "hinge":
        return loss + strength * (ratio - 1).clamp(min=0)
    if form == "two-sided":
        return loss + strength * (ratio - 1).abs()
    factor = ratio.clamp(min=1) if form == "product" else (1 + ratio.log()).clamp(min=1e-3)
    return loss * factor.to(loss.dtype) ** strength


def _joint(edges: Tensor, choices: Tensor) -> Tensor:
    """Probability of each valid cell [choices], given [edges, ops]; invalid cells left out."""
    picked = edges[torch.arange(edges.shape[0]), choices]
    joint = picked.prod(dim=1)
    return joint / joint.sum().clamp(min=1e-30)


def _at_depth(depths: tuple[int, ...], p: Tensor, depth: int) -> Tensor:
    return p[depths.index(depth)] if depth in depths else torch.zeros_like(p[0])


def _indices(choices: Sequence[CellOps], ops: Sequence[OpName]) -> Tensor:
    return torch.tensor([[ops.index(op) for op in choice] for choice in choices])
