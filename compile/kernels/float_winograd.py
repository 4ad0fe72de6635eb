"""Real convolution with fewer multiplications: minimal filtering along the row.

A row's pixels are read in units of `stride`, so that any stride is 1 and a unit has stride * C
channels; taps that fill up the last unit have weights 0. Per tile of m outputs the n units are
transformed (`minimal_filtering`), and at each of n points a sum runs over kernel rows and channels:

    y[p, q + o, k] = Σ_i A[o, i] Σ_rc V[i, r, c] U[i, k, r, c]     V = B d, U = G w

The inner loop is that of a 1x1 convolution of several tiles. What is outside the image is 0 in V,
and rows outside are left out. Units are output rows: all their channels share V.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

from tvm import tirx

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import epilogue, minimal_filtering, nest
from binas.compile.kernels import vector as v
from binas.compile.kernels.float_sums import outer
from binas.compile.kernels.frame import Frame, Kernel, Parameter, floordiv, floormod, frame
from binas.compile.kernels.minimal_filtering import Filtering
from binas.compile.tile import Tile
from binas.core.layer import Layer
_BAND, _BAND_BYTES = 8, 16 << 10  # of input rows that are transformed once


@dataclass(frozen=True, slots=True)
class Shape:
    """A layer as it is filtered.

    Attributes:
        filtering: F(m, r) along the row.
        run: Channels of a unit, stride * C.
        last: Channels of the last tap's unit that have weights: all that counts at infinity.
    """

    filtering: Filtering
    run: int
    last: int

    @classmethod
    def of(cls, layer: Layer) -> Shape | None:
        """None where nothing is gained."""
        S, stride, C = layer.kernel[1], layer.stride[1], layer.in_shape[3]
        taps = -(-S // stride)
        filtering = Filtering.of(taps)
        if filtering is None or layer.groups > 1 or layer.dilation != (1, 1):
            return None
        last = (S - (taps - 1) * stride) * C
        return cls(filtering, stride * C, last)

    @property
    def runs(self) -> tuple[int, ...]:
        """Channels at each point."""
        return (*[self.run] * (self.filtering.products - 1), self.last)


class Group(NamedTuple):
    """`repeat` neighbouring groups of `tiles` tiles, from output column `start` on."""

    start: int
    tiles: int
    repeat: int


def groups(layer: Layer, shape: Shape, pixels: int) -> list[Group]:
    """The groups of tiles of an output row, of about equal sizes."""
    m = shape.filtering.outputs
    tiles = -(-layer.out_shape[2] // m)
    shorter, wider = divmod(tiles, pieces := -(-tiles // (pixels // m)))
    found = [Group(0, shorter + 1, wider), Group(wider * (shorter + 1) * m, shorter, pieces - wider)]
    return [group for group in found if group.repeat]


def band(layer: Layer, shape: Shape, tiles: int) -> tuple[int, int]:
    """Output rows that share what is transformed, and their input rows."""
    stride, R = layer.stride[0], layer.kernel[0]
    row_bytes = 4 * tiles * sum(shape.runs)
    rows = min(_BAND, layer.out_shape[1], max(1, (_BAND_BYTES // row_bytes - R) // stride + 1))
    return rows, (rows - 1) * stride + R


def pieces(channels: int, lanes: int) -> list[tuple[int, int]]:
    """Vectors (first channel, width) that cover some channels, the last perhaps with more."""
    found = [(first, lanes) for first in range(0, channels - lanes + 1, lanes)]
    rest = channels % lanes
    if rest:
        found.append((channels - rest, 1 << (rest - 1).bit_length()))
    return found


def per_channel(layer: Layer, shape: Shape) -> int:
    """Weight elements of an output channel."""
    return layer.kernel[0] * sum(shape.runs)


def weights(node: Node, shape: Shape) -> list[NDArray[np.float32]]:
    """U: per point [R][run][K], rounded from float64."""
    assert node.weights is not None  # noqa: S101
    K, R, S, C = node.weights.shape
    filtering = shape.filtering
    whole = np.zeros((K, R, filtering.taps * shape.run))
    whole[..., : S * C] = node.weights.reshape(K, R, S * C)
    matrix = np.array([[float(x) for x in row] for row in filtering.of_weights()])
    taps = whole.reshape(K, R, filtering.taps, shape.run)
    found = np.einsum("it,krtc->ircK".replace("K", "k"), matrix, taps)
    return [found[i, :, :run].astype(np.float32) for i, run in enumerate(shape.runs)]


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile) -> Kernel:
    """The kernel of a layer."""
    shape = Shape.of(layer)
    assert shape is not None  # noqa: S101
    N, P, _, _ = layer.out_shape
    with frame(symbol, layer, parameters(layer, isa, tile)) as made:
        _Nest(made, layer, tile, isa, shape).emit()
    f = shape.filtering
    return Kernel(made.function, N * P, f"conv winograd F({f.outputs},{f.taps}) {isa.cpu} {tile}")


def parameters(layer: Layer, isa: Isa, tile: Tile) -> list[Parameter]:
    shape = Shape.of(layer)
    size = nest.weight_size(layer, tile, per_channel(layer, shape))
    return [Parameter("w", size, "float32"), *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa, tile: Tile) -> list[NDArray[Any]]:
    """Weights as per block [point][R][run][lanes of the block], then what the epilogue reads."""
    layer, shape = node.layer, Shape.of(node.layer)
    assert shape is not None  # noqa: S101
    found = weights(node, shape)
    parts = []
    for block in nest.blocks(layer, tile, per_channel(layer, shape)):
        for number in range(block.count):
            first = block.first + number * tile.channels
            for point in found:
                part = np.zeros((*point.shape[:2], block.vectors * tile.lanes), np.float32)
                part[..., : block.channels] = point[..., first : first + block.channels]
                parts.append(part.reshape(-1))
    return [np.concatenate(parts), *epilogue.arrays(node, isa)]


class _Nest:
    """Emits one kernel."""

    def __init__(self, made: Frame, layer: Layer, tile: Tile, isa: Isa, shape: Shape) -> None:
        self.frame, self.layer, self.tile, self.isa, self.shape = made, layer, tile, isa, shape
        self.epilogue = epilogue.Epilogue(made, isa)
        self.pieces = pieces(shape.run, isa.lanes)
        self.over = sum(self.pieces[-1]) - shape.run
        self.groups = groups(layer, shape, tile.pixels)
        tiles = max(group.tiles for group in self.groups)
        self.window = shape.filtering.products * shape.run + self.over
        self.band, self.in_rows = band(layer, shape, tiles)
        # Vectors may write behind the last run of a point.
        sizes = (self.in_rows * run * tiles + isa.lanes for run in shape.runs)
        self.transformed = list(accumulate(sizes, initial=0))
        self.inputs = v.array("float32", self.transformed[-1])
        self.edge = v.array("float32", self.window)
        vectors = max(block.vectors for block in nest.blocks(layer, tile, 1))
        self.products = v.array("float32", shape.filtering.products * tiles * vectors * isa.lanes)

    def emit(self) -> None:
        """The called rows of each image, a band at a time."""
        N, P, _, _ = self.layer.out_shape
        with _repeat(N) as image:
            begin = v.maximum(self.frame.begin - image * P, 0)
            end = v.minimum(self.frame.end - image * P, P)
            bands = floordiv(v.maximum(end - begin, 0) + (self.band - 1), self.band)
            with v.loop(0, bands) as index:
                first = begin + index * self.band
                self.rows(image, first, v.minimum(end, first + self.band))

    def rows(self, image: Any, first: Any, stop: Any) -> None:
        """Output rows [first, stop) of an image."""
        layer, m = self.layer, self.shape.filtering.outputs
        stride, top, R, H = layer.stride[0], layer.padding[0], layer.kernel[0], layer.in_shape[1]
        above = v.maximum(first * stride - top, 0)
        below = v.maximum(v.minimum((stop - 1) * stride - top + R, H), above)
        for group in self.groups:
            with _repeat(group.repeat) as index:
                column = group.start + index * (group.tiles * m)
                with v.loop(0, group.tiles) as tile, v.loop(above, below) as h:
                    at = tile * self.in_rows + (h - above)
                    self.transform(image, h, column + tile * m, at)
                self.blocks(group, image, (first, stop, above), column)

    def transform(self, image: Any, in_row: Any, column: Any, at: Any) -> Any:
        """V of one tile and input row."""
        _, H, W, C = self.layer.in_shape
        start = (column * self.layer.stride[1] - self.layer.padding[1]) * C
        line = (image * H + in_row) * (W * C)
        x = self.frame.operands[0]
        inside = tirx.And(start >= 0, start + self.window <= W * C)
        with v.when(inside):
            self.through(x, line + start, at)
        with v.when(tirx.Not(inside)):
            first, stop = v.maximum(-start, 0), v.minimum(W * C - start, self.window)
            with v.loop(0, self.window) as i:
                v.store(self.edge, i, v.const(0.0, "float32"))
            with v.loop(first, v.maximum(stop, first)) as i:
                v.store(self.edge, i, v.load(x, line + start + i))
            self.through(self.edge, 0, at)

    def through(self, source: Any, start: Any, place: Any) -> None:
        shape = self.shape
        for first, width in self.pieces:

            def read(unit: int, first: int = first, width: int = width) -> Any:
                at = start + (unit * shape.run + first)
                return v.Register("float32", width, v.load(source, at, width))

            values = minimal_filtering.inputs(shape.filtering, read, partial(self.madd, width))
            for at, run, value in zip(self.transformed, shape.runs, values, strict=False):
                if first < run:
                    v.store(self.inputs, at + place * run + first, value.get(), width)

    def madd(self, width: int, x: Any, c: Fraction, y: Any) -> Any:
        return v.Register("float32", width, multiply_add(x.get(), c, y.get(), width, self.isa))

    def blocks(self, group: Group, image: Any, rows: Any, column: Any) -> None:
        layer, shape = self.layer, self.shape
        size = per_channel(layer, shape)
        first, stop, above = rows
        for block in nest.blocks(layer, self.tile, size):
            with _repeat(block.count) as number, v.loop(first, stop) as p:
                channel = block.first + number * self.tile.channels
                lanes = block.vectors * self.tile.lanes
                weight = block.weight + number * (lanes * size)
                low, high = nest.row_bounds(layer, p)
                in_row = p * layer.stride[0] - layer.padding[0] + low - above
                for i, run in enumerate(shape.runs):
                    self.point(group, block, i, weight + low * (run * lanes), in_row, high - low)
                    weight = weight + layer.kernel[0] * run * lanes
                with v.loop(0, group.tiles) as tile:
                    self.finish(group, block, image * layer.out_shape[1] + p, column, channel, tile)

    def point(self, group: Group, block: Any, i: int, weight: Any, in_row: Any, rows: Any) -> None:
        """Sums over kernel rows and channels at one point, per tile and vector."""
        V, Q, T = self.isa.lanes, block.vectors, group.tiles
        run = self.shape.runs[i]
        zero = v.splat(0.0, V, "float32")
        sums = [[v.Register("float32", V, zero) for _ in range(Q)] for _ in range(T)]
        unroll = max(u for u in range(1, self.tile.unroll + 1) if run % u == 0)
        w = self.frame.parameters["w"]
        base = self.small(in_row * run)
        with v.loop(0, self.small(rows * (run // unroll) + self.frame.zero)) as step:
            for part in range(unroll):
                k = step * unroll + part
                ws = [partial(v.load, w, weight + (k * Q + j) * V, V) for j in range(Q)]
                at = base + k + self.transformed[i]
                step_ = self.in_rows * run
                xs = [partial(self.splat, at + tile * step_) for tile in range(T)]
                if T < Q:
                    outer(xs, ws, [list(c) for c in zip(*sums, strict=True)], self.isa)
                else:
                    outer(ws, xs, sums, self.isa)
        for tile in range(T):
            for j in range(Q):
                v.store(self.products, ((i * T + tile) * Q + j) * V, sums[tile][j].get(), V)

    def small(self, x: Any) -> Any:
        """The same index, of which LLVM sees that no sum overflows: so sums become addresses."""
        return v.Register("int32", 1, x & v.const((1 << 20) - 1)).get()

    def splat(self, at: Any) -> Any:
        return v.splat(v.load(self.inputs, at), self.isa.lanes, "float32")

    def finish(self, group: Group, block: Any, row: Any, column: Any, channel: Any, tile: Any) -> None:
        """The outputs of each tile, handed to the epilogue."""
        V, Q, m = self.isa.lanes, self.layer.out_shape[2], self.shape.filtering.outputs
        made = []
        for j in range(block.vectors):
            sums = [
                v.Register("float32", V, v.load(self.products, ((i * group.tiles + tile) * block.vectors + j) * V, V))
                for i in range(self.shape.filtering.products)
            ]
            made.append(minimal_filtering.outputs(self.shape.filtering, sums, partial(self.madd, V)))
        for o in range(m):
            at = column + tile * m + o
            index = row * Q + at
            vectors = [outputs[o].get() for outputs in made]
            with v.when(at < Q) if Q % m else nullcontext():
                self.epilogue.emit(index, channel, vectors, block.channels)


@contextmanager
def _repeat(count: int) -> Iterator[Any]:
    with v.loop(0, count) if count > 1 else nullcontext(v.const(0)) as index:
        yield index


def multiply_add(x: Any, c: Fraction, y: Any, n: int, isa: Isa) -> Any:
    """x * c + y."""
    if c == 1:
        return y + x
    if c == -1:
        return y - x
    return v.fma(x, v.splat(float(c), n, "float32"), y, n, fused=isa.fused)
