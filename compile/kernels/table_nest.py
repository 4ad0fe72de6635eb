"""The loops around tables of signed sums in memory: `float_tables.py` says what is computed.

A tile of pixels goes through the input channels in passes whose tables stay in the nearest cache:
activations are turned, so that pixels lie in the lanes, and summed up to tables; then each block of
output channels takes its sums, adds an entry of every table, and puts them back. At the end sums
are turned again and handed to the epilogue. All of this lies on the stack, in lines of cache of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as builder

from binas.compile.isa import Isa
from binas.compile.kernels import channels, epilogue, prologue
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, floordiv, floormod
from binas.compile.kernels.sum_tables import GROUP, to_line
from binas.core import bits
from binas.core.layer import Layer

CHANNELS = 6  # of a block: three quarters of the registers hold their sums
PASS = 16  # tables that are held at once: of sixteen pixels, 16 KB
_ENTRIES = 1 << GROUP
_LINE = 16  # floats of a line of cache


def pixels(isa: Isa) -> int:
    """Of a tile: vectors that share an index, and with it its load."""
    return isa.lanes * (isa.registers * 3 // 4 // CHANNELS)


def widths(row: Layer, isa: Isa) -> list[int]:
    """Pixels of the tiles of an output row."""
    whole, rest = divmod(row.out_shape[2], pixels(isa))
    return [pixels(isa)] * whole + ([rest] if rest else [])


def floats_on_stack(layer: Layer, isa: Isa) -> int:
    """What a kernel keeps there: tables, sums, and a word of channels turned."""
    rows = PASS * _ENTRIES + _rows(layer, isa) + bits.WORD_BITS
    return rows * pixels(isa) + _LINE - 1


def _rows(layer: Layer, isa: Isa) -> int:
    """Rows of sums: channels, in whole blocks, and in whole squares to be turned."""
    return max(-(-layer.out_channels // unit) * unit for unit in (CHANNELS, isa.lanes))


class TableNest:
    """Emits all tiles of a layer.

    Args:
        made: The kernel's buffers.
        row: The layer as `cutting.as_row` sees it.
        isa: Hardware facts.
    """

    def __init__(self, made: Frame, row: Layer, isa: Isa) -> None:
        """Make room on the stack."""
        self.frame, self.row, self.isa = made, row, isa
        self.near = v.array("float32", floats_on_stack(row, isa))
        self.tables = builder.Bind(to_line(self.near, 0))
        self.sums = self.tables + PASS * _ENTRIES * pixels(isa)
        self.turned = self.sums + _rows(row, isa) * pixels(isa)
        self.epilogue = epilogue.Epilogue(made, isa)

    def emit(self) -> int:
        """All of the kernel; returns how many units it has."""
        N, P, Q, _ = self.row.out_shape
        most, first = pixels(self.isa), 0
        whole, rest = divmod(Q, most)
        for width, count, start in ((most, whole, 0), (rest, min(rest, 1), whole * most)):
            if count == 0:
                continue
            stop = first + N * P * count
            with self.frame.units(first, stop) as unit:
                line, number = floordiv(unit - first, count), floormod(unit - first, count)
                _Tile(self, line, start + number * most, width).emit()
            first = stop
        return first


class _Tile:
    """Some pixels of an output row (n * P + p), from `column` on, and all their channels."""

    def __init__(self, nest: TableNest, line: Any, column: Any, width: int) -> None:
        self.nest, self.width = nest, width
        self.row, self.V = nest.row, nest.isa.lanes
        self.vectors = -(-width // self.V)  # of pixels
        self.wide = self.vectors * self.V
        _, H, W, C = self.row.in_shape
        _, P, Q, _ = self.row.out_shape
        down, right = self.row.stride
        above = (floordiv(line, P) * H + floormod(line, P) * down) * W
        # Lanes without a pixel repeat the last one.
        columns = [column + min(lane, width - 1) for lane in range(self.wide)]
        self.inputs = [(above + at * right) * C for at in columns]
        self.first = line * Q + column

    def emit(self) -> None:
        """Passes over the input channels, then the epilogue."""
        C, size = self.row.in_shape[3], PASS * GROUP
        with v.loop(0, _rows(self.row, self.nest.isa) * self.vectors) as vector:
            zeros = v.splat(0.0, self.V, "float32")
            v.store(self.nest.near, self.nest.sums + vector * self.V, zeros, self.V)
        whole, rest = divmod(C, size)
        if whole:
            with v.loop(0, whole) as number:
                self._pass(number, size)
        if rest:
            self._pass(v.const(whole), rest)
        self._finish()

    def _pass(self, number: Any, count: int) -> None:
        """Tables of `count` activations behind so many passes, and all sums over them."""
        V, first = self.V, number * (PASS * GROUP)
        whole, rest = divmod(count, V)
        if whole:
            with v.loop(0, whole) as square:
                self._tables(square * (V // GROUP), first + square * V, V)
        if rest:
            self._tables(v.const(whole * (V // GROUP)), first + whole * V, rest)
        self._add(number * PASS, -(-count // GROUP))

    def _tables(self, group: Any, at: Any, count: int) -> None:
        """The tables from `group` on, of `count` activations from `at` on: `V` at most."""
        V, made, isa = self.V, self.nest.frame, self.nest.isa
        for j in range(self.vectors):
            inputs = self.inputs[j * V : (j + 1) * V]
            rows = [prologue.load(made, first + at, at, isa) for first in inputs]
            xs = transposed(rows)[:count]
            for start in range(0, count, GROUP):
                place = self._table(group + start // GROUP) + j * V
                for entry, total in enumerate(_signed_sums(xs[start : start + GROUP], V)):
                    v.store(self.nest.near, place + entry * self.wide, total, V)

    def _add(self, group: Any, count: int) -> None:
        """To all sums the entries of `count` tables; `group` is the first among all of a pixel."""
        V, near = self.V, self.nest.near
        weights, blocks = self.nest.frame.parameters["w"], -(-self.row.out_channels // CHANNELS)
        with v.loop(0, blocks) as block:
            place = self.nest.sums + block * (CHANNELS * self.wide)
            sums = [
                v.Register("float32", V, v.load(near, place + i * V, V))
                for i in range(CHANNELS * self.vectors)
            ]
            with v.loop(0, count) as k:
                index = (group * blocks + block * count + k) * CHANNELS
                for channel in range(CHANNELS):
                    step = tirx.Cast("int32", v.load(weights, index + channel))
                    entry = self._table(k) + step * self.vectors
                    for j in range(self.vectors):
                        sums[channel * self.vectors + j].add(v.load(near, entry + j * V, V))
            for i, total in enumerate(sums):
                v.store(near, place + i * V, total.get(), V)

    def _finish(self) -> None:
        """Sums turned, a word of channels at a time, so that channels lie in the lanes again."""
        nest, V = self.nest, self.V
        for block in channels.blocks(self.row.out_channels, nest.isa):
            with block.loop() as k0:
                for j in range(self.vectors):
                    for i in range(block.vectors):
                        place = nest.sums + (k0 + i * V) * self.wide + j * V
                        rows = [v.load(nest.near, place + r * self.wide, V) for r in range(V)]
                        for pixel, row in enumerate(transposed(rows), j * V):
                            at = nest.turned + pixel * bits.WORD_BITS + i * V
                            v.store(nest.near, at, row.get(), V)
                with v.loop(0, self.width) as pixel:
                    at = nest.turned + pixel * bits.WORD_BITS
                    values = [v.load(nest.near, at + i * V, V) for i in range(block.vectors)]
                    nest.epilogue.emit(self.first + pixel, k0, values, block.channels)

    def _table(self, group: Any) -> Any:
        return self.nest.tables + group * (_ENTRIES * self.wide)


def _signed_sums(xs: Sequence[v.Register], V: int) -> list[Any]:
    """All sums of up to four activations: number j is added in sum i if bit j of i is 1.

    In two halves, so that no sum is the difference of larger ones.
    """
    low, high = (_pair(xs[start : start + 2], V) for start in (0, 2))
    return [low[i % 4].get() + high[i // 4].get() for i in range(_ENTRIES)]


def _pair(xs: Sequence[v.Register], V: int) -> list[v.Register]:
    """The four signed sums of two activations, of one and 0, or of nothing."""
    zero = v.splat(0.0, V, "float32")
    a, b = ([x.get() for x in xs] + [zero, zero])[:2]
    both, last = v.Register("float32", V, a + b), v.Register("float32", V, b - a)
    signs = [zero - both.get(), zero - last.get(), last.get(), both.get()]
    return [v.Register("float32", V, value) for value in signs]


def transposed(rows: Sequence[Any]) -> list[v.Register]:
    """As many vectors as they have lanes, turned: lane i of row j becomes lane j of row i."""
    V = len(rows)
    held = [v.Register("float32", V, row) for row in rows]
    # Neighbours, then pairs of rows, within four lanes each; then the halves of eight.
    for apart, low in ((1, (0, V, 1, V + 1)), (2, (0, 1, V, V + 1))):
        fours = [tuple(lane + first for first in range(0, V, 4) for lane in low)]
        fours += [tuple(lane + 2 for lane in fours[0])]
        held = _met(held, apart, *fours)
    if V > 4:
        held = _met(held, 4, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))
    return [held[(0, 2, 1, 3, 4, 6, 5, 7)[i]] for i in range(V)]


def _met(
    rows: list[v.Register], apart: int, low: Sequence[int], high: Sequence[int]
) -> list[v.Register]:
    """Each row meets the one so far apart: lanes of both become a row each, in their places."""
    V, found = len(rows), list(rows)
    for i in range(V):
        if i & apart == 0:
            pair = [rows[i].get(), rows[i | apart].get()]
            for at, lanes in ((i, low), (i | apart, high)):
                value = tirx.Shuffle(pair, [v.const(lane) for lane in lanes])
                found[at] = v.Register("float32", V, value)
    return found
