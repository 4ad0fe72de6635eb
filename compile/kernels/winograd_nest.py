"""The loop nest of `float_winograd.py`: a band of rows, a group of tiles, points, tiles.

What lies between the steps is on the stack, transformed inputs [point][tile][row][run] and products
[point][tile][vector]: a loop per step keeps the code small.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import accumulate
from typing import Any, NamedTuple

from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, minimal_filtering, nest
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import Block
from binas.compile.kernels.frame import Frame, floordiv
from binas.compile.kernels.winograd_rows import Group, Shape, band, groups, pieces
from binas.compile.kernels.winograd_steps import Inputs, Products, index, madd, multiply, repeat
from binas.compile.kernels.winograd_tiles import unroll
from binas.compile.tile import Tile
from binas.core.layer import Layer


class Rows(NamedTuple):
    """Output rows [first, stop) of an image, and the input row that their first taps read."""

    image: Any
    first: Any
    stop: Any
    above: Any


class Nest:
    """Emits one kernel."""

    def __init__(self, made: Frame, layer: Layer, tile: Tile, isa: Isa, shape: Shape) -> None:
        """Lay out what is on the stack."""
        self.frame, self.layer, self.tile, self.isa, self.shape = made, layer, tile, isa, shape
        self.filtering = shape.filtering
        self.epilogue = epilogue.Epilogue(made, isa)
        self.blocks = cutting.blocks(layer, tile, shape.per_channel(layer))
        self.pieces = pieces(shape.run, isa.lanes)
        self.window = shape.filtering.products * shape.run + sum(self.pieces[-1]) - shape.run
        m = shape.filtering.outputs
        self.groups = groups(-(-layer.out_shape[2] // m), tile.pixels // m)
        tiles = max(group.tiles for group in self.groups)
        self.band, self.in_rows = band(layer, shape, tiles)
        # The last vector of a run may be wider than what is left of it.
        sizes = (tiles * self.in_rows * run + isa.lanes for run in shape.runs)
        self.points = list(accumulate(sizes, initial=0))
        self.inputs = v.array("float32", self.points[-1])
        self.edge = v.array("float32", self.window)
        vectors = max(block.vectors for block in self.blocks)
        self.products = v.array("float32", self.filtering.products * tiles * vectors * isa.lanes)

    def emit(self) -> None:
        """The called rows of each image, a band at a time."""
        N, P, _, _ = self.layer.out_shape
        with repeat(N) as image:
            begin = v.maximum(self.frame.begin - image * P, 0)
            end = v.minimum(self.frame.end - image * P, P)
            bands = floordiv(v.maximum(end - begin, 0) + (self.band - 1), self.band)
            with v.loop(0, bands) as number:
                first = begin + number * self.band
                stop = v.minimum(end, first + self.band)
                above = v.maximum(first * self.layer.stride[0] - self.layer.padding[0], 0)
                for group in self.groups:
                    self._group(group, Rows(image, first, stop, above))

    def _group(self, group: Group, rows: Rows) -> None:
        """Every repetition of a group: its inputs, then block by block and row by row the rest."""
        layer, m = self.layer, self.filtering.outputs
        last = (rows.stop - 1) * layer.stride[0] - layer.padding[0] + layer.kernel[0]
        below = v.maximum(v.minimum(last, layer.in_shape[1]), rows.above)
        with repeat(group.repeat) as again:
            column = (group.start + again * group.tiles) * m
            with v.loop(0, group.tiles) as tile, v.loop(rows.above, below) as h:
                place = tile * self.in_rows + (h - rows.above)
                self._transform(rows.image, h, column + tile * m, place)
            for block in self.blocks:
                with repeat(block.count) as number, v.loop(rows.first, rows.stop) as p:
                    self._row(group, block, number, p, rows.above)
                    row = rows.image * layer.out_shape[1] + p
                    channel = block.first + number * self.tile.channels
                    with v.loop(0, group.tiles) as tile:
                        self._finish(group, block, row, column + tile * m, channel, tile)

    def _transform(self, image: Any, h: Any, column: Any, place: Any) -> None:
        """The units of one tile and input row; at the borders from a copy among zeros."""
        _, H, W, C = self.layer.in_shape
        start = (column * self.layer.stride[1] - self.layer.padding[1]) * C
        line, x = (image * H + h) * (W * C), self.frame.operands[0]
        inside = tirx.And(start >= 0, start + self.window <= W * C)
        with v.when(inside):
            self._points(x, line + start, place)
        with v.when(tirx.Not(inside)):
            first, stop = v.maximum(-start, 0), v.minimum(W * C - start, self.window)
            with v.loop(0, self.window) as i:
                v.store(self.edge, i, v.const(0.0, "float32"))
            with v.loop(first, v.maximum(stop, first)) as i:
                v.store(self.edge, i, v.load(x, line + start + i))
            self._points(self.edge, 0, place)

    def _points(self, source: Any, start: Any, place: Any) -> None:
        shape = self.shape
        for first, width in self.pieces:

            def read(unit: int, first: int = first, width: int = width) -> v.Register:
                at = start + (unit * shape.run + first)
                return v.Register("float32", width, v.load(source, at, width))

            found = minimal_filtering.inputs(self.filtering, read, madd(self.isa, width))
            for at, run, value in zip(self.points, shape.runs, found, strict=False):
                if first < run:
                    v.store(self.inputs, at + place * run + first, value.get(), width)

    def _row(self, group: Group, block: Block, number: Any, p: Any, above: Any) -> None:
        """The products of an output row, at one point after the other."""
        layer = self.layer
        low, high = nest.row_bounds(layer, p)
        in_row = p * layer.stride[0] - layer.padding[0] + low - above
        lanes = block.vectors * self.tile.lanes
        weight = block.weight + number * (lanes * self.shape.per_channel(layer))
        for point, run in enumerate(self.shape.runs):
            at = weight + low * (run * lanes)
            self._point(group, block, point, (at, in_row, high - low))
            weight = weight + layer.kernel[0] * run * lanes

    def _point(self, group: Group, block: Block, point: int, rows: tuple[Any, Any, Any]) -> None:
        """Sums over kernel rows and channels: `rows` is their weights, first input and number."""
        run, (weight, in_row, count) = self.shape.runs[point], rows
        passes = unroll(run, self.tile.unroll)
        inputs = Inputs(self.inputs, index(in_row * run) + self.points[point], self.in_rows * run)
        to = point * group.tiles * block.vectors
        made = Products(self.products, to, group.tiles, block.vectors)
        weights = self.frame.parameters["w"], weight
        steps = count * (run // passes) + self.frame.zero
        multiply(inputs, weights, made, steps, passes, self.isa)

    def _finish(
        self, group: Group, block: Block, row: Any, column: Any, channel: Any, tile: Any
    ) -> None:
        """The outputs of a tile, handed to the epilogue."""
        V, Q, m = self.isa.lanes, self.layer.out_shape[2], self.filtering.outputs
        made = []
        for j in range(block.vectors):
            places = [
                ((point * group.tiles + tile) * block.vectors + j) * V
                for point in range(self.filtering.products)
            ]
            products = [v.Register("float32", V, v.load(self.products, at, V)) for at in places]
            made.append(minimal_filtering.outputs(self.filtering, products, madd(self.isa, V)))
        for o in range(m):
            vectors = [outputs[o].get() for outputs in made]
            with v.when(column + o < Q) if Q % m else nullcontext():
                self.epilogue.emit(row * Q + column + o, channel, vectors, block.channels)
