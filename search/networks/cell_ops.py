"""The operations of DARTS-type cells, in every form: real, binary weights, child, residual.

`Recipe` (`cell_recipe.py`) says what convolutions are made of; the operations are written once.
What every convolution of a node reads (its ReLU, or its sign) is computed once per node, by the
cell.

Sources: forms "real" and the operations themselves, DARTS (Liu et al., 2019, arXiv:1806.09055;
quark0/darts, cnn/operations.py); "weights", BNAS (Chen et al., 2020, arXiv:1911.10862); "child",
CP-NAS (Zhuo et al., 2020, arXiv:2005.00057); "residual", YanjingLi0202/DCP-NAS,
models/darts_ops_step2_sc_out.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.cells import CellOp
from binas.search.networks.cell_recipe import Recipe
from binas.search.ops import Activation, BinaryConv

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter

# Kernel, dilation, number of (depthwise, 1x1) units.
SEPARABLE: dict[CellOp, tuple[int, int, int]] = {
    "sep3": (3, 1, 2),
    "sep5": (5, 1, 2),
    "dil3": (3, 2, 1),
    "dil5": (5, 2, 1),
}
PLAIN: dict[CellOp, tuple[int, int]] = {  # kernel, dilation
    "conv3": (3, 1),
    "conv5": (5, 1),
    "dilconv3": (3, 2),
    "dilconv5": (5, 2),
}


class Prepare(nn.Module):
    """What all convolutions of a node read: its ReLU, its sign, or itself."""

    def __init__(self, channels: int, recipe: Recipe) -> None:
        """Only a learned sign has parameters."""
        super().__init__()
        self.order = recipe.order
        self.sign = recipe.sign(channels) if self.order == "child" else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same shape."""
        if self.sign is not None:
            return cast(Tensor, self.sign(x))
        return functional.relu(x) if self.order == "real" else x

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Relu, BinaryQuantize, or nothing."""
        if self.sign is not None:
            return self.sign.write(writer, x, f"{name}.sign")
        return writer.node("Relu", [x], name=f"{name}.relu") if self.order == "real" else x


class SeparableUnit(nn.Module):
    """Depthwise convolution and 1x1, of a prepared node.

    real, weights  depthwise → 1x1 → norm
    child          depthwise → norm → sign → 1x1 → norm
    residual       norm → depthwise → norm → PReLU → sign → 1x1 → norm (+ x at stride 1) → PReLU
    """

    def __init__(
        self, channels: int, kernel: int, recipe: Recipe, *, stride: int = 1, dilation: int = 1
    ) -> None:
        """Channels stay; padding keeps the size at stride 1."""
        super().__init__()
        order = recipe.order
        child, residual = order == "child", order == "residual"
        self.first = recipe.norm(channels) if residual else None
        self.depthwise = recipe.conv(
            channels,
            channels,
            kernel,
            stride=stride,
            dilation=dilation,
            depthwise=True,
            binary_input=child,
        )
        self.middle = recipe.norm(channels) if child or residual else None
        self.activation = recipe.activation(channels) if residual else None
        self.sign = recipe.sign(channels) if child or residual else None
        self.pointwise = recipe.conv(channels, channels, 1, binary_input=child or residual)
        self.norm = recipe.norm(channels)
        self.last = recipe.activation(channels) if residual else None
        self.shortcut = residual and stride == 1

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """[N, C, H, W] → [N, C, P, Q], times the gain."""
        y = x if self.first is None else self.first(x)
        y = self.depthwise(y)
        y = y if self.middle is None else self.middle(y)
        y = y if self.activation is None else self.activation(y)
        y = y if self.sign is None else self.sign(y)
        y = self.pointwise(y)
        if self.last is None:
            return cast(Tensor, self.norm(y, gain))
        y = self.norm(y)
        y = self.last(y + x if self.shortcut else y)
        return cast(Tensor, y if gain is None else y * gain)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """The nodes in the order of `forward`."""
        y = x
        steps = ("first", "depthwise", "middle", "activation", "sign", "pointwise", "norm")
        for step in steps:
            if (module := getattr(self, step)) is not None:
                y = module.write(writer, y, f"{name}.{step}")
        if self.last is None:
            return y
        if self.shortcut:
            y = writer.node("Add", [y, x], name=f"{name}.add")
        return cast(Activation, self.last).write(writer, y, f"{name}.last")


class Separable(nn.Module):
    """sep3, sep5 (two units) and dil3, dil5 (one, dilated)."""

    def __init__(self, op: CellOp, channels: int, recipe: Recipe, stride: int) -> None:
        """The first unit carries stride and dilation."""
        super().__init__()
        kernel, dilation, count = SEPARABLE[op]
        first = SeparableUnit(channels, kernel, recipe, stride=stride, dilation=dilation)
        rest = [SeparableUnit(channels, kernel, recipe) for _ in range(count - 1)]
        self.units = nn.ModuleList([first, *rest])
        self.between = nn.ModuleList(Prepare(channels, recipe) for _ in rest)

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """The prepared node [N, C, H, W] → [N, C, P, Q], times the gain."""
        for unit, prepare in zip(self.units, self.between, strict=False):
            x = prepare(unit(x))
        return cast(Tensor, self.units[-1](x, gain))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Unit after unit."""
        for place, unit in enumerate(self.units):
            if place:
                x = cast(Prepare, self.between[place - 1]).write(writer, x, f"{name}.{place}")
            x = cast(SeparableUnit, unit).write(writer, x, f"{name}.unit{place}")
        return x


class Plain(nn.Module):
    """A dense convolution and its norm: conv3, conv5, dilconv3, dilconv5.

    Source: EBNAS (sscckk/EBNAS), whose cells have no depthwise convolutions.
    """

    def __init__(self, op: CellOp, channels: int, recipe: Recipe, stride: int) -> None:
        """Channels stay."""
        super().__init__()
        kernel, dilation = PLAIN[op]
        binary = recipe.order == "child"
        self.conv = recipe.conv(
            channels, channels, kernel, stride=stride, dilation=dilation, binary_input=binary
        )
        self.norm = recipe.norm(channels)

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """The prepared node [N, C, H, W] → [N, C, P, Q], times the gain."""
        return cast(Tensor, self.norm(self.conv(x), gain))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Convolution and norm."""
        return self.norm.write(writer, self.conv.write(writer, x, name), f"{name}.norm")


class CellPool(nn.Module):
    """3x3 maximum or mean, padded taps not counted; then a batch norm, where the recipe has it."""

    def __init__(self, op: CellOp, channels: int, recipe: Recipe, stride: int) -> None:
        """No parameters but the norm's."""
        super().__init__()
        self.op, self.stride = op, stride
        self.norm = recipe.norm(channels) if recipe.pool_norm else None

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """The raw node [N, C, H, W] → [N, C, P, Q], times the gain."""
        if self.op == "max":
            y = functional.max_pool2d(x, 3, self.stride, 1)
        else:
            y = functional.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)
        if self.norm is not None:
            return cast(Tensor, self.norm(y, gain))
        return y if gain is None else y * gain

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """MaxPool or AveragePool, and the norm."""
        kind = "MaxPool" if self.op == "max" else "AveragePool"
        sizes: dict[str, Any] = {
            "kernel_shape": [3, 3],
            "strides": [self.stride] * 2,
            "pads": [1] * 4,
        }
        y = writer.node(kind, [x], name=name, **sizes)
        return y if self.norm is None else self.norm.write(writer, y, f"{name}.norm")


class Pointwise(nn.Module):
    """1x1 convolution between cells, with real activations: ReLU → 1x1 → norm.

    At stride 2 it is the factorised reduction: two 1x1 of half the outputs, the second on the image
    shifted by one pixel. In the residual form: norm → 1x1 → norm → PReLU. With binary inputs a sign
    stands in the ReLU's place, or behind the first norm.
    """

    def __init__(
        self, channels: int, out_channels: int, recipe: Recipe, *, stride: int = 1
    ) -> None:
        """Weights are binary unless the recipe's are real; activations as the recipe says."""
        super().__init__()
        residual, half = recipe.order == "residual", out_channels // 2
        binary = recipe.signed_inputs
        self.first = recipe.norm(channels) if residual else None
        self.rectified = not (residual or binary)
        self.sign = recipe.sign(channels) if binary else None
        sizes = (out_channels,) if stride == 1 else (out_channels - half, half)
        self.convs = nn.ModuleList(
            recipe.conv(channels, n, 1, stride=stride, binary_input=binary) for n in sizes
        )
        self.norm = recipe.norm(out_channels)
        self.last = recipe.activation(out_channels) if residual else None

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """[N, C, H, W] → [N, K, P, Q], times the gain."""
        y = x if self.first is None else self.first(x)
        y = functional.relu(y) if self.rectified else y
        y = y if self.sign is None else self.sign(y)
        if len(self.convs) == 1:
            y = self.convs[0](y)
        else:
            y = torch.cat([self.convs[0](y), self.convs[1](y[:, :, 1:, 1:])], dim=1)
        if self.last is None:
            return cast(Tensor, self.norm(y, gain))
        y = self.last(self.norm(y))
        return cast(Tensor, y if gain is None else y * gain)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Odd pixels are taken by a depthwise 2x2 of one tap: no convolution may start inside."""
        y = x if self.first is None else self.first.write(writer, x, f"{name}.first")
        y = writer.node("Relu", [y], name=f"{name}.relu") if self.rectified else y
        convs = [cast(BinaryConv, conv) for conv in self.convs]
        parts = [convs[0].write(writer, self._signed(writer, y, f"{name}.sign"), name)]
        if len(convs) == 2:
            tap = np.zeros((convs[1].weight.shape[1], 1, 2, 2), np.float32)
            tap[..., 1, 1] = 1.0
            inputs = [y, writer.constant(tap, f"{name}.odd.w")]
            y = writer.node("Conv", inputs, name=f"{name}.odd", strides=[2, 2], group=len(tap))
            y = self._signed(writer, y, f"{name}.shifted.sign")
            parts.append(convs[1].write(writer, y, f"{name}.shifted", stride=1))
        y = (
            parts[0]
            if len(parts) == 1
            else writer.node("Concat", parts, name=f"{name}.cat", axis=1)
        )
        y = self.norm.write(writer, y, f"{name}.norm")
        if self.last is None:
            return y
        return cast(Activation, self.last).write(writer, y, f"{name}.last")

    def _signed(self, writer: ModelWriter, x: str, name: str) -> str:
        return x if self.sign is None else self.sign.write(writer, x, name)


def operation(op: CellOp, channels: int, recipe: Recipe, stride: int) -> nn.Module | None:
    """The module of an operation; None for "none" and for "skip" at stride 1."""
    if op in SEPARABLE:
        return Separable(op, channels, recipe, stride)
    if op in PLAIN:
        return Plain(op, channels, recipe, stride)
    if op in ("max", "avg"):
        return CellPool(op, channels, recipe, stride)
    if op == "skip" and stride == 2:
        return Pointwise(channels, channels, recipe, stride=2)
    return None


def reads_prepared(op: CellOp) -> bool:
    """Whether an operation reads the prepared node, not the raw one."""
    return op in SEPARABLE or op in PLAIN
