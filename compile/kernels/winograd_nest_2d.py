"""The loop nest of `float_winograd_2d.py`: a row of tiles, a group of them, row by row of products.

What lies between the steps is on the stack: one transformed row of inputs (`winograd_line.py`), its
transformed columns [product][tile][C], products [product][tile][vector], and the sums of all output
channels, [block][row][column][vector].
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, minimal_filtering
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import Block
from binas.compile.kernels.frame import Frame, floordiv
from binas.compile.kernels.winograd_axes import Phase, Shape
from binas.compile.kernels.winograd_line import Line, factors
from binas.compile.kernels.winograd_rows import Group, groups, pieces
from binas.compile.kernels.winograd_steps import Inputs, Products, index, madd, multiply, repeat
from binas.compile.kernels.winograd_tiles import unroll
from binas.compile.tile import Tile
from binas.core.layer import Layer


class Place(NamedTuple):
    """A group of tiles: which image, its first output row and first tile, how many."""

    image: Any
    row: Any
    tile: Any
    tiles: int


class Row(NamedTuple):
    """A row of products: of which phase, which of them, and what each output row takes of it."""

    phase: Phase
    product: Any
    factors: Any


class Nest:
    """Emits one kernel."""

    def __init__(
        self, made: Frame, layer: Layer, tile: Tile, isa: Isa, shape: Shape, most: int
    ) -> None:
        """Lay out what is on the stack, for groups of `most` tiles at most."""
        self.frame, self.layer, self.tile, self.isa, self.shape = made, layer, tile, isa, shape
        self.epilogue = epilogue.Epilogue(made, isa)
        self.blocks = cutting.blocks(layer, tile, shape.per_channel)
        self.groups = groups(shape.tiles(layer)[1], most)
        self.most, self.held = self.groups[0].tiles, tile.pixels // shape.along.outputs
        self.line = Line(made, layer, isa, shape, self.most)
        # The last vector of a tile's channels may be wider than what is left of them.
        self.plane = self.most * shape.channels + isa.lanes
        self.columns = v.array("float32", shape.along.filtered * self.plane)
        widest = max(block.vectors for block in self.blocks)
        size = shape.along.products * self.held * widest * isa.lanes
        self.products = v.array("float32", size)
        self.width = self.most * shape.along.outputs
        vectors = sum(block.count * block.vectors for block in self.blocks)
        self.size = vectors * shape.down.outputs * self.width * isa.lanes
        self.sums = v.array("float32", self.size)

    def emit(self) -> None:
        """The called rows of tiles."""
        N, m, rows = (
            self.layer.out_shape[0],
            self.shape.down.outputs,
            self.shape.tiles(self.layer)[0],
        )
        with self.frame.units(0, N * rows) as unit:
            image = floordiv(unit, rows)
            for group in self.groups:
                with repeat(group.repeat) as again:
                    tile = group.start + again * group.tiles
                    self._group(Place(image, (unit - image * rows) * m, tile, group.tiles))

    def _group(self, place: Place) -> None:
        """All outputs of a group of tiles."""
        V, (above, left, _, _) = self.isa.lanes, self.layer.padding
        h = place.row * self.layer.stride[0] - above
        w = place.tile * (self.shape.along.outputs * self.layer.stride[1]) - left
        with v.loop(0, self.size // V) as i:
            v.store(self.sums, i * V, v.splat(0.0, V, "float32"), V)
        for phase in self.shape.down.phases:
            with self._each(phase.filtering.products) as product:
                self.line.emit(place.image, h, w, place.tiles, phase, product)
                self._columns(place.tiles)
                parts = factors(self.frame, phase, product, self.isa) if phase.filtered else None
                self._row(place.tiles, Row(phase, product, parts))
        self._finish(place)

    def _columns(self, tiles: int) -> None:
        """The filtered phases of the line's columns, transformed."""
        C, axis, plane = self.shape.channels, self.shape.along, 0
        for phase in axis.phases:
            if phase.filtered:
                with self._each(tiles) as tile:
                    for first, width in pieces(C, self.isa.lanes):
                        line = (tile * axis.outputs * axis.stride + phase.first) * C + first

                        def read(unit: int, line: Any = line, width: int = width) -> v.Register:
                            at = line + unit * (axis.stride * C)
                            return v.Register("float32", width, v.load(self.line.values, at, width))

                        steps = madd(self.isa, width)
                        found = minimal_filtering.inputs(phase.filtering, read, steps)
                        for product, value in enumerate(found, plane):
                            at = product * self.plane + tile * C + first
                            v.store(self.columns, at, value.get(), width)
                plane += phase.filtering.products

    def _row(self, tiles: int, row: Row) -> None:
        """A row of products of all tiles and output channels, added to the sums."""
        along, C = self.shape.along, self.shape.channels
        which = row.phase.weight + (row.product if row.phase.filtered else 0)
        for block in self.blocks:
            lanes = block.vectors * self.isa.lanes
            with repeat(block.count) as number:
                weight = block.weight + number * (lanes * self.shape.per_channel)
                weight = weight + which * (along.weights * C * lanes)
                for group in groups(tiles, self.held):
                    with repeat(group.repeat) as again:
                        tile = group.start + again * group.tiles
                        self._multiply(block, group, tile, weight)
                        with self._each(group.tiles) as held, self._each(block.vectors) as j:
                            vector = held * block.vectors + j
                            totals = self._totals(block, group, vector)
                            first = self._at(block, number, tile + held, j)
                            self._add(block, row, totals, first)

    def _each(self, count: int) -> Any:
        """A loop that LLVM does not unroll: its passes are long as they are."""
        return v.loop(0, count + self.frame.zero)

    def _multiply(self, block: Block, group: Group, tile: Any, weight: Any) -> None:
        """The products of some tiles: sums over channels."""
        axis, C, plane = self.shape.along, self.shape.channels, 0
        lanes = block.vectors * self.isa.lanes
        passes = unroll(C, self.tile.unroll)
        for phase in axis.phases:
            with self._each(phase.filtering.products) as product:
                if phase.filtered:
                    first = (plane + product) * self.plane + tile * C
                    inputs = Inputs(self.columns, index(first), C)
                    which = phase.weight + product
                else:
                    first = ((tile * axis.outputs + product) * axis.stride + phase.first) * C
                    apart = axis.outputs * axis.stride * C
                    inputs = Inputs(self.line.values, index(first), apart)
                    which = v.const(phase.weight)
                to = (phase.product + product) * (group.tiles * block.vectors)
                made = Products(self.products, to, group.tiles, block.vectors)
                weights = self.frame.parameters["w"], weight + which * (C * lanes)
                steps = v.const(C // passes) + self.frame.zero
                multiply(inputs, weights, made, steps, passes, self.isa)
            plane += phase.filtering.products if phase.filtered else 0

    def _totals(self, block: Block, group: Group, vector: Any) -> list[v.Register]:
        """What a row of products gives the columns of a tile: the sum of all phases."""
        V, totals = self.isa.lanes, list[v.Register]()
        for phase in self.shape.along.phases:
            places = [
                (phase.product + i) * (group.tiles * block.vectors) + vector
                for i in range(phase.filtering.products)
            ]
            products = [v.Register("float32", V, v.load(self.products, p * V, V)) for p in places]
            made = minimal_filtering.outputs(phase.filtering, products, madd(self.isa, V))
            add = madd(self.isa, V)
            both = [] if not totals else zip(totals, made, strict=True)
            totals = [add(x, Fraction(1), y) for x, y in both] or made
        return totals

    def _add(self, block: Block, row: Row, totals: list[v.Register], first: Any) -> None:
        """The columns of a tile, each added to the outputs that the row has a part in."""
        V, fused = self.isa.lanes, self.isa.fused
        for column, total in enumerate(totals):
            rows = [(row.product, None)] if row.factors is None else enumerate(row.factors)
            for output, factor in rows:
                at = first + (output * self.width + column) * (block.vectors * V)
                old = v.load(self.sums, at, V)
                new = old + total.get()
                if factor is not None:
                    new = v.fma(total.get(), factor.get(), old, V, fused=fused)
                v.store(self.sums, at, new, V)

    def _at(self, block: Block, number: Any, tile: Any, vector: Any) -> Any:
        """Where a vector of sums lies: of the first column of a tile, in the first row."""
        before = block.first // self.isa.lanes + number * block.vectors
        column = tile * (self.shape.along.outputs * block.vectors) + vector
        return (before * (self.shape.down.outputs * self.width) + column) * self.isa.lanes

    def _finish(self, place: Place) -> None:
        """The outputs inside of the image, handed to the epilogue."""
        V, (_, P, Q, _) = self.isa.lanes, self.layer.out_shape
        column = place.tile * self.shape.along.outputs
        rows = v.minimum(P - place.row, self.shape.down.outputs)
        columns = v.minimum(Q - column, place.tiles * self.shape.along.outputs)
        for block in self.blocks:
            with repeat(block.count) as number, v.loop(0, rows) as row, v.loop(0, columns) as o:
                at = self._at(block, number, 0, 0) + (row * self.width + o) * (block.vectors * V)
                vectors = [v.load(self.sums, at + j * V, V) for j in range(block.vectors)]
                pixel = (place.image * P + place.row + row) * Q + column + o
                channel = block.first + number * self.tile.channels
                self.epilogue.emit(pixel, channel, vectors, block.channels)
