"""1x1 convolution of real activations with weights of one bit: signed sums looked up in a register.

    y[p, k] = Σ_g T[p, g][i(k, g)]        T[p, g][i] = Σ_j (bit j of i ? x : -x)[p, 4 g + j]

Four activations have sixteen signed sums, which fill a register of sixteen lanes. A channel's four
weights are the index of its sum, and one instruction looks up those of sixteen channels: it and an
addition do what four multiply-adds would. An index is a nibble of the word in which `core.bits`
packs 32 weights, so these are stored as they are everywhere else, and are shifted past. A register
of eight lanes holds the sums whose last sign is +; a nibble then is three bits of index and a sign,
which is put on what was looked up.

Tables of weights instead of multiplications: Park et al., LUT-GEMM, ICLR 2024; Wei et al., T-MAC,
EuroSys 2025, there on CPUs with byte shuffles and 8-bit activations. Here nothing is rounded but
the sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, prologue
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.compile.kernels.lookup_nest import Lookup, widest
from binas.compile.kernels.sum_tables import GROUP, encoded, halved, imported
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

_SUMS = 24  # held in registers; beside them the indices of a block, a table, a sum that was found
_HALF_REGISTERS = 13  # of sums and indices; beside them signs, their mask, and what is looked up
_LATENCY = 4  # cycles of an addition
_LOAD = 0.1  # cycles of a load beside these, which may hide it
_WEIGHTS = 1.0  # cycles of a vector of real weights, which all pixels of a tile share
_SPARED = 1.045  # tiles of four vectors, for bits, take less than what is counted: measured, AVX2


def pays(layer: Layer, isa: Isa) -> bool:
    """Whether a layer can be computed this way, and is quicker so than by multiply-adds."""
    if not (layer.signed_sums and isa.looks_up):
        return False
    row = cutting.as_row(layer)
    if widest(row, isa) == 0:
        return False  # what a pixel needs must fit: the stack of a thread may be small
    return cycles(layer, isa) < multiplied(layer, isa)


def cycles(layer: Layer, isa: Isa) -> float:
    """Cycles of a row of pixels per table, with the tile of the fewest."""
    return _cycles(cutting.as_row(layer), default_tile(layer, isa), isa)


def multiplied(layer: Layer, isa: Isa) -> float:
    """The same of multiply-adds, two to a cycle; one where they take two instructions."""
    row = cutting.as_row(layer)
    needed = -(-row.out_channels // isa.lanes)
    products = row.out_shape[2] / 2 * (1 if isa.fused else 2)
    found = max(products, _WEIGHTS) * needed * GROUP
    return found * _SPARED if layer.bits_out and halved(isa) else found


def instructions(_layer: Layer, isa: Isa) -> float:
    """Of the inner loop: a look-up, perhaps its sign, and an addition do four multiply-adds."""
    return (3 if halved(isa) else 2) / GROUP


def _pixels(row: Layer, vectors: int, isa: Isa) -> int:
    """How many pixels' sums of so many vectors registers and near cache hold."""
    held = _HALF_REGISTERS // vectors - 1 if halved(isa) else _SUMS // vectors
    return min(row.out_shape[2], widest(row, isa), held)


def default_tile(layer: Layer, isa: Isa) -> Tile:
    """The tile of the fewest cycles, as counted below; whole words where bits are written."""
    row = cutting.as_row(layer)
    needed = -(-row.out_channels // isa.lanes)
    step = bits.WORD_BITS // isa.lanes if row.bits_out else 1
    return min(
        (
            Tile(pixels, vectors, isa.lanes, 1)
            for vectors in range(step, -(-min(needed, _SUMS // 4) // step) * step + 1, step)
            for pixels in range(1, _pixels(row, vectors, isa) + 1)
        ),
        key=lambda tile: _cycles(row, tile, isa),
    )


def _cycles(row: Layer, tile: Tile, isa: Isa) -> float:
    """Cycles of a row of pixels per table.

    Two units shift, look up and add, one instruction of them each; of half tables, three make a
    sign and shift, look up in two parts (as Zen 3 does), put the sign on and add.
    """
    pixels, cycles = row.out_shape[2], 0.0
    of_index, of_sum, units = (3, 4, 3) if halved(isa) else (1, 2, 2)
    shorter, wider = divmod(pixels, pieces := -(-pixels // tile.pixels))
    for width, count in ((shorter, pieces - wider), (shorter + 1, wider)):
        cycles += count * GROUP * width / 2
        for block in cutting.blocks(row, tile, 1):
            looked_up = block.vectors * (of_index + of_sum * width) / units
            found = max(looked_up, block.vectors * width, _LATENCY)
            cycles += count * block.count * (found + _LOAD * (width + block.vectors))
    return cycles


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, and no others are taken from anybody."""
    return enumerated(
        layer,
        default_tile(layer, isa),
        step=bits.WORD_BITS // isa.lanes if layer.bits_out else 1,
        sums=range(4, _HALF_REGISTERS if halved(isa) else _SUMS + 1),
        widest=widest(cutting.as_row(layer), isa),
    )


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer; a unit is a tile of pixels with all its channels."""
    tile, row = tile or default_tile(layer, isa), cutting.as_row(layer)
    with frame(symbol, layer, parameters(layer, isa, tile)) as made, imported(isa):
        units = Lookup(made, row, tile, isa).emit()
    return Kernel(made.function, units, f"conv lookup {isa.cpu} {tile}")


def parameters(layer: Layer, isa: Isa, tile: Tile) -> list[Parameter]:
    """Packed weights, then what an affine in front and the epilogue read."""
    size = cutting.weight_size(cutting.as_row(layer), tile, bits.words(layer.in_shape[3]))
    before = prologue.parameters(layer, isa)
    return [Parameter("w", size, "int32"), *before, *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """The values of `parameters`: packed weights as per block [words(C)][lanes of the block]."""
    assert node.weights is not None  # noqa: S101
    layer = node.layer
    tile, row = tile or default_tile(layer, isa), cutting.as_row(layer)
    words = encoded(bits.pack(node.weights[:, 0, 0]).view(np.int32), isa)
    parts = []
    for block in cutting.blocks(row, tile, words.shape[1]):
        for number in range(block.count):
            first = block.first + number * tile.channels
            part = np.zeros((block.vectors * tile.lanes, words.shape[1]), np.int32)
            part[: block.channels] = words[first : first + block.channels]
            parts.append(part.T.reshape(-1))
    return [np.concatenate(parts), *prologue.arrays(node, isa), *epilogue.arrays(node, isa)]
