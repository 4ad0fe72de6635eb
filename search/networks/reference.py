"""Networks made by hand, to compare with: Bi-Real-18, ReActNet-A, QuickNet, ResNet-20.

Sources: Bi-Real Net (Liu et al., 2018, arXiv:1808.00278; liuzechun/Bi-Real-net); ReActNet (Liu et
al., 2020, arXiv:2003.03488; liuzechun/ReActNet, mobilenet); QuickNet (Bannink et al., 2021,
arXiv:2011.09398; larq/zoo, sota/quicknet.py); ResNet-20 (He et al., 2015, arXiv:1512.03385, section
4.2) with a shortcut around every binary convolution, as Bi-Real Net has them, and without real
convolutions between stem and classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.binarize import BI_REAL, REACTNET, Binarizer
from binas.search.networks.bars import Head, Network
from binas.search.networks.cell_recipe import Norm
from binas.search.networks.reference_pieces import (
    AvgPool,
    MaxPool,
    PooledConv,
    Then,
    Transition,
)
from binas.search.ops import Activation, BinaryConv, Halve, NormConv, Sign
from binas.search.reference import Reference

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter

Pieces = list[tuple[str, nn.Module]]


def build(reference: Reference, *, real: bool = False) -> Network:
    """The untrained network of a reference, or its real-valued twin."""
    match reference.name:
        case "bi-real-18":
            pieces, channels = _bi_real_18(reference, real=real)
        case "reactnet-a":
            pieces, channels = _reactnet_a(reference, real=real)
        case "quicknet":
            pieces, channels = _quicknet(reference, real=real)
        case "resnet-20":
            pieces, channels = _resnet_20(reference, real=real)
    return Network([*pieces, ("head", Head(channels, reference.classes))])


def _bi_real_18(reference: Reference, *, real: bool) -> tuple[Pieces, int]:
    """7x7 and pool, four stages of four units; a real 1x1 where a stage halves."""
    channels = reference.channels
    pieces: Pieces = [("stem", NormConv(reference.input_shape[0], channels, 7, 2))]
    pieces.append(("pool", MaxPool(3, 2, 1)))
    for stage in range(4):
        for place in range(4):
            halves = stage > 0 and place == 0
            before, channels = channels, channels << halves
            shortcut = PooledConv(before, channels) if halves else nn.Identity()
            unit = ShortcutUnit(before, channels, 3, 1 + halves, BI_REAL, shortcut, real=real)
            pieces.append((f"stage{stage}.unit{place}", unit))
    return pieces, channels


def _reactnet_a(reference: Reference, *, real: bool) -> tuple[Pieces, int]:
    """MobileNet with binary 3x3 and 1x1: 32, 64, 2 x 128, 2 x 256, 6 x 512, 2 x 1024 channels."""
    channels = reference.channels
    pieces: Pieces = [("stem", NormConv(reference.input_shape[0], channels, 3, 2))]
    for place, factor in enumerate((2, 4, 4, 8, 8, *[16] * 6, 32, 32)):
        out = factor * reference.channels
        stride = 2 if out > channels and place else 1  # 32 to 64 channels keeps the size
        pool: nn.Module = AvgPool() if stride == 2 else nn.Identity()
        spatial = ShortcutUnit(channels, channels, 3, stride, REACTNET, pool, real=real)
        pieces.append((f"block{place}.3x3", spatial))
        pieces.append((f"block{place}.1x1", Widening(channels, out, real=real)))
        channels = out
    return pieces, channels


def _quicknet(reference: Reference, *, real: bool) -> tuple[Pieces, int]:
    """A light stem to a quarter, four stages of four units, real transitions between them."""
    channels = reference.channels
    quarter = channels // 4
    pieces: Pieces = [
        ("stem.conv", Then(NormConv(reference.input_shape[0], quarter, 3, 2))),
        ("stem.depthwise", NormConv(quarter, quarter, 3, 2, groups=quarter)),
        ("stem.1x1", NormConv(quarter, channels, 1)),
    ]
    for stage in range(4):
        if stage:
            pieces.append((f"transition{stage}", Transition(channels, 2 * channels)))
            channels *= 2
        for place in range(4):
            pieces.append((f"stage{stage}.unit{place}", QuickUnit(channels, real=real)))
    pieces.append(("relu", Then(None)))
    return pieces, channels


def _resnet_20(reference: Reference, *, real: bool) -> tuple[Pieces, int]:
    """3x3, three stages of six units; channels double by repeating the 2x2 mean."""
    channels = reference.channels
    stem = NormConv(reference.input_shape[0], channels, 3, reference.stem_stride)
    pieces: Pieces = [("stem", stem)]
    for stage in range(3):
        for place in range(6):
            halves = stage > 0 and place == 0
            before, channels = channels, channels << halves
            shortcut: nn.Module = Halve() if halves else nn.Identity()
            unit = ShortcutUnit(before, channels, 3, 1 + halves, BI_REAL, shortcut, real=real)
            pieces.append((f"stage{stage}.unit{place}", unit))
    return pieces, channels


class ShortcutUnit(nn.Module):
    """Sign → binary convolution → norm → + shortcut (→ RPReLU): [N, C, H, W] → [N, K, P, Q].

    One real-valued shortcut per binary convolution: Bi-Real Net, section 3.1; with the shifts of a
    ReActNet binariser it is half of ReActNet's block. The twin has a ReLU instead of the sign.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        binarizer: Binarizer,
        shortcut: nn.Module,
        *,
        real: bool = False,
        sign: bool = True,
    ) -> None:
        """The shortcut brings the input to the output's shape; without a sign bits are given."""
        super().__init__()
        self.sign = Sign(channels, binarizer, real=real) if sign else None
        self.conv = BinaryConv(channels, out_channels, kernel, binarizer, stride=stride, real=real)
        self.norm, self.shortcut, self.real = Norm(out_channels), shortcut, real
        self.activation = Activation(out_channels, binarizer) if binarizer.shifted else None

    def forward(self, x: Tensor, bits: Tensor | None = None) -> Tensor:
        """Convolve the bits (the value's own, or given ones), add the values."""
        y = x if self.sign is None else self.sign(x)
        y = y if bits is None else bits
        y = functional.relu(y) if self.real and self.activation is None else y
        y = self.norm(self.conv(y)) + self.shortcut(x)
        return cast(Tensor, y if self.activation is None else self.activation(y))

    def write(self, writer: ModelWriter, x: str, name: str, bits: str = "") -> str:
        """Quantize, BinaryConv2d, BatchNormalization, Add: one fused step."""
        y = bits if self.sign is None else self.sign.write(writer, x, f"{name}/sign")
        if self.real and self.activation is None:
            y = writer.node("Relu", [y], name=f"{name}/relu")
        y = self.norm.write(writer, self.conv.write(writer, y, f"{name}/conv"), f"{name}/norm")
        around = x
        if not isinstance(self.shortcut, nn.Identity):
            around = cast(Halve, self.shortcut).write(writer, x, f"{name}/shortcut")
        y = writer.node("Add", [y, around], name=f"{name}/add")
        if self.activation is None:
            return y
        return self.activation.write(writer, y, f"{name}/activation")


class Widening(nn.Module):
    """ReActNet's 1x1: to double the channels two of them share an input, side by side."""

    def __init__(self, channels: int, out_channels: int, *, real: bool = False) -> None:
        """As many units as the channels grow by; one RSign for all of them.

        The published block has one RPReLU after the concatenation; it works per channel, so one in
        each unit is the same.
        """
        super().__init__()
        self.sign = Sign(channels, REACTNET, real=real)
        self.units = nn.ModuleList(
            ShortcutUnit(channels, channels, 1, 1, REACTNET, nn.Identity(), real=real, sign=False)
            for _ in range(out_channels // channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, K, H, W]."""
        bits = self.sign(x)
        return torch.cat([unit(x, bits) for unit in self.units], dim=1)

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """The units, and Concat."""
        units = [cast(ShortcutUnit, unit) for unit in self.units]
        bits = self.sign.write(writer, x, f"{name}/sign")
        parts = [unit.write(writer, x, f"{name}/{i}", bits) for i, unit in enumerate(units)]
        return parts[0] if len(parts) == 1 else writer.node("Concat", parts, name=name, axis=1)


class QuickUnit(nn.Module):
    """Sign → binary 3x3 padded with +1 → ReLU → norm → + x: QuickNet's unit."""

    def __init__(self, channels: int, *, real: bool = False) -> None:
        """Channels and size stay."""
        super().__init__()
        self.sign = Sign(channels, BI_REAL, real=real)
        self.conv = BinaryConv(channels, channels, 3, BI_REAL, pad_value=1.0, real=real)
        self.norm = Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same shape."""
        y: Tensor = self.norm(functional.relu(self.conv(self.sign(x))))
        return y + x

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Quantize, BinaryConv2d, Relu, BatchNormalization, Add: one fused step."""
        y = self.conv.write(writer, self.sign.write(writer, x, f"{name}/sign"), f"{name}/conv")
        y = self.norm.write(writer, writer.node("Relu", [y], name=f"{name}/relu"), f"{name}/norm")
        return writer.node("Add", [y, x], name=f"{name}/add")
