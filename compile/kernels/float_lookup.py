"""1x1 convolution of real activations with weights of one bit: signed sums looked up in a register.

    y[p, k] = Σ_g T[p, g][i(k, g)]        T[p, g][i] = Σ_j (bit j of i ? x : -x)[p, 4 g + j]

Four activations have sixteen signed sums, which fill a register of sixteen lanes. A channel's four
weights are the index of its sum, and one instruction looks up those of sixteen channels: it and an
addition do what four multiply-adds would. An index is a nibble of the word in which `core.bits`
packs 32 weights, so these are stored as they are everywhere else, and are shifted past.

Tables of weights instead of multiplications: Park et al., LUT-GEMM, ICLR 2024; Wei et al., T-MAC,
EuroSys 2025, there on CPUs with byte shuffles and 8-bit activations. Here nothing is rounded but
the sums.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.cutting import Block
from binas.compile.kernels.frame import Frame, Kernel, Parameter, floordiv, floormod, frame
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

ENTRIES = 16  # of a table, in a register of as many lanes
GROUP = 4  # activations of a table
_STEPS = bits.WORD_BITS // GROUP  # tables that a word of weights looks into
_WORDS = 4  # words between one look at the sums in memory and the next: their tables stay near
_SUMS = 24  # held in registers; beside them the indices of a block, a table, a sum that was found
_NEAR_BYTES = 24 << 10  # of tables and sums on the stack: half of the nearest cache
_LATENCY = 4  # cycles of an addition
_LOAD = 0.25  # cycles of a load beside these, which may hide it


def pays(layer: Layer, isa: Isa) -> bool:
    """Whether a layer can be computed this way, and is quicker so than by multiply-adds."""
    plain = layer.kernel == (1, 1) and layer.groups == 1 and not any(layer.padding)
    if not (plain and layer.op == "conv" and layer.weight_bits == 1 and isa.looks_up):
        return False
    row = cutting.as_row(layer)
    if _pixel_bytes(row) > _NEAR_BYTES:
        return False  # what a pixel needs must fit: the stack of a thread may be small
    needed = -(-row.out_channels // isa.lanes)
    multiplied = row.out_shape[2] * needed * GROUP / 2
    return _cycles(row, default_tile(layer, isa)) < multiplied


def instructions(_layer: Layer) -> float:
    """Of the inner loop, for a vector of multiply-adds: a look-up and an addition do four."""
    return 2 / GROUP


def default_tile(layer: Layer, isa: Isa) -> Tile:
    """The tile of the fewest cycles, as counted below; whole words where bits are written."""
    row = cutting.as_row(layer)
    needed = -(-row.out_channels // isa.lanes)
    step = bits.WORD_BITS // isa.lanes if row.bits_out else 1
    return min(
        (
            Tile(pixels, vectors, isa.lanes, 1)
            for vectors in range(step, -(-min(needed, _SUMS) // step) * step + 1, step)
            for pixels in range(1, min(row.out_shape[2], _widest(row), _SUMS // vectors) + 1)
            if vectors <= _SUMS // 4
        ),
        key=lambda tile: _cycles(row, tile),
    )


def _cycles(row: Layer, tile: Tile) -> float:
    """Cycles of a row of pixels per table: two units shift, look up and add, one of them each."""
    pixels, cycles = row.out_shape[2], 0.0
    shorter, wider = divmod(pixels, pieces := -(-pixels // tile.pixels))
    for width, count in ((shorter, pieces - wider), (shorter + 1, wider)):
        cycles += count * GROUP * width / 2
        for block in cutting.blocks(row, tile, 1):
            found = max(block.vectors * (1 + 2 * width) / 2, block.vectors * width, _LATENCY)
            cycles += count * block.count * (found + _LOAD * (width + block.vectors))
    return cycles


def _widest(row: Layer) -> int:
    """Pixels whose tables and sums lie near."""
    return max(1, _NEAR_BYTES // _pixel_bytes(row))


def _pixel_bytes(row: Layer) -> int:
    return 4 * (_WORDS * _STEPS * ENTRIES + _room(row))


def _room(row: Layer) -> int:
    return -(-row.out_channels // ENTRIES) * ENTRIES


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, and no others are taken from anybody."""
    return enumerated(
        layer,
        default_tile(layer, isa),
        step=bits.WORD_BITS // isa.lanes if layer.bits_out else 1,
        sums=range(4, _SUMS + 1),
        widest=_widest(cutting.as_row(layer)),
    )


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer; a unit is a tile of pixels with all its channels."""
    tile, row = tile or default_tile(layer, isa), cutting.as_row(layer)
    with frame(symbol, layer, parameters(layer, isa, tile)) as made:
        units = _Lookup(made, row, tile, isa).emit()
    return Kernel(made.function, units, f"conv lookup {isa.cpu} {tile}")


def parameters(layer: Layer, isa: Isa, tile: Tile) -> list[Parameter]:
    """Packed weights, then what the epilogue reads."""
    size = cutting.weight_size(cutting.as_row(layer), tile, bits.words(layer.in_shape[3]))
    return [Parameter("w", size, "int32"), *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """The values of `parameters`: packed weights as per block [words(C)][lanes of the block]."""
    assert node.weights is not None  # noqa: S101
    layer = node.layer
    tile, row = tile or default_tile(layer, isa), cutting.as_row(layer)
    words = bits.pack(node.weights[:, 0, 0]).view(np.int32)
    parts = []
    for block in cutting.blocks(row, tile, words.shape[1]):
        for number in range(block.count):
            first = block.first + number * tile.channels
            part = np.zeros((block.vectors * tile.lanes, words.shape[1]), np.int32)
            part[: block.channels] = words[first : first + block.channels]
            parts.append(part.T.reshape(-1))
    return [np.concatenate(parts), *epilogue.arrays(node, isa)]


class _Lookup:
    """Emits tiles: tables of some words of channels, all sums over these, and so on to the end."""

    def __init__(self, made: Frame, row: Layer, tile: Tile, isa: Isa) -> None:
        self.frame, self.row, self.tile, self.isa = made, row, tile, isa
        self.words = bits.words(row.in_shape[3])
        self.blocks = cutting.blocks(row, tile, self.words)
        self.spans = cutting.spans(row, tile.pixels)
        widest = max(span.width for span in self.spans)
        self.tables = v.array("float32", widest * _WORDS * _STEPS * ENTRIES)
        self.sums = v.array("float32", widest * _room(row))
        self.epilogue = epilogue.Epilogue(made, isa)

    def emit(self) -> int:
        """All of the kernel; returns how many units it has."""
        N, P, _, _ = self.row.out_shape
        first = 0
        for span in self.spans:
            stop = first + N * P * span.repeat
            with self.frame.units(first, stop) as unit:
                line, number = (
                    floordiv(unit - first, span.repeat),
                    floormod(unit - first, span.repeat),
                )
                self._tile(line, span.start + number * span.width, span.width)
            first = stop
        return first

    def _tile(self, line: Any, column: Any, width: int) -> None:
        """`width` pixels from `column` on of an output row (n * P + p), all their channels."""
        _, H, W, C = self.row.in_shape
        _, P, Q, _ = self.row.out_shape
        down, right = self.row.stride
        above = (floordiv(line, P) * H + floormod(line, P) * down) * W
        inputs = [(above + (column + pixel) * right) * C for pixel in range(width)]
        with v.loop(0, width * _room(self.row) // ENTRIES) as i:
            v.store(self.sums, i * ENTRIES, v.splat(0.0, ENTRIES, "float32"), ENTRIES)
        whole = C // bits.WORD_BITS
        with v.loop(0, whole // _WORDS) as k:
            self._pass(inputs, k * _WORDS, _WORDS, bits.WORD_BITS)
        done = whole // _WORDS * _WORDS
        if whole > done:
            self._pass(inputs, v.const(done), whole - done, bits.WORD_BITS)
        if self.words > whole:
            self._pass(inputs, v.const(whole), 1, C - whole * bits.WORD_BITS)
        for block in self.blocks:
            with v.loop(0, block.count) as number:
                channel = block.first + number * self.tile.channels
                for pixel in range(width):
                    sums = [self._sum(pixel, channel, j) for j in range(block.vectors)]
                    self.epilogue.emit(line * Q + column + pixel, channel, sums, block.channels)

    def _pass(self, inputs: list[Any], word: Any, words: int, channels: int) -> None:
        """Add up over `words` words of `channels` channels each, from `word` on."""
        steps, whole = -(-channels // GROUP), channels // GROUP
        for pixel, first in enumerate(inputs):
            at = first + word * bits.WORD_BITS
            with v.loop(0, words * whole) as group:
                self._store_table(pixel, group, at + group * GROUP, GROUP)
            if steps > whole:
                self._store_table(pixel, whole, at + whole * GROUP, channels % GROUP)
        for block in self.blocks:
            with v.loop(0, block.count) as number:
                self._block(len(inputs), block, number, (word, words, steps))

    def _store_table(self, pixel: int, group: Any, at: Any, count: int) -> None:
        """The signed sums of `count` activations from `at` on."""
        V, total = ENTRIES, None
        for j in range(count):
            x = v.splat(v.load(self.frame.operands[0], at + j), V, "float32")
            total = x * _signs(j) if total is None else v.fma(x, _signs(j), total, V, fused=True)
        v.store(self.tables, self._table(pixel, group), total, V)

    def _block(self, width: int, block: Block, number: Any, span: tuple[Any, int, int]) -> None:
        """Add what the tables hold to the sums of one block of channels."""
        word, words, steps = span
        V, vectors = ENTRIES, range(block.vectors)
        channel = block.first + number * self.tile.channels
        weight = block.weight + (number * self.words + word) * (block.vectors * V)
        pixels = range(width)
        sums = [
            [v.Register("float32", V, self._sum(pixel, channel, j)) for j in vectors]
            for pixel in pixels
        ]
        with v.loop(0, words) as k:
            indices = [
                v.Register("int32", V, v.load(self.frame.parameters["w"], first, V))
                for first in (weight + (k * block.vectors + j) * V for j in vectors)
            ]
            for step in range(steps):
                for pixel in pixels:
                    place = self._table(pixel, k * steps + step)
                    table = v.Register("float32", V, v.load(self.tables, place, V))
                    for j in vectors:
                        sums[pixel][j].add(_looked_up(table.get(), indices[j].get()))
                for index in indices if step + 1 < steps else ():
                    index.set(tirx.shift_right(index.get(), v.splat(GROUP, V)))
        for pixel in pixels:
            for j in vectors:
                v.store(self.sums, self._place(pixel, channel, j), sums[pixel][j].get(), V)

    def _table(self, pixel: int, group: Any) -> Any:
        return (pixel * _WORDS * _STEPS + group) * ENTRIES

    def _place(self, pixel: int, channel: Any, j: int) -> Any:
        return pixel * _room(self.row) + channel + j * ENTRIES

    def _sum(self, pixel: int, channel: Any, j: int) -> Any:
        return v.load(self.sums, self._place(pixel, channel, j), ENTRIES)


def _signs(j: int) -> Any:
    """Per entry, the sign of the table's activation `j`."""
    lane = tirx.Ramp(v.const(0), v.const(1), ENTRIES)
    bit = tirx.bitwise_and(tirx.shift_right(lane, v.splat(j, ENTRIES)), v.splat(1, ENTRIES))
    one = partial(v.splat, n=ENTRIES, dtype="float32")
    return tirx.Select(tirx.EQ(bit, v.splat(1, ENTRIES)), one(1.0), one(-1.0))


def _looked_up(table: Any, index: Any) -> Any:
    """The entries that the low four bits of each lane of `index` say (vpermps)."""
    name = "llvm.x86.avx512.permvar.sf.512"
    return v.intrinsic("float32x16", name, table, index)
