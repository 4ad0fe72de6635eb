"""Candidate operations: modules that compute in torch and write themselves as ONNX.

The block is BARS': batch norm → sign → binary convolution → scale → ReLU → + raw input, so that the
real-valued path never passes a ReLU or a batch norm.
Source: BARS, 2020, arXiv:2011.10804; walkerning/aw_nas, aw_nas/ops/bnn_ops.py at d14c25a.

What differs: batch norm and sign belong to the *node* that is read (`BatchSign`), not to each edge
that reads it. A value is then binarised and packed once however many convolutions read it, in the
epilogue of the kernel that made it; a batch norm per edge would cost a pass over memory per edge.

Every module has `write(writer, x, name)`, which adds its nodes to an ONNX graph and returns the
value. Folding is done in float64 here and rounded once, by the writer. `real=True` builds the twin:
the same graph without sign and with real weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.binarize import Binarizer
from binas.search.folding import affine, write_norm, write_shift

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class BatchSign(nn.Module):
    """Batch norm, then sign: [N, C, H, W] float → ±1 (the twin leaves out the sign)."""

    def __init__(self, channels: int, binarizer: Binarizer, *, real: bool = False) -> None:
        """Statistics move by 0.1 per batch, not by BARS' 0.9, which a last batch would own."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.binarizer, self.real = binarizer, real

    def forward(self, x: Tensor) -> Tensor:
        """The binarised value."""
        normed: Tensor = self.norm(x)
        return normed if self.real else self.binarizer.activations(normed)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """A plain BatchNormalization and a BinaryQuantize; the compiler folds the first."""
        normed = write_norm(writer, self.norm, x, f"{name}.norm")
        return normed if self.real else writer.binary_quantize(normed, name=f"{name}.sign")


class Sign(nn.Module):
    """Sign: [N, C, H, W] float → ±1 (the twin leaves it out).

    With a shifting binariser sign(x + b) with b learned per channel: RSign.
    Source: Liu et al., ReActNet, 2020, arXiv:2003.03488, eq. 5.
    """

    def __init__(self, channels: int, binarizer: Binarizer, *, real: bool = False) -> None:
        """A shift starts at 0."""
        super().__init__()
        shifted = binarizer.shifted and not real
        self.shift = nn.Parameter(torch.zeros(channels)) if shifted else None
        self.binarizer, self.real = binarizer, real

    def forward(self, x: Tensor) -> Tensor:
        """The binarised value."""
        if self.real:
            return x
        y = x if self.shift is None else x + self.shift[:, None, None]
        return self.binarizer.activations(y)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """A BinaryQuantize, an Add before it where the sign is shifted."""
        if self.real:
            return x
        return writer.binary_quantize(write_shift(writer, x, self.shift, name), name=name)


class Activation(nn.Module):
    """PReLU per channel; RPReLU with a shifting binariser: PReLU(x + b) + c.

    Source: Liu et al., ReActNet, 2020, arXiv:2003.03488, eq. 6.
    """

    def __init__(self, channels: int, binarizer: Binarizer) -> None:
        """Slopes start at 0.25, shifts at 0."""
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        shifted = binarizer.shifted
        self.before = nn.Parameter(torch.zeros(channels)) if shifted else None
        self.after = nn.Parameter(torch.zeros(channels)) if shifted else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same shape."""
        if self.before is None or self.after is None:
            return functional.prelu(x, self.slope)
        y = functional.prelu(x + self.before[:, None, None], self.slope)
        return y + self.after[:, None, None]

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """PRelu, between Adds of constants where it is shifted."""
        y = write_shift(writer, x, self.before, f"{name}.before")
        slope = writer.constant(self.slope.detach().numpy()[:, None, None], f"{name}.slope")
        y = writer.node("PRelu", [y, slope], name=name)
        return write_shift(writer, y, self.after, f"{name}.after")


class BinaryConv(nn.Module):
    """Convolution with binary weights and their scale: [N, C, H, W] → float [N, K, P, Q].

    It reads ±1, or real values where `binary_input` is False. Padded taps are 0 after the sign and
    count nothing, or hold `pad_value`, which the real-valued twin leaves at 0.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        binarizer: Binarizer,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        pad_value: float = 0.0,
        binary_input: bool = True,
        real: bool = False,
    ) -> None:
        """Xavier-normal weights, as BARS."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, channels // groups, kernel, kernel))
        nn.init.xavier_normal_(self.weight)
        learned = None if real else binarizer.weights.initial(self.weight)
        self.learned = None if learned is None else nn.Parameter(learned)
        self.stride, self.padding = stride, dilation * (kernel // 2)
        self.dilation, self.groups, self.pad_value = dilation, groups, 0.0 if real else pad_value
        self.binary_input, self.real, self.binarizer = binary_input, real, binarizer

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; in evaluation sums stay integers until scaled, as in the kernels."""
        if self.real:
            return self._convolve(x, self.weight)
        if self.training:
            return self._convolve(x, self.binarizer.weights(self.weight, self.learned))
        signs = torch.where(self.weight >= 0, 1.0, -1.0).to(x.dtype)
        return self._convolve(x, signs) * self._scale().to(x.dtype)[:, None, None]

    def _convolve(self, x: Tensor, w: Tensor) -> Tensor:
        padding = self.padding
        if self.pad_value and padding:
            x, padding = functional.pad(x, (padding,) * 4, value=self.pad_value), 0
        sizes = (self.stride, padding, self.dilation, self.groups)
        return functional.conv2d(x, w, None, *sizes)

    def _scale(self) -> Tensor:
        return self.binarizer.weights.scale(self.weight, self.learned)

    def write(self, writer: ModelWriter, x: str, name: str, *, stride: int | None = None) -> str:
        """One BinaryConv2d, or the twin's Conv; at another stride where x has been thinned out."""
        w = self.weight.detach().double().numpy()
        strides, dilations = [stride or self.stride] * 2, [self.dilation] * 2
        pads = [self.padding] * 4
        if self.real:
            inputs = [x, writer.constant(w, f"{name}.w")]
            sizes: dict[str, Any] = {"strides": strides, "pads": pads, "dilations": dilations}
            return writer.node("Conv", inputs, name=name, group=self.groups, **sizes)
        return writer.binary_conv2d(
            x,
            np.where(w >= 0, 1.0, -1.0).transpose(0, 2, 3, 1),
            scale=self._scale().numpy(),
            bias=np.zeros(w.shape[0]),
            strides=strides,
            pads=pads,
            dilations=dilations,
            group=self.groups,
            pad_value=self.pad_value,
            name=name,
        )


class NormConv(nn.Module):
    """Real convolution and batch norm (the stem): [N, C, H, W] → [N, K, P, Q]."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        """Padding keeps the size at stride 1."""
        super().__init__()
        self.conv = nn.Conv2d(
            channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise."""
        y: Tensor = self.norm(self.conv(x))
        return y

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """One Conv: the batch norm is folded into weights and bias, in float64."""
        a, b = affine(self.norm)
        w = self.conv.weight.detach().double().numpy() * a[:, None, None, None]
        inputs = [x, writer.constant(w, f"{name}.w"), writer.constant(b, f"{name}.b")]
        strides, pads = list(self.conv.stride), [int(self.conv.padding[0])] * 4
        group = self.conv.groups
        return writer.node("Conv", inputs, name=name, strides=strides, pads=pads, group=group)


class Unit(nn.Module):
    """Operation "b3" on an edge: ReLU(binary 3x3) + shortcut."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        binarizer: Binarizer,
        *,
        stride: int = 1,
        real: bool = False,
    ) -> None:
        """A binary 3x3 convolution."""
        super().__init__()
        self.conv = BinaryConv(channels, out_channels, 3, binarizer, stride=stride, real=real)

    def forward(self, bits: Tensor, shortcut: Tensor) -> Tensor:
        """Convolve the node's bits and add its raw value, brought to the output's shape."""
        return functional.relu(self.conv(bits)) + shortcut

    def write(self, writer: ModelWriter, bits: str, shortcut: str, name: str) -> str:
        """BinaryConv2d, Relu, Add: one fused step."""
        y = writer.node("Relu", [self.conv.write(writer, bits, name)], name=f"{name}.relu")
        return writer.node("Add", [y, shortcut], name=f"{name}.add")


class Pool(nn.Module):
    """Operation "pool" on an edge: 3x3 mean (padded taps not counted), then batch norm.

    The batch norm has no parameters, as in DARTS (Liu et al., 2019, arXiv:1806.09055): it only
    brings the pool to the scale of the other operations. At stride 2 the result is doubled.
    """

    def __init__(self, channels: int, *, stride: int = 1) -> None:
        """Keep the stride."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool and normalise."""
        pooled = functional.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)
        y: Tensor = self.norm(pooled)
        return torch.cat([y, y], dim=1) if self.stride == 2 else y

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """AveragePool, BatchNormalization, and Concat at stride 2."""
        strides = [self.stride] * 2
        y = writer.node(
            "AveragePool", [x], name=name, kernel_shape=[3, 3], strides=strides, pads=[1] * 4
        )
        y = write_norm(writer, self.norm, y, f"{name}.norm")
        if self.stride == 1:
            return y
        return writer.node("Concat", [y, y], name=f"{name}.double", axis=1)


class Halve(nn.Module):
    """The shortcut at stride 2: 2x2 mean, twice along C: [N, C, H, W] → [N, 2C, H/2, W/2]."""

    def forward(self, x: Tensor) -> Tensor:
        """No parameters: a real 1x1 convolution here would be the only real layer of the body."""
        y = functional.avg_pool2d(x, 2)
        return torch.cat([y, y], dim=1)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """AveragePool and Concat."""
        y = writer.node("AveragePool", [x], name=name, kernel_shape=[2, 2], strides=[2, 2])
        return writer.node("Concat", [y, y], name=f"{name}.double", axis=1)
