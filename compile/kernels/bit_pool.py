"""Max pool of packed signs: the maximum of ±1 is the OR of their bits, the minimum their AND.

    bit[n, p, q, c] = l[c] ^ OR_rs (l[c] ^ x[n, p * sh - top + r * dh, q * sw - left + s * dw, c])

l is 1 for the channels whose minimum is taken.
Vectors run along a row of words, pixel after pixel, so a register pools as many values as it has
bits. Taps outside the image take no part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import epilogue, pool, row_vectors
from binas.compile.kernels import vector as v
from binas.compile.kernels.depthwise_limits import wrapped, wrapped_size
from binas.compile.kernels.frame import Frame, Kernel, Parameter, floordiv, floormod, frame
from binas.compile.kernels.row_loads import gathered, only_inside
from binas.compile.kernels.row_vectors import Run
from binas.core import bits
from binas.core.layer import Layer


def meaning(node: Node, x: NDArray[np.uint32]) -> NDArray[np.float64]:
    """The pooled signs [N, P, Q, C], ±1, from packed x [N, H, W, words(C)]."""
    assert node.weights is not None  # noqa: S101
    signs = node.weights.astype(np.float32)
    greatest = pool.meaning(node, bits.unpack(x, node.in_shape[3]) * signs)
    return greatest * signs


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is one output row."""
    N, P, Q, _ = layer.out_shape
    with frame(symbol, layer, parameters(layer, isa)) as made, made.units(0, N * P) as unit:
        for run in row_vectors.runs(layer, isa.lanes, range(Q)):
            with v.loop(0, run.repeat) as index:
                _vector(made, isa, unit, run, index)
    return Kernel(made.function, N * P, f"pool_bits {isa.cpu} {isa.lanes}x32")


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """The channels whose minimum is taken, as the words of a pixel."""
    return [Parameter("least", wrapped_size(bits.words(layer.out_channels), isa.lanes), "int32")]


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`."""
    assert node.weights is not None  # noqa: S101
    return [wrapped(bits.pack(-node.weights).view(np.int32), isa.lanes)]


def _vector(made: Frame, isa: Isa, unit: Any, run: Run, index: Any) -> None:
    """Emit one vector of an output row."""
    layer, V, (_, P, Q, K) = made.layer, isa.lanes, made.layer.out_shape
    (_, H, W, _), words = layer.in_shape, bits.words(K)
    image, p = floordiv(unit, P), floormod(unit, P)
    start = run.start + index * run.step
    word = v.const(0) if V % words == 0 else floormod(start, words)
    least = v.Register("int32", V, v.load(made.parameters["least"], word, V))
    found = v.Register("int32", V, v.splat(0, V))
    with v.loop(*pool.bounds(layer, 0, p)) as r:
        line = p * layer.stride[0] - layer.padding[0] + r * layer.dilation[0]
        row = (image * H + line) * (W * words) + index * run.in_step
        for tap in run.taps:
            x = gathered(made.operands[0], row + tap.base, tap, V) ^ least.get()
            if len(tap.inside) < run.used:
                x = only_inside(x, tap, run.used, V)
            found.set(found.get() | x)
    found.set(found.get() ^ least.get())
    epilogue.store_lanes(made.bits_out, unit * (Q * words) + start, found, run.used)
