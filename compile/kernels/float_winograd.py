"""Real convolution with fewer multiplications: minimal filtering along the row.

A row's pixels are read in units of `stride`, so that every stride is 1 and a unit has stride * C
channels; taps that fill up the last unit have weights 0. The n units of a tile of m outputs are
transformed (`minimal_filtering.py`), and at each of n points a sum runs over rows and channels:

    y[p, q + o, k] = Σ_i A[o, i] Σ_rc V[i, r, c] U[i, r, c, k]        V = B d, U = G w

The inner loop is that of a 1x1 convolution of several tiles. Pixels outside the image are 0, rows
outside are left out. A band of rows shares V where one call does them; what a row becomes does not
depend on its band. Rounding is that of sums of n - 1 more terms: within a tile outputs see each
other's errors, and infinities. It was measured to be below 4 times that of `float_direct`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, minimal_filtering, winograd_tiles
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.compile.kernels.winograd_nest import Nest
from binas.compile.kernels.winograd_rows import Shape, band, pieces
from binas.compile.tile import Tile
from binas.core.layer import Layer

_STACK_BYTES = 32 << 10  # of the transformed rows of one output row


def _shape(layer: Layer) -> Shape:
    shape = Shape.of(layer)
    if shape is None:
        raise ValueError("no minimal filtering of this layer")
    return shape


def share(layer: Layer, isa: Isa) -> float | None:
    """Vector instructions over those of every tap inside; None where it cannot be filtered.

    Counted are those of a tile and a vector of output channels; the input's transform is shared by
    all vectors, and by the rows of a band.
    """
    shape = Shape.of(layer)
    if shape is None:
        return None
    (R, _), (_, _, Q, K), C = layer.kernel, layer.out_shape, layer.in_shape[3]
    m, n = shape.filtering.outputs, shape.filtering.products
    held = default_tile(layer, isa).pixels // m
    if R * shape.row_bytes(held) > _STACK_BYTES:
        return None
    into, out = minimal_filtering.sums(shape.filtering)
    rows, in_rows = band(layer, shape, held)
    shared = (into + 2 * n) * len(pieces(shape.run, isa.lanes)) * in_rows / rows
    each = R * sum(shape.runs) + out + 2 * n + shared / -(-K // isa.lanes)
    return each * -(-Q // m) / (R * C * sum(map(len, cutting.classes(layer)[1])))


def instructions(layer: Layer, _isa: Isa) -> float:
    """Of the inner loop, for a vector of multiply-adds: so much less than one product for each."""
    shape, taps = _shape(layer), layer.kernel[1] * layer.in_shape[3]
    return sum(shape.runs) / (shape.filtering.outputs * taps)


def _as_row(layer: Layer, shape: Shape) -> Layer:
    return winograd_tiles.as_row(layer, -(-layer.out_shape[2] // shape.filtering.outputs))


def default_tile(layer: Layer, isa: Isa) -> Tile:
    """The tile of the fewest cycles in the inner loop, whose sums are of tiles of m outputs."""
    shape = _shape(layer)
    return winograd_tiles.rule(_as_row(layer, shape), shape.run, shape.filtering.outputs, isa)


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, and no others are taken from anybody."""
    shape, rule = _shape(layer), default_tile(layer, isa)
    return winograd_tiles.tried(_as_row(layer, shape), rule, shape.filtering.outputs, isa)


def weights(node: Node) -> list[NDArray[np.float32]]:
    """U: per point [R, run, K], rounded from float64."""
    assert node.weights is not None  # noqa: S101
    shape, (K, R, S, C) = _shape(node.layer), node.weights.shape
    row = np.zeros((K, R, shape.filtering.taps * shape.run))
    row[..., : S * C] = node.weights.reshape(K, R, S * C)
    taps = row.reshape(K, R, shape.filtering.taps, shape.run)
    matrix = np.array(shape.filtering.of_weights(), dtype=np.float64)
    found = np.einsum("it,krtc->irck", matrix, taps).astype(np.float32)
    return [found[i, :, :run] for i, run in enumerate(shape.runs)]


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer."""
    tile, f = tile or default_tile(layer, isa), _shape(layer).filtering
    with frame(symbol, layer, parameters(layer, isa, tile)) as made:
        Nest(made, layer, tile, isa, _shape(layer)).emit()
    N, P, _, _ = layer.out_shape
    return Kernel(made.function, N * P, f"conv winograd F({f.outputs},{f.taps}) {isa.cpu} {tile}")


def parameters(layer: Layer, isa: Isa, tile: Tile) -> list[Parameter]:
    """Transformed weights, then what the epilogue reads."""
    size = cutting.weight_size(layer, tile, _shape(layer).per_channel(layer))
    return [Parameter("w", size, "float32"), *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """The values of `parameters`: weights as per block [point][R][run][lanes of the block]."""
    layer = node.layer
    tile, points = tile or default_tile(layer, isa), weights(node)
    parts = []
    for block in cutting.blocks(layer, tile, _shape(layer).per_channel(layer)):
        for first in range(block.first, block.first + block.count * tile.channels, tile.channels):
            for point in points:
                part = np.zeros((*point.shape[:2], block.vectors * tile.lanes), np.float32)
                part[..., : block.channels] = point[..., first : first + block.channels]
                parts.append(part.reshape(-1))
    return [np.concatenate(parts), *epilogue.arrays(node, isa)]
