"""The loop nest of `float_winograd_2d.py`: a row of tiles, a group of them, row by row of products.

What lies between the steps is on the stack: one transformed row of inputs (`winograd_line.py`), its
transformed columns [product][tile][C], products [product][tile][vector], and the sums of all output
channels, [row][column][vector].
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import epilogue, minimal_filtering
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import Block
from binas.compile.kernels.frame import Frame, floordiv
from binas.compile.kernels.winograd_axes import Phase, Shape
from binas.compile.kernels.winograd_line import Line, factors
from binas.compile.kernels.winograd_rows import groups, pieces
from binas.compile.kernels.winograd_steps import Inputs, Products, index, madd, multiply, repeat
from binas.compile.kernels.winograd_tiles import unroll
from binas.compile.tile import Tile
from binas.core import bits


class Place(NamedTuple):
    """A group of tiles: which image, its first output row and first tile, how many; which group.

    Groups are counted in an image, so that it is computed alike wherever in a batch it stands.
    """

    image: Any
    row: Any
    tile: Any
    tiles: int
    group: Any


class Row(NamedTuple):
    """A row of products: of which phase, which of them, and what each output row takes of it."""

    phase: Phase
    product: Any
    factors: Any


class Nest:
    """Emits one kernel."""

    def __init__(
        self, made: Frame, tile: Tile, isa: Isa, shape: Shape, blocks: list[Block], most: int
    ) -> None:
        """Lay out what is on the stack, for groups of `most` tiles at most."""
        self.frame, self.layer, self.tile, self.isa, self.shape = made, made.layer, tile, isa, shape
        self.blocks, self.epilogue = blocks, epilogue.Epilogue(made, isa)
        self.groups = groups(shape.tiles(made.layer)[1], most)
        self.most, self.held = self.groups[0].tiles, tile.pixels // shape.along.outputs
        self.line = Line(made, isa, shape, self.most)
        # The last vector of a tile's channels may be wider than what is left of them.
        self.plane = self.most * shape.channels + isa.lanes
        self.columns = v.array("float32", shape.along.filtered * self.plane)
        widest = max(block.vectors for block in blocks)
        size = shape.along.products * self.most * widest * isa.lanes
        self.products = v.array("float32", size)
        self.width = self.most * shape.along.outputs
        self.vectors = sum(block.count * block.vectors for block in blocks)
        self.size = shape.down.outputs * self.width * self.vectors * isa.lanes
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
            row = unit - image * rows
            first = row * sum(group.repeat for group in self.groups)
            for group in self.groups:
                with repeat(group.repeat) as again:
                    tile = group.start + again * group.tiles
                    self._group(Place(image, row * m, tile, group.tiles, first + again))
                first = first + group.repeat

    def _group(self, place: Place) -> None:
        """All outputs of a group of tiles.

        Every second group takes the rows of products of a phase from the last to the first: where
        the nearer caches do not hold all weights, they may hold those of the rows that were last.
        """
        V, (above, left, _, _) = self.isa.lanes, self.layer.padding
        h = place.row * self.layer.stride[0] - above
        w = place.tile * (self.shape.along.outputs * self.layer.stride[1]) - left
        with v.loop(0, self.size // V) as i:
            v.store(self.sums, i * V, v.splat(0.0, V, "float32"), V)
        self.line.clear(w, place.tiles)
        back = tirx.NE(place.group & 1, v.const(0))
        for phase in self.shape.down.phases:
            with self._each(phase.filtering.products) as step:
                last = phase.filtering.products - 1
                product = v.Register("int32", 1, tirx.Select(back, last - step, step)).get()
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
                self._multiply(block, tiles, weight)
                with self._each(tiles) as tile, self._each(block.vectors) as j:
                    totals = self._totals(tiles * block.vectors, tile * block.vectors + j)
                    self._add(row, totals, self._at(block, number, tile, j))

    def _each(self, count: int) -> Any:
        """A loop that LLVM does not unroll: its passes are long as they are."""
        return v.loop(0, count + self.frame.zero)

    def _multiply(self, block: Block, tiles: int, weight: Any) -> None:
        """The products of all tiles, sums over channels, one after the other: weights stay near."""
        C, lanes = self.shape.channels, block.vectors * self.isa.lanes
        passes = unroll(C, self.tile.unroll)
        for phase in self.shape.along.phases:
            with self._each(phase.filtering.products) as product:
                which = phase.weight + (product if phase.filtered else 0)
                weights = self.frame.parameters["w"], weight + which * (C * lanes)
                for group in groups(tiles, self.held):
                    with repeat(group.repeat) as again:
                        tile = group.start + again * group.tiles
                        to = ((phase.product + product) * tiles + tile) * block.vectors
                        made = Products(self.products, to, group.tiles, block.vectors)
                        inputs = self._inputs(phase, product, tile)
                        steps = v.const(C // passes) + self.frame.zero
                        multiply(inputs, weights, made, steps, passes, self.isa)

    def _inputs(self, phase: Phase, product: Any, tile: Any) -> Inputs:
        """What a product of a phase reads, from a tile on."""
        axis, C = self.shape.along, self.shape.channels
        if not phase.filtered:
            first = (tile * axis.outputs + product) * axis.stride + phase.first
            return Inputs(self.line.values, index(first * C), axis.outputs * axis.stride * C)
        before = [one for one in axis.phases if one.filtered and one.first < phase.first]
        plane = sum(one.filtering.products for one in before) + product
        return Inputs(self.columns, index(plane * self.plane + tile * C), C)

    def _totals(self, vectors: int, vector: Any) -> list[v.Register]:
        """What a row of products gives the columns of a tile: the sum of all phases."""
        V, totals = self.isa.lanes, list[v.Register]()
        for phase in self.shape.along.phases:
            products = range(phase.product, phase.product + phase.filtering.products)
            places = [product * vectors + vector for product in products]
            values = [v.Register("float32", V, v.load(self.products, p * V, V)) for p in places]
            made = minimal_filtering.outputs(phase.filtering, values, madd(self.isa, V))
            add = madd(self.isa, V)
            both = [] if not totals else zip(totals, made, strict=True)
            totals = [add(x, Fraction(1), y) for x, y in both] or made
        return totals

    def _add(self, row: Row, totals: list[v.Register], first: Any) -> None:
        """The columns of a tile, each added to the outputs that the row has a part in.

        The first and the last row of a filtered phase, those of 0 and of infinity, have one.
        """
        if row.factors is None:
            self._add_to(row.product, totals, first)
            return
        last = row.phase.filtering.outputs - 1
        alone = tirx.Or(row.product.equal(0), row.product.equal(row.phase.filtering.products - 1))
        with v.when(alone):
            self._add_to(v.minimum(row.product, last), totals, first)
        with v.when(tirx.Not(alone)):
            for output, factor in enumerate(row.factors):
                self._add_to(output, totals, first, factor)

    def _add_to(
        self, output: Any, totals: list[v.Register], first: Any, factor: v.Register | None = None
    ) -> None:
        """The columns of a tile, times a factor, added to an output row."""
        V, fused = self.isa.lanes, self.isa.fused
        for column, total in enumerate(totals):
            at = first + (output * self.width + column) * (self.vectors * V)
            old = v.load(self.sums, at, V)
            if factor is None:
                v.store(self.sums, at, old + total.get(), V)
            else:
                v.store(self.sums, at, v.fma(total.get(), factor.get(), old, V, fused=fused), V)

    def _at(self, block: Block, number: Any, tile: Any, vector: Any) -> Any:
        """Where a vector of sums lies: of the first column of a tile, in the first row."""
        before = block.first // self.isa.lanes + number * block.vectors
        pixel = tile * self.shape.along.outputs
        return (pixel * self.vectors + before + vector) * self.isa.lanes

    def _finish(self, place: Place) -> None:
        """The outputs inside of the image, handed to the epilogue in whole words of channels."""
        V, (_, P, Q, K) = self.isa.lanes, self.layer.out_shape
        column = place.tile * self.shape.along.outputs
        rows = v.minimum(P - place.row, self.shape.down.outputs)
        columns = v.minimum(Q - column, place.tiles * self.shape.along.outputs)
        full, rest = divmod(K, bits.WORD_BITS)
        with v.loop(0, rows) as row, v.loop(0, columns) as o:
            at = (row * self.width + o) * self.vectors * V
            pixel = (place.image * P + place.row + row) * Q + column + o
            for first, channels, count in ((0, bits.WORD_BITS, full), (K - rest, rest, 1)):
                if channels and count:
                    with repeat(count) as word:
                        k = word * bits.WORD_BITS + first
                        vectors = [v.load(self.sums, at + k + i, V) for i in range(0, channels, V)]
                        self.epilogue.emit(pixel, k, vectors, channels)
