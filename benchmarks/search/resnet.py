"""The 1-bit ResNet that searches are compared with: the block of the space, stacked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from binas.search.binarize import BI_REAL, Binarizer
from binas.search.networks.bars import Head, Network
from binas.search.ops import BatchSign, Halve, NormConv, Unit

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class Stem(nn.Module):
    """A real 3x3 and ReLU."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        """Its batch norm is folded when written."""
        super().__init__()
        self.conv = NormConv(channels, out_channels, 3, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] images → [N, K, P, Q]."""
        return functional.relu(self.conv(x))

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Conv and Relu."""
        return writer.node(
            "Relu", [self.conv.write(writer, x, f"{name}/conv")], name=f"{name}/relu"
        )


class Block(nn.Module):
    """Batch norm → sign → binary 3x3 → ReLU → + shortcut: one shortcut per convolution.

    Source: Liu et al., Bi-Real Net, 2018, arXiv:1808.00278; the order of batch norm and the
    shortcut of a block that halves are the space's own.
    """

    def __init__(self, channels: int, binarizer: Binarizer, *, halves: bool) -> None:
        """A block that halves rows and columns doubles channels."""
        super().__init__()
        self.sign = BatchSign(channels, binarizer)
        out = channels * (2 if halves else 1)
        self.unit = Unit(channels, out, binarizer, stride=2 if halves else 1)
        self.halve = Halve() if halves else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, K, P, Q]."""
        shortcut = x if self.halve is None else self.halve(x)
        y: Tensor = self.unit(self.sign(x), shortcut)
        return y

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """The sign's nodes, the shortcut's, the unit's."""
        bits = self.sign.write(writer, x, f"{name}/in")
        shortcut = x if self.halve is None else self.halve.write(writer, x, f"{name}/halve")
        return self.unit.write(writer, bits, shortcut, f"{name}/unit")


def resnet(
    input_channels: int, classes: int, *, channels: int, blocks: tuple[int, ...] = (2, 2, 2)
) -> Network:
    """A ResNet of `blocks` convolutions a stage, channels doubling from stage to stage.

    Args:
        input_channels: Of the images.
        classes: Outputs.
        channels: Of the first stage.
        blocks: Binary convolutions per stage; two make what ResNet calls one block.
    """
    pieces: list[tuple[str, nn.Module]] = [("stem", Stem(input_channels, channels, 2))]
    for stage, count in enumerate(blocks):
        for place in range(count):
            halves = stage > 0 and place == 0
            pieces.append((f"stage{stage}.block{place}", Block(channels, BI_REAL, halves=halves)))
            channels *= 2 if halves else 1
    return Network([*pieces, ("head", Head(channels, classes))])
