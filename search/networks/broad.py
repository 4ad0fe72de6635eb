"""Broad networks (BCNN): convolution blocks, enhancement cells, and a head that reads all of them.

A block is deep cells (stride 1) and a broad cell (stride 2, channels doubled) of one topology; an
enhancement cell has the other. The head averages the concatenation of every block's features and
every enhancement cell's output, each embedded (R: ReLU, 1x1, norm) and reduced (F: factorised
reduction) to the last resolution.

Source: BNAS-v2 (Ding et al., 2020, arXiv:2009.08886; zixiangding/BNASv2, BNASv2CLR and BNASv2PC),
the topology of BNAS (Ding et al., 2020, arXiv:2001.06679). The binary form is ours: cells as in
CP-NAS, embeddings with binary weights and real activations, stem and classifier real.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from binas.search.cells import CellSpace
from binas.search.networks.bars import Head
from binas.search.networks.cell import Cell
from binas.search.networks.cell_family import CellMaker
from binas.search.networks.cell_ops import Pointwise
from binas.search.networks.cell_recipe import Recipe
from binas.search.networks.darts import CellStem
from binas.search.networks.supernet import ALL, Mixture

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter

TAPPED = 2  # blocks whose outputs the first enhancement cell reads, as in the published code


class BroadBody(nn.Module):
    """Stem, blocks, enhancement cells, head, of derived cells or of whole ones."""

    def __init__(self, space: CellSpace, make: CellMaker, recipe: Recipe) -> None:
        """Type 0 are convolution cells, type 1 enhancement cells.

        Args:
            space: For sizes.
            make: Makes a cell of either type.
            recipe: What the embeddings are made of; their batch norms always have parameters.
        """
        super().__init__()
        recipe = replace(recipe, affine=True)
        self.stem = CellStem(space)
        before, last = self.stem.channels
        halved, width = space.stem == "imagenet", space.channels
        self.broad = space.halving_cells
        cells, features, outputs = [], [], []
        for place in range(space.cells):
            kind = int(place in self.broad)
            block = sum(place > at for at in self.broad)
            if kind:
                features.append(Embedding(last, width, recipe, space.blocks - block))
            width *= 1 + kind
            cells.append(make(0, (before, last, width), stride=1 + kind, halve_first=halved))
            before, last, halved = last, space.nodes * width, bool(kind)
            if kind and block < TAPPED:
                whole = block == space.blocks - 1  # the last one keeps its channels
                steps = space.blocks - 1 - block
                outputs.append(Embedding(last, last if whole else width, recipe, steps))
        self.cells, self.features = nn.ModuleList(cells), nn.ModuleList(features)
        self.outputs = nn.ModuleList(outputs)
        pair = [output.channels for output in outputs]
        pair = [*pair, *pair][:2]  # one block: its output twice
        enhancements, embeddings = [], []
        for place in range(space.enhancements):
            enhancements.append(make(1, (pair[0], pair[1], width), stride=1, halve_first=False))
            full = space.nodes * width
            pair = [last, full]
            last_one = place == space.enhancements - 1
            embeddings.append(Embedding(full, full if last_one else width, recipe, 0))
            last = full
        self.enhancements = nn.ModuleList(enhancements)
        self.embeddings = nn.ModuleList(embeddings)
        self.features_channels = sum(
            cast(Embedding, e).channels for e in (*self.features, *self.embeddings)
        )
        self.head = Head(self.features_channels, space.classes)

    def forward(self, x: Tensor, mixture: Mixture | None = None, drop_path: float = 0.0) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes]."""
        convolution = ALL if mixture is None else mixture.of(0)
        enhancement = ALL if mixture is None else mixture.of(1)
        before, last = self.stem(x)
        features: list[Tensor] = []
        taps: list[Tensor] = []
        for place, cell in enumerate(self.cells):
            if place in self.broad:
                features.append(self.features[len(features)](last))
            before, last = last, cell(before, last, convolution, drop_path)
            if place in self.broad and len(taps) < len(self.outputs):
                taps.append(self.outputs[len(taps)](last))
        block = last
        before, last = [*taps, *taps][:2]
        for place, (cell, embed) in enumerate(zip(self.enhancements, self.embeddings, strict=True)):
            out = cell(before, last, enhancement, drop_path)
            features.append(embed(out))
            before, last = last if place else block, out
        return cast(Tensor, self.head(torch.cat(features, dim=1)))

    def write(self, writer: ModelWriter, x: str) -> str:
        """All nodes; every name starts with its piece's name and `/`."""
        before, last = self.stem.write(writer, x)
        features: list[str] = []
        taps: list[str] = []
        for place, cell in enumerate(self.cells):
            if place in self.broad:
                embed = cast(Embedding, self.features[len(features)])
                features.append(embed.write(writer, last, f"feature{len(features)}"))
            before, last = last, cast(Cell, cell).write(writer, before, last, f"cell{place}")
            if place in self.broad and len(taps) < len(self.outputs):
                output = cast(Embedding, self.outputs[len(taps)])
                taps.append(output.write(writer, last, f"output{len(taps)}"))
        block = last
        before, last = [*taps, *taps][:2]
        for place, cell in enumerate(self.enhancements):
            out = cast(Cell, cell).write(writer, before, last, f"enhancement{place}")
            embed = cast(Embedding, self.embeddings[place])
            features.append(embed.write(writer, out, f"embedding{place}"))
            before, last = last if place else block, out
        y = writer.node("Concat", features, name="head/concat", axis=1)
        return self.head.write(writer, y, "head")


class Embedding(nn.Module):
    """R, then F as often as the resolution has to be halved: [N, C, H, W] → [N, K, P, Q]."""

    def __init__(self, channels: int, out_channels: int, recipe: Recipe, halvings: int) -> None:
        """F keeps the channels."""
        super().__init__()
        self.channels = out_channels
        reduce = [Pointwise(out_channels, out_channels, recipe, stride=2) for _ in range(halvings)]
        self.steps = nn.ModuleList([Pointwise(channels, out_channels, recipe), *reduce])

    def forward(self, x: Tensor) -> Tensor:
        """Embed and reduce."""
        for step in self.steps:
            x = step(x)
        return x

    def write(self, writer: ModelWriter, x: str, name: str) -> str:
        """Step after step."""
        for place, step in enumerate(self.steps):
            x = cast(Pointwise, step).write(writer, x, f"{name}/{place}")
        return x
