"""The real-valued pieces of reference networks: pools, transitions, shortcuts; `reference.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.ops import NormConv

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class Transition(nn.Module):
    """ReLU → 2x2 maximum at stride 1 → 3x3 blur at stride 2 → 1x1 → norm; real, QuickNet's.

    The blur is fixed: [1, 2, 1] in rows and columns, over 16 (Zhang, 2019, arXiv:1904.11486).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        """The blur is no parameter."""
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        blur = (row[:, None] * row / 16).expand(channels, 1, 3, 3).clone()
        self.register_buffer("blur", blur)
        self.conv = NormConv(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, K, H/2, W/2]."""
        y, blur = functional.max_pool2d(functional.relu(x), 2, 1), cast(Tensor, self.blur)
        y = functional.conv2d(y, blur, None, 2, 1, groups=len(blur))
        return cast(Tensor, self.conv(y))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Relu, MaxPool, a depthwise Conv, Conv."""
        y = writer.node("Relu", [x], name=f"{name}/relu")
        y = writer.node("MaxPool", [y], name=f"{name}/max", kernel_shape=[2, 2], strides=[1, 1])
        blur = cast(Tensor, self.blur)
        w = writer.constant(blur.numpy(), f"{name}/blur.w")
        y = writer.node(
            "Conv",
            [y, w],
            name=f"{name}/blur",
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            group=len(blur),
        )
        return self.conv.write(writer, y, f"{name}/conv")


class PooledConv(nn.Module):
    """Bi-Real Net's shortcut where a stage halves: 2x2 mean, real 1x1, norm."""

    def __init__(self, channels: int, out_channels: int) -> None:
        """The only real convolutions of the body."""
        super().__init__()
        self.conv = NormConv(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, K, H/2, W/2]."""
        return cast(Tensor, self.conv(functional.avg_pool2d(x, 2)))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """AveragePool, Conv."""
        return self.conv.write(writer, AvgPool().write(writer, x, f"{name}.pool"), name)


class AvgPool(nn.Module):
    """2x2 mean."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C, H/2, W/2]."""
        return functional.avg_pool2d(x, 2)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """AveragePool."""
        return writer.node("AveragePool", [x], name=name, kernel_shape=[2, 2], strides=[2, 2])


class MaxPool(nn.Module):
    """Maximum over windows."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        """Padding counts nothing."""
        super().__init__()
        self.sizes = (kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C, P, Q]."""
        return functional.max_pool2d(x, *self.sizes)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """MaxPool."""
        kernel, stride, padding = self.sizes
        return writer.node(
            "MaxPool",
            [x],
            name=name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
        )


class Then(nn.Module):
    """A convolution (or nothing), then ReLU."""

    def __init__(self, conv: NormConv | None) -> None:
        """Nothing of its own."""
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, K, P, Q]."""
        return functional.relu(x if self.conv is None else self.conv(x))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Conv, Relu."""
        y = x if self.conv is None else self.conv.write(writer, x, f"{name}/conv")
        return writer.node("Relu", [y], name=f"{name}/relu")
