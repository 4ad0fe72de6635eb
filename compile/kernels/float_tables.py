"""1x1 convolution of real activations with weights of one bit: signed sums looked up in memory.

    y[p, k] = Σ_g T[g][i(k, g)][p]        T[g][i][p] = Σ_j (bit j of i ? x : -x)[p, 4 g + j]

The sums are those of `float_lookup.py`, with pixels in the lanes: an entry is a sum of four
activations for each of some pixels, sixteen entries are a table, and every channel adds the one
that its weights say, straight from memory. Of eight pixels that is 32 multiply-adds, for the load
of an index and an addition that loads; an index serves all vectors of pixels of a tile. To build a
table costs what the additions of about forty channels do.

A register of sixteen lanes holds a whole table of one pixel and is looked into; one of eight holds
half of it, and signs take instructions of their own: there, and where nothing is looked up in
registers, this way is quicker unless pixels are few.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, float_lookup, prologue
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.compile.kernels.sum_tables import GROUP, imported
from binas.compile.kernels.table_nest import (
    CHANNELS,
    PASS,
    TableNest,
    floats_on_stack,
    pixels,
    widths,
)
from binas.compile.tile import Tile
from binas.core.layer import Layer

# Cycles for a vector of pixels, measured on a Zen 3:
_TABLE = 30  # of four activations: turned, summed up to a table and stored
_ADDITION = 0.5  # of a channel per table: its entry added
_CHANNEL = 5.5  # of a channel: its sum cleared, turned and finished
_INDEX = 0.6  # of a channel per table, for all vectors of a tile: loaded
_STACK = 20 << 10  # floats: threads may have little more


def pays(layer: Layer, isa: Isa) -> bool:
    """Whether a layer can be computed this way, and is quicker so than in others."""
    if not (layer.signed_sums and isa.adds_from_tables):
        return False
    if floats_on_stack(layer, isa) > _STACK:
        return False
    others = [float_lookup.multiplied(layer, isa)]
    if float_lookup.pays(layer, isa):
        others.append(float_lookup.cycles(layer, isa))
    return _cycles(layer, isa) < min(others)


def _cycles(layer: Layer, isa: Isa) -> float:
    """Cycles of a row of pixels per table, as `float_lookup.cycles`."""
    in_row = widths(cutting.as_row(layer), isa)
    vectors = sum(-(-width // isa.lanes) for width in in_row)
    groups, K = -(-layer.in_shape[3] // GROUP), layer.out_channels
    by_vectors = vectors * (_TABLE + K * (_ADDITION + _CHANNEL / groups))
    return by_vectors + len(in_row) * K * _INDEX


def instructions(_layer: Layer, isa: Isa) -> float:
    """Of the inner loop: an addition, a load and a share of an index do four multiply-adds.

    Additions of AVX load by themselves.
    """
    return ((1 if isa.looks_up else 2) + isa.lanes / pixels(isa)) / GROUP


def default_tile(_layer: Layer, isa: Isa) -> Tile:
    """The only one: as many pixels and channels as there are registers for."""
    return Tile(pixels(isa), CHANNELS, 1)


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """That one."""
    return [default_tile(layer, isa)]


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer; a unit is a tile of pixels with all its channels."""
    tile, row = tile or default_tile(layer, isa), cutting.as_row(layer)
    with frame(symbol, layer, parameters(layer, isa, tile)) as made, imported(isa):
        units = TableNest(made, row, isa).emit()
    return Kernel(made.function, units, f"conv tables {isa.cpu} {tile}")


def parameters(layer: Layer, isa: Isa, _tile: Tile) -> list[Parameter]:
    """Places in tables, then what an affine in front and the epilogue read."""
    blocks, groups = -(-layer.out_channels // CHANNELS), -(-layer.in_shape[3] // GROUP)
    size = blocks * groups * CHANNELS
    before = prologue.parameters(layer, isa)
    return [Parameter("w", size, "uint8"), *before, *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa, _tile: Tile | None = None) -> list[NDArray[Any]]:
    """The values of `parameters`: per pass [blocks of channels][groups of inputs][channels]."""
    assert node.weights is not None  # noqa: S101
    K, _, _, C = node.weights.shape
    blocks, groups = -(-K // CHANNELS), -(-C // GROUP)
    positive = np.zeros((blocks * CHANNELS, groups * GROUP), np.uint8)
    positive[:K, :C] = node.weights[:, 0, 0] > 0
    entries = positive.reshape(blocks, CHANNELS, groups, GROUP) @ (1 << np.arange(GROUP))
    places = (entries * isa.lanes).astype(np.uint8).transpose(0, 2, 1)
    passes = [places[:, first : first + PASS].reshape(-1) for first in range(0, groups, PASS)]
    return [np.concatenate(passes), *prologue.arrays(node, isa), *epilogue.arrays(node, isa)]
