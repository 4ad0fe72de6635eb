"""A genotype's network without its classifier: one feature map per resolution.

BNAS transfers its networks to face verification, DCP-NAS to re-identification and detection; all
three read feature maps where the classifier read them, or before each reduction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from binas.core.errors import UsageError
from binas.search.genotype import AnyGenotype
from binas.search.networks.bars import Network
from binas.search.networks.bars_cell import Cell as StageCell
from binas.search.networks.cell import Cell
from binas.search.networks.darts import DartsBody
from binas.search.networks.family import AnyNetwork, build

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class Level(NamedTuple):
    """A feature map [N, channels, H / stride, W / stride]."""

    channels: int
    stride: int


class Backbone(nn.Module):
    """Feature maps of a network of stages or of DARTS cells, finest first.

    Args:
        genotype: What to build.
        real: The real-valued twin.

    Attributes:
        levels: Channels and stride of every map.

    Raises:
        UsageError: A broad network, whose cells do not follow one another.
    """

    def __init__(self, genotype: AnyGenotype, *, real: bool = False) -> None:
        """Untrained."""
        super().__init__()
        self.input_shape = genotype.space.input_shape
        self.net = _without_classifier(build(genotype, real=real))
        self.levels = self._levels()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [N, C, H, W] → what stands before each reduction, and the last map."""
        return tuple(self._maps(x))

    def write(self, writer: ModelWriter, x: str) -> tuple[str, ...]:
        """All nodes; the names of the maps."""
        if isinstance(self.net, Network):
            found: list[str] = []
            for name, piece in zip(self.net.names, self.net.pieces, strict=True):
                if _halves(piece):
                    found.append(x)
                x = cast(StageCell, piece).write(writer, x, name)
            return (*found, x)
        before, last = self.net.stem.write(writer, x)
        found = []
        for place, cell in enumerate(self.net.cells):
            if _halves(cell):
                found.append(last)
            before, last = last, cast(Cell, cell).write(writer, before, last, f"cell{place}")
        return (*found, last)

    def _maps(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        if isinstance(self.net, Network):
            for piece in self.net.pieces:
                if _halves(piece):
                    found.append(x)
                x = piece(x)
            return [*found, x]
        before, last = self.net.stem(x)
        for cell in self.net.cells:
            if _halves(cell):
                found.append(last)
            before, last = last, cell(before, last)
        return [*found, last]

    def _levels(self) -> tuple[Level, ...]:
        training = self.training
        self.eval()
        with torch.no_grad():
            maps = self._maps(torch.zeros(1, *self.input_shape))
        self.train(training)
        return tuple(Level(m.shape[1], self.input_shape[1] // m.shape[2]) for m in maps)


def _without_classifier(net: AnyNetwork) -> Network | DartsBody:
    if isinstance(net, Network):
        named = zip(net.names, net.pieces, strict=True)
        return Network([(name, piece) for name, piece in named if name != "head"])
    if isinstance(net.body, DartsBody):
        net.body.head = nn.Identity()  # type: ignore[assignment]
        return net.body
    raise UsageError(
        "a broad network has no feature maps one after another",
        hint="give a genotype of stages or of DARTS cells",
    )


def _halves(piece: nn.Module) -> bool:
    return isinstance(piece, Cell | StageCell) and piece.stride == 2
