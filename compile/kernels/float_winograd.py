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
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

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

_ARRAY = 255  # floats of an array on the stack, see `vector.array`


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


@dataclass(frozen=True, slots=True)
class Group:
    """`repeat` neighbouring groups of `tiles` tiles from output column `start` on.

    Attributes:
        inside: Nothing that they read is outside the image.
    """

    start: int
    tiles: int
    repeat: int
    inside: bool


def groups(layer: Layer, shape: Shape, pixels: int, over: int) -> list[Group]:
    """The groups of tiles of an output row; `over`: elements that are read behind a unit."""
    m, (_, _, W, C) = shape.filtering.outputs, layer.in_shape
    stride, left = layer.stride[1], layer.padding[1]
    total = -(-layer.out_shape[2] // m)
    pieces = -(-total * m // (pixels // m * m))
    found: list[Group] = []
    start = 0
    for piece in range(pieces):
        tiles = total // pieces + (piece < total % pieces)
        first = start * stride - left
        end = (first + (tiles * m + shape.filtering.taps - 1) * stride) * C + over
        inside = first >= 0 and end <= W * C
        last = found[-1] if found else None
        if last is not None and inside and last.inside and last.tiles == tiles:
            found[-1] = replace(last, repeat=last.repeat + 1)
        else:
            found.append(Group(start, tiles, 1, inside))
        start += tiles * m
    return found


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
        self.over = sum(width for _, width in self.pieces) - shape.run

    def emit(self) -> None:
        """All units: rows."""
        layer, shape = self.layer, self.shape
        N, P, _, _ = layer.out_shape
        m = shape.filtering.outputs
        with self.frame.units(0, N * P) as row:
            image, p = floordiv(row, P), floormod(row, P)
            low, high = nest.row_bounds(layer, p)
            for group in groups(layer, shape, self.tile.pixels, self.over):
                loop = v.loop(0, group.repeat) if group.repeat > 1 else nullcontext(0)
                with loop as index:
                    column = group.start + index * (group.tiles * m)
                    read = self.transform(group, image, p, column, low, high)
                    self.blocks(group, read, row, column, low, high)

    def transform(self, group: Group, image: Any, p: Any, column: Any, low: Any, high: Any) -> Any:
        """V of a group: per tile and point an array [R][run of the point]."""
        layer, shape = self.layer, self.shape
        _, H, W, C = layer.in_shape
        R, filtering = layer.kernel[0], shape.filtering
        arrays = [
            [v.array("float32", R * run + self._behind(run)) for run in shape.runs]
            for _ in range(group.tiles)
        ]
        with v.loop(low, high) as r:
            in_row = p * layer.stride[0] - layer.padding[0] + r
            for first, width in self.pieces:
                for tile, into in enumerate(arrays):
                    at = column + tile * filtering.outputs
                    line = (image * H + in_row) * W * C
                    read = partial(self.read, group, line, at, first, width)
                    madd = partial(self.madd, width)
                    values = minimal_filtering.inputs(filtering, read, madd)
                    for array, run, value in zip(into, shape.runs, values, strict=True):
                        if first < run:
                            v.store(array, r * run + first, value.get(), width)
        return arrays

    def _behind(self, run: int) -> int:
        """Elements that the last row's vectors write behind a run."""
        return max(first + width - run for first, width in self.pieces if first < run)

    def read(self, group: Group, line: Any, column: Any, first: int, width: int, unit: int) -> Any:
        """Elements of an input unit from one channel on, 0 where they are outside."""
        _, _, W, C = self.layer.in_shape
        stride, left = self.layer.stride[1], self.layer.padding[1]
        start = ((column + unit) * stride - left) * C + first
        source = self.frame.operands[0]
        if group.inside:
            return v.Register("float32", width, v.load(source, line + start, width))
        real = min(width, (self.shape.run if unit < self.shape.filtering.products - 1 else self.shape.last) - first)
        a, b = max(start, 0), min(start + real, W * C)
        if start >= 0 and start + width <= W * C:
            return v.Register("float32", width, v.load(source, line + start, width))
        made = v.Register("float32", width, v.splat(0.0, width, "float32"))
        while a < b:
            n = 1 << ((b - a).bit_length() - 1)
            v.store(made.buffer, a - start, v.load(source, line + a, n), n)
            a += n
        return made

    def madd(self, width: int, x: Any, c: Fraction, y: Any) -> Any:
        return v.Register("float32", width, multiply_add(x.get(), c, y.get(), width, self.isa))

    def blocks(self, group: Group, read: Any, row: Any, column: Any, low: Any, high: Any) -> None:
        layer, shape = self.layer, self.shape
        size = per_channel(layer, shape)
        for block in nest.blocks(layer, self.tile, size):
            loop = v.loop(0, block.count) if block.count > 1 else nullcontext(0)
            with loop as number:
                channel = block.first + number * self.tile.channels
                lanes = block.vectors * self.tile.lanes
                weight = block.weight + number * (lanes * size)
                products = []
                for i, run in enumerate(shape.runs):
                    products.append(self.point(block, [t[i] for t in read], weight, run, low, high))
                    weight = weight + layer.kernel[0] * run * lanes
                self.finish(group, block, products, row, column, channel)

    def point(self, block: Any, read: Any, weight: Any, run: int, low: Any, high: Any) -> Any:
        """Sums over kernel rows and channels at one point, per tile and vector."""
        V, Q = self.isa.lanes, block.vectors
        zero = v.splat(0.0, V, "float32")
        sums = [[v.Register("float32", V, zero) for _ in range(Q)] for _ in read]
        unroll = max(u for u in range(1, self.tile.unroll + 1) if run % u == 0)
        w = self.frame.parameters["w"]
        with v.loop(low * (run // unroll), high * (run // unroll)) as step:
            for part in range(unroll):
                k = step * unroll + part
                ws = [partial(v.load, w, weight + (k * Q + j) * V, V) for j in range(Q)]
                xs = [partial(self.splat, array, k) for array in read]
                if len(read) < Q:
                    outer(xs, ws, [list(c) for c in zip(*sums, strict=True)], self.isa)
                else:
                    outer(ws, xs, sums, self.isa)
        return sums

    def splat(self, array: Any, k: Any) -> Any:
        return v.splat(v.load(array, k), self.isa.lanes, "float32")

    def finish(self, group: Group, block: Any, products: Any, row: Any, column: Any, channel: Any) -> None:
        """The outputs of each tile, handed to the epilogue."""
        V, Q, m = self.isa.lanes, self.layer.out_shape[2], self.shape.filtering.outputs
        for tile in range(group.tiles):
            made = [
                minimal_filtering.outputs(
                    self.shape.filtering, [sums[tile][j] for sums in products], partial(self.madd, V)
                )
                for j in range(block.vectors)
            ]
            for o in range(m):
                if not group.inside and isinstance(column, int) and column + tile * m + o >= Q:
                    continue
                vectors = [outputs[o].get() for outputs in made]
                index = row * Q + column + (tile * m + o)
                self.epilogue.emit(index, channel, vectors, block.channels)


def multiply_add(x: Any, c: Fraction, y: Any, n: int, isa: Isa) -> Any:
    """x * c + y."""
    if c == 1:
        return y + x
    if c == -1:
        return y - x
    return v.fma(x, v.splat(float(c), n, "float32"), y, n, fused=isa.fused)
