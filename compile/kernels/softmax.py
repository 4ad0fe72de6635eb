"""Softmax over the channels: exp(x - max) / sum, pixel by pixel.

For x <= 0, exp(x) is 2^i * exp(g) with i = x / ln 2 rounded and |g| <= ln 2 / 2, where the series
up to g^7 is within 1e-8. So kernels need no mathematical library.
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
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.core.layer import Layer

_LOWEST = -87.0  # below, 2^i would be no normal number
_LN2_HIGH = float(np.float32(math.log(2)))
_LN2_LOW = math.log(2) - _LN2_HIGH
_TERMS = [1 / math.factorial(i) for i in range(8)]


def meaning(_node: Node, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values before the epilogue [N, H, W, K]."""
    exponentials = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    total = exponentials.sum(axis=-1, keepdims=True)
    return np.asarray(exponentials / total, dtype=np.float32)


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is one row."""
    N, H, W, K = layer.out_shape
    V = isa.lanes
    with frame(symbol, layer, parameters(layer, isa)) as made:
        finish = epilogue.Epilogue(made, isa)
        (x,) = made.operands
        with made.units(0, N * H) as unit, v.loop(0, W) as column:
            pixel = unit * W + column
            largest = v.Register("float32", 1, v.load(x, pixel * K))
            with v.loop(0, K) as k:
                largest.set(tirx.Max(largest.get(), v.load(x, pixel * K + k)))
            total = v.Register("float32", 1, v.const(0.0, "float32"))
            with v.loop(0, K) as k:
                total.add(_exp(v.load(x, pixel * K + k) - largest.get(), 1, isa))
            share = v.Register("float32", 1, tirx.Div(v.const(1.0, "float32"), total.get()))
            for block in channels.blocks(K, isa):
                with block.loop() as k0:
                    vectors = [
                        _exp(
                            v.load(x, pixel * K + k0 + j * V, V) - v.splat(largest.get(), V), V, isa
                        )
                        * v.splat(share.get(), V)
                        for j in range(block.vectors)
                    ]
                    finish.emit(pixel, k0, vectors, block.channels)
    return Kernel(made.function, N * H, f"softmax {isa.cpu} 1x{min(K, 32)}")


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """What the epilogue reads."""
    return epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`."""
    return epilogue.arrays(node, isa)


def _exp(x: Any, n: int, isa: Isa) -> Any:
    """The exponential of `n` lanes, none above 0."""

    def number(value: float) -> Any:
        return v.splat(value, n, "float32")

    def fma(a: Any, b: Any, c: Any) -> Any:
        return v.fma(a, b, c, n, fused=isa.fused)

    x = tirx.Max(x, number(_LOWEST))
    power = tirx.Cast(v.lanes("int32", n), x * number(1 / math.log(2)) - number(0.5))
    whole = tirx.Cast(v.lanes("float32", n), power)
    g = fma(whole, number(-_LN2_LOW), fma(whole, number(-_LN2_HIGH), x))
    series = number(_TERMS[-1])
    for term in reversed(_TERMS[:-1]):
        series = fma(series, g, number(term))
    exponent = tirx.shift_left(power + v.splat(127, n), v.splat(23, n))
    return series * v.reinterpret(v.lanes("float32", n), exponent)
