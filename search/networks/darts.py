"""DARTS networks: normal cells, a reduction after one and two thirds; build, supernet, derive.

Sources: DARTS (Liu et al., 2019, arXiv:1806.09055; quark0/darts, cnn/model.py and
model_search.py); partial channels and edge normalisation: PC-DARTS (Xu et al., 2020,
arXiv:1907.05737; yuhuixu1993/PC-DARTS).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from torch.nn import functional

from binas.search.cells import CellSpace
from binas.search.networks.bars import Head
from binas.search.networks.cell import Cell
from binas.search.networks.cell_family import CellMaker
from binas.search.networks.cell_recipe import Recipe
from binas.search.networks.supernet import ALL, Mixture
from binas.search.ops import NormConv

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter


class DartsBody(nn.Module):
    """Stem, cells, head, of derived cells or of whole ones."""

    def __init__(self, space: CellSpace, make: CellMaker, _recipe: Recipe) -> None:
        """Channels double at every reduction; between cells stands nothing.

        Args:
            space: For sizes.
            make: Makes a cell of type 0 (normal) or 1 (reduction).
        """
        super().__init__()
        self.stem = CellStem(space)
        before, last = self.stem.channels
        halved, width = space.stem == "imagenet", space.channels
        self.kinds = tuple(int(place in space.halving_cells) for place in range(space.cells))
        cells: list[Cell] = []
        for kind in self.kinds:
            width *= 1 + kind
            cells.append(make(kind, (before, last, width), stride=1 + kind, halve_first=halved))
            before, last, halved = last, space.nodes * width, bool(kind)
        self.cells = nn.ModuleList(cells)
        self.head = Head(last, space.classes)

    def forward(self, x: Tensor, mixture: Mixture | None = None, drop_path: float = 0.0) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""
        before, last = self.stem(x)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            part = ALL if mixture is None else mixture.of(kind)
            before, last = last, cell(before, last, part, drop_path)
        return cast(Tensor, self.head(last))

    def write(self, writer: ModelWriter, x: str) -> str:
        """All nodes; every name starts with its piece's name and `/`."""
        before, last = self.stem.write(writer, x)
        for place, cell in enumerate(self.cells):
            before, last = last, cast(Cell, cell).write(writer, before, last, f"cell{place}")
        return self.head.write(writer, last, "head")


class CellStem(nn.Module):
    """The two inputs of the first cell: [N, 3, H, W] → twice [N, 3C, H, W], or C at 1/4 and 1/8.

    "cifar" is a 3x3 and a batch norm; "imagenet" three 3x3 of stride 2, as DARTS has them.
    """

    def __init__(self, space: CellSpace) -> None:
        """All of it is real."""
        super().__init__()
        colours, width = space.input_shape[0], space.channels
        self.imagenet = space.stem == "imagenet"
        if self.imagenet:
            sizes = ((colours, width // 2), (width // 2, width), (width, width))
            self.convs = nn.ModuleList(NormConv(c, k, 3, 2) for c, k in sizes)
            self.channels = (width, width)
        else:
            self.convs = nn.ModuleList([NormConv(colours, 3 * width, 3)])
            self.channels = (3 * width, 3 * width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs 0 and 1 of the first cell."""
        first: Tensor = self.convs[0](x)
        if not self.imagenet:
            return first, first
        first = self.convs[1](functional.relu(first))
        return first, self.convs[2](functional.relu(first))

    def write(self, writer: ModelWriter, x: str) -> tuple[str, str]:
        """Conv, Relu, ..."""
        convs = [cast(NormConv, conv) for conv in self.convs]
        first = convs[0].write(writer, x, "stem/conv0")
        if not self.imagenet:
            return first, first
        y = writer.node("Relu", [first], name="stem/relu0")
        first = convs[1].write(writer, y, "stem/conv1")
        y = writer.node("Relu", [first], name="stem/relu1")
        return first, convs[2].write(writer, y, "stem/conv2")
