"""Max and average pools over real values, vectors along the channels.

Taps outside the image take no part; an average divides by the taps inside, or by all of them where
`pads_count` says so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import channels, cutting, epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import Phase, Span
from binas.compile.kernels.frame import Frame, Kernel, Parameter, floordiv, floormod, frame
from binas.core.layer import Layer

_WIDEST = 7  # columns of a window that are kept for the next ones


def meaning(node: Node, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The pooled values [N, P, Q, C] in float64."""
    N, P, Q, C = node.layer.out_shape
    (_, H, W, _), (R, S) = node.in_shape, node.kernel
    y = np.zeros((N, P, Q, C))
    for p in range(P):
        for q in range(Q):
            rows = p * node.stride[0] - node.padding[0] + np.arange(R) * node.dilation[0]
            columns = q * node.stride[1] - node.padding[1] + np.arange(S) * node.dilation[1]
            rows = rows[(rows >= 0) & (rows < H)]
            columns = columns[(columns >= 0) & (columns < W)]
            taps = x[:, rows][:, :, columns].astype(np.float64)
            if node.op != "pool_avg":
                y[:, p, q] = taps.max(axis=(1, 2))
            else:
                count = R * S if node.pads_count else len(rows) * len(columns)
                y[:, p, q] = taps.sum(axis=(1, 2)) / count
    return y


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is one output row."""
    N, P, _, K = layer.out_shape
    with frame(symbol, layer, parameters(layer, isa)) as made, made.units(0, N * P) as unit:
        row = _Row(made, isa, unit)
        if _shared(layer):
            row.by_columns()
        else:
            row.by_pixels()
    return Kernel(made.function, N * P, f"{layer.op} {isa.cpu} 1x{min(K, 32)}")


def _shared(layer: Layer) -> bool:
    """Whether columns are few enough to keep, and summed once take less than pixel by pixel.

    Of a long row, a pixel then takes R sums for each of `stride` new columns, and S of columns.
    """
    (R, S), stride = layer.kernel, layer.stride[1]
    return layer.dilation[1] == 1 and S <= _WIDEST and R * stride + S < R * S


class _Row:
    """One output row of a pool."""

    def __init__(self, made: Frame, isa: Isa, unit: Any) -> None:
        self.x, self.layer, self.isa, self.unit = made.operands[0], made.layer, isa, unit
        self.finish = epilogue.Epilogue(made, isa)
        _, P, _, _ = self.layer.out_shape
        self.image, self.p = floordiv(unit, P), floormod(unit, P)
        self.rows = bounds(self.layer, 0, self.p)

    def by_pixels(self) -> None:
        """Every pixel reads all that it needs."""
        layer, (_, _, Q, K) = self.layer, self.layer.out_shape
        with v.loop(0, Q) as q:
            columns = bounds(layer, 1, q)
            for block in channels.blocks(K, self.isa):
                with block.loop() as k0:
                    sums = self._sums(block.vectors)
                    with v.loop(*self.rows) as r, v.loop(*columns) as s:
                        column = q * layer.stride[1] - layer.padding[1] + s * layer.dilation[1]
                        for j, total in enumerate(sums):
                            self._take(total, self._load(r, column, k0 + j * self.isa.lanes))
                    values = [self._mean(total.get(), columns) for total in sums]
                    self.finish.emit(self.unit * Q + q, k0, values, block.channels)

    def by_columns(self) -> None:
        """The rows of every column first, once for all pixels that it belongs to."""
        layer, K = self.layer, self.layer.out_channels
        held = 2 if self.isa.registers > 16 else 1  # vectors of a column
        room = (self.isa.registers - 6) // held
        width = max(1, (room - layer.kernel[1]) // layer.stride[1] + 1)
        for span in cutting.spans(layer, width):
            with v.loop(0, span.repeat) as number:
                column = span.start + number * span.width
                for block in channels.blocks(K, self.isa):
                    with block.loop() as k0:
                        self._tile(span, column, k0, block, held)

    def _tile(self, span: Span, column: Any, k0: Any, block: channels.Block, held: int) -> None:
        """The pixels of a span from `column` on, `held` vectors of a block at a time."""
        V, Q, stride = self.isa.lanes, self.layer.out_shape[2], self.layer.stride[1]
        first = column * stride - self.layer.padding[1]
        taps = [
            [s for phase in span.phases if pixel in phase.pixels for s in _steps(phase)]
            for pixel in range(span.width)
        ]
        read = sorted({pixel * stride + s for pixel, own in enumerate(taps) for s in own})
        masks: list[list[Any]] = [[] for _ in taps]
        for begin in range(0, block.vectors, held):
            vectors = range(begin, min(begin + held, block.vectors))
            columns = {at: self._sums(len(vectors)) for at in read}
            with v.loop(*self.rows) as r:
                for at, sums in columns.items():
                    for j, total in zip(vectors, sums, strict=True):
                        self._take(total, self._load(r, first + at, k0 + j * V))
            for pixel, own in enumerate(taps):
                values = self._sums(len(vectors))
                for s in own:
                    for total, part in zip(values, columns[pixel * stride + s], strict=True):
                        self._take(total, part.get())
                found = [self._mean(total.get(), (0, len(own))) for total in values]
                index, start = self.unit * Q + column + pixel, begin * V
                count = min(len(vectors) * V, block.channels - start)
                masks[pixel] += self.finish.masks(index, k0 + start, found, count)
        for pixel, own_masks in enumerate(masks):
            if own_masks:
                index = self.unit * Q + column + pixel
                self.finish.store_bits(index, k0, own_masks, block.channels)

    def _sums(self, count: int) -> list[v.Register]:
        nothing = -math.inf if self.layer.op == "pool_max" else 0.0
        V = self.isa.lanes
        return [v.Register("float32", V, v.splat(nothing, V, "float32")) for _ in range(count)]

    def _take(self, total: v.Register, x: Any) -> None:
        most = self.layer.op == "pool_max"
        total.set(tirx.Max(total.get(), x) if most else total.get() + x)

    def _load(self, r: Any, column: Any, channel: Any) -> Any:
        layer, (_, H, W, C) = self.layer, self.layer.in_shape
        row = self.p * layer.stride[0] - layer.padding[0] + r * layer.dilation[0]
        return v.load(self.x, ((self.image * H + row) * W + column) * C + channel, self.isa.lanes)

    def _mean(self, total: Any, columns: tuple[Any, Any]) -> Any:
        """A sum over so many columns as an average; a maximum is as it is."""
        if self.layer.op == "pool_max":
            return total
        scale = _reciprocal(self.layer, self.rows, columns)
        return total * v.splat(scale, self.isa.lanes, "float32")


def _steps(phase: Phase) -> range:
    return range(phase.start, phase.start + phase.count)


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """What the epilogue reads."""
    return epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`."""
    return epilogue.arrays(node, isa)


def bounds(layer: Layer, axis: int, out: Any) -> tuple[Any, Any]:
    """Taps [low, high) inside the image along one axis, for output position `out` of it."""
    size, taps = layer.in_shape[1 + axis], layer.kernel[axis]
    stride, dilation = layer.stride[axis], layer.dilation[axis]
    start = out * stride - layer.padding[axis]
    if layer.padding[axis] == layer.padding[2 + axis] == 0:
        return 0, taps
    low = v.maximum(floordiv(dilation - 1 - start, dilation), 0)
    high = v.minimum(floordiv(size + dilation - 1 - start, dilation), taps)
    return low, high


def _reciprocal(layer: Layer, rows: tuple[Any, Any], columns: tuple[Any, Any]) -> Any:
    count = (rows[1] - rows[0]) * (columns[1] - columns[0])
    if layer.pads_count:
        count = layer.kernel[0] * layer.kernel[1]
    if isinstance(count, int):
        return v.const(1 / count, "float32")
    return v.const(1.0, "float32") / tirx.Cast("float32", count)
