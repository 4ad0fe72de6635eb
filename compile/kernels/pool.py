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
from binas.compile.kernels import channels, epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Kernel, Parameter, floordiv, floormod, frame
from binas.core.layer import Layer


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
    N, P, Q, K = layer.out_shape
    _, H, W, C = layer.in_shape
    V = isa.lanes
    most = layer.op == "pool_max"
    with frame(symbol, layer, parameters(layer, isa)) as made:
        finish = epilogue.Epilogue(made, isa)
        with made.units(0, N * P) as unit, v.loop(0, Q) as q:
            image, p = floordiv(unit, P), floormod(unit, P)
            rows, columns = bounds(layer, 0, p), bounds(layer, 1, q)
            for block in channels.blocks(K, isa):
                with block.loop() as k0:
                    first = v.splat(-math.inf if most else 0.0, V, "float32")
                    sums = [v.Register("float32", V, first) for _ in range(block.vectors)]
                    with v.loop(*rows) as r, v.loop(*columns) as s:
                        row = p * layer.stride[0] - layer.padding[0] + r * layer.dilation[0]
                        column = q * layer.stride[1] - layer.padding[1] + s * layer.dilation[1]
                        element = ((image * H + row) * W + column) * C + k0
                        for j, total in enumerate(sums):
                            x = v.load(made.operands[0], element + j * V, V)
                            total.set(tirx.Max(total.get(), x) if most else total.get() + x)
                    values = [total.get() for total in sums]
                    if not most:
                        scale = v.splat(_reciprocal(layer, rows, columns), V, "float32")
                        values = [value * scale for value in values]
                    finish.emit(unit * Q + q, k0, values, block.channels)
    return Kernel(made.function, N * P, f"{layer.op} {isa.cpu} 1x{min(K, 32)}")


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
    if layer.pads_count or isinstance(count, int):
        return v.const(1 / (layer.kernel[0] * layer.kernel[1]), "float32")
    return v.const(1.0, "float32") / tirx.Cast("float32", count)
