"""Real convolution with fewer multiplications: minimal filtering of rows and columns.

A tile of m x m' outputs is filtered along both axes, each cut into the phases of its stride
(`winograd_axes.py`), for every input channel c and output channel k:

    y[o, o', k] = Σ_ij A[o, i] A'[o', j] Σ_c V[i, j, c] U[i, j, c, k]    V = B d B'ᵀ    U = G w G'ᵀ

In tiles of 4x4 a 3x3 takes 36 products for 144, at stride 2 81. They are made row by row of V,
each row for all output channels, and added to the outputs that it has a part in: so what is
transformed stays in the near caches, and a group of tiles reads weights once. Where channels are
many this beats filtering along the row alone (`float_winograd.py`), which transforms fewer
products, since it sums over kernel rows first. Rounding keeps within the same bounds; within a tile
outputs see each other's errors, and an infinity makes most of them NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, float_direct, winograd_tiles
from binas.compile.kernels.cutting import Block
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.compile.kernels.minimal_filtering import sums
from binas.compile.kernels.winograd_axes import Axis, Shape
from binas.compile.kernels.winograd_nest_2d import Nest
from binas.compile.kernels.winograd_rows import groups
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

_STACK_BYTES = 112 << 10  # a thread may have as little as 128 KiB
_WEIGHT_BYTES = 4 << 20  # every group of tiles reads all of them
# Vector instructions for which one of weights keeps a core busy. They come from the second-level
# cache or the memory behind it, of which a Cortex-A53 reads 16 bytes in 10 cycles (2 GB/s).
_WEIGHT, _WEIGHT_IN_ORDER = 1, 5
# With 32 registers of 64 bytes: sums that are held, as the inner loop has no epilogue, and cycles
# of a vector of weights beside those of its load, so that tiles with fewer of them win. Chosen on
# an Emerald Rapids, where line, products and a point's weights together are more than 48 KB.
_SUMS, _FAR = 24, 0.15


def share(layer: Layer, isa: Isa) -> float | None:
    """Vector instructions over those of every tap inside; None where it cannot be filtered."""
    found = _chosen(layer, isa)
    return found[0] if found else None


def shape_of(layer: Layer, isa: Isa) -> Shape:
    """The layer as it is filtered: in the tiles that take the fewest instructions."""
    found = _chosen(layer, isa)
    if found is None:
        raise ValueError("no minimal filtering of this layer in two dimensions")
    return found[1]


@cache
def _chosen(layer: Layer, isa: Isa) -> tuple[float, Shape] | None:
    shapes = [shape for shape in _shapes(layer) if most_tiles(layer, shape, isa)]
    found = [(_share(layer, shape, isa), shape) for shape in shapes]
    return min(found, key=lambda one: one[0]) if found else None


def _shapes(layer: Layer) -> Iterator[Shape]:
    """Those whose rounding keeps within the bounds, and whose weights are not too many.

    Direct sums of few products round so well that in tiles of 4x4 ours exceed the bounds with fewer
    than 24 channels, and with two taps an axis. Where every phase has four taps they always do.
    """
    fewest = min(layer.kernel)
    short = all(R // s <= 3 for R, s in zip(layer.kernel, layer.stride, strict=True))
    square = fewest >= 3 and layer.in_shape[3] >= 24
    for outputs in ((2, 4), (4, 4)) if square else ((2, 4),):
        shape = Shape.of(layer, outputs) if short else None
        if shape and 4 * shape.per_channel * layer.out_channels <= _WEIGHT_BYTES:
            yield shape


def _share(layer: Layer, shape: Shape, isa: Isa) -> float:
    """Counted per tile and vector of output channels, which share the transforms of inputs."""
    down, along, C = shape.down, shape.along, shape.channels
    high, wide = shape.tiles(layer)
    vectors, held = -(-layer.out_channels // isa.lanes), _in_group(layer, shape, isa)
    # Two multiply-adds begin per cycle: fewer sums than their latency hides leave cycles empty.
    empty = max(1, 2 * float_direct.LATENCY / (held * vectors))
    products, outputs = down.products * along.products, down.outputs * along.outputs
    summed = sum(sums(phase.filtering)[1] for phase in along.phases)
    gathered = summed + along.outputs * (len(along.phases) - 1)
    # Of a filtered phase the first row and the last are added to one output row, the others to all.
    added = sum(
        (p.filtering.products - 2) * down.outputs + 2 if p.filtered else p.filtering.products
        for p in down.phases
    )
    each: float = (
        products * (C * empty + 2)
        + down.products * gathered
        + 3 * added * along.outputs
        + 2 * outputs
    )
    each += shape.per_channel * (_WEIGHT_IN_ORDER if isa.in_order else _WEIGHT) / held

    # All input rows, as at borders; inside, those without a part are left out.
    rows = sum(p.filtering.products * (p.filtering.products + 1) for p in down.phases if p.filtered)
    rows += sum(2 * p.filtering.products for p in down.phases if not p.filtered)
    columns = sum(sums(phase.filtering)[0] for phase in along.phases) + 2 * along.filtered
    into = rows * along.outputs * along.stride + down.products * columns
    each += into * -(-C // isa.lanes) / vectors

    rows_inside, columns_inside = (sum(map(len, taps)) for taps in cutting.classes(layer))
    return each * high * wide / max(1, rows_inside * columns_inside * C)


def instructions(layer: Layer, isa: Isa) -> float:
    """Of the inner loop, for a vector of multiply-adds: so much less than one product for each."""
    shape = shape_of(layer, isa)
    taps = [axis.outputs * axis.taps for axis in (shape.down, shape.along)]
    return shape.down.products * shape.along.products / (taps[0] * taps[1])


def most_tiles(layer: Layer, shape: Shape, isa: Isa, vectors: int = 0) -> int:
    """As many tiles in a group as have room on the stack, perhaps none.

    Args:
        layer: The convolution.
        shape: How it is filtered.
        isa: For which CPU.
        vectors: Of channels in a register tile; 0 takes those of a word.
    """
    along, K = shape.along, -(-layer.out_channels // isa.lanes) * isa.lanes
    inputs = (along.outputs * along.stride + along.filtered) * shape.channels
    products = along.products * (vectors * isa.lanes or bits.WORD_BITS)
    each = inputs + products + shape.down.outputs * along.outputs * K
    beyond = (along.taps - along.stride) * shape.channels + (1 + along.filtered) * isa.lanes
    return min(max(0, _STACK_BYTES // 4 - beyond) // each, shape.tiles(layer)[1])


def _in_group(layer: Layer, shape: Shape, isa: Isa) -> int:
    """Tiles of a group, as long as a register tile is of a word: of more, there may be fewer."""
    return groups(shape.tiles(layer)[1], most_tiles(layer, shape, isa))[0].tiles


def _as_row(layer: Layer, isa: Isa) -> Layer:
    """What the inner loop does, as a layer. Bits are packed later, from sums of all channels."""
    plain = replace(layer, float_out=True, bits_out=False, bits_affine=False)
    return winograd_tiles.as_row(plain, _in_group(layer, shape_of(layer, isa), isa))


def default_tile(layer: Layer, isa: Isa) -> Tile:
    """The tile of the fewest cycles in the inner loop, whose sums are of tiles of outputs."""
    shape, row = shape_of(layer, isa), _as_row(layer, isa)
    most, far = (_SUMS, _FAR) if isa.vector_bits == 512 else (0, 0.0)
    outputs = shape.along.outputs
    return winograd_tiles.rule(row, shape.channels, outputs, isa, most=most, far=far)


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, and no others are taken from anybody."""
    rule, outputs = default_tile(layer, isa), shape_of(layer, isa).along.outputs
    return winograd_tiles.tried(_as_row(layer, isa), rule, outputs, isa)


def _blocks(layer: Layer, isa: Isa, tile: Tile) -> list[Block]:
    return cutting.blocks(_as_row(layer, isa), tile, shape_of(layer, isa).per_channel)


def weights(node: Node, isa: Isa) -> NDArray[np.float32]:
    """U [down][along][C][K], rounded from float64."""
    assert node.weights is not None  # noqa: S101
    shape = shape_of(node.layer, isa)
    down = _filtered(node.weights.astype(np.float64), shape.down, 1)
    return _filtered(down, shape.along, 2).transpose(1, 2, 3, 0).astype(np.float32)


def _filtered(w: NDArray[np.float64], axis: Axis, at: int) -> NDArray[np.float64]:
    """G w of every phase, along an axis of the array."""
    parts = []
    for phase in axis.phases:
        taps = np.moveaxis(w, at, 0)[phase.first :: axis.stride]
        matrix = np.array(phase.filtering.of_weights()[: phase.weights], dtype=np.float64)
        parts.append(np.moveaxis(np.tensordot(matrix, taps, 1), 0, at))
    return np.concatenate(parts, axis=at)


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer."""
    tile, shape = tile or default_tile(layer, isa), shape_of(layer, isa)
    most = max(1, most_tiles(layer, shape, isa, tile.vectors))
    with frame(symbol, layer, parameters(layer, isa, tile)) as made:
        Nest(made, tile, isa, shape, _blocks(layer, isa, tile), most).emit()
    name = f"conv winograd F({shape.down.outputs}x{shape.along.outputs}) {isa.cpu} {tile}"
    return Kernel(made.function, layer.out_shape[0] * shape.tiles(layer)[0], name)


def parameters(layer: Layer, isa: Isa, tile: Tile) -> list[Parameter]:
    """Transformed weights, the matrices down the rows, then what the epilogue reads."""
    shape = shape_of(layer, isa)
    size = cutting.weight_size(_as_row(layer, isa), tile, shape.per_channel)
    matrices = Parameter("f", len(shape.down.matrices()), "float32")
    return [Parameter("w", size, "float32"), matrices, *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """The values of `parameters`: weights as per block [down][along][C][lanes of the block]."""
    layer, shape, points = node.layer, shape_of(node.layer, isa), weights(node, isa)
    tile = tile or default_tile(layer, isa)
    parts = []
    for block in _blocks(layer, isa, tile):
        for first in range(block.first, block.first + block.count * tile.channels, tile.channels):
            part = np.zeros((*points.shape[:3], block.vectors * tile.lanes), np.float32)
            part[..., : block.channels] = points[..., first : first + block.channels]
            parts.append(part.reshape(-1))
    return [np.concatenate(parts), shape.down.matrices(), *epilogue.arrays(node, isa)]
