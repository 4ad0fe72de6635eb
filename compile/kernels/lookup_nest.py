"""The loops around looked-up signed sums: tables of some channels, all sums over these, and so on.

`float_lookup.py` says what is computed. Tables and, where channels take several passes, unfinished
sums lie on the stack, in lines of cache of their own: what begins elsewhere in a line is read from
two of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as builder

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, prologue
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import Block
from binas.compile.kernels.frame import Frame, floordiv, floormod
from binas.compile.kernels.sum_tables import (
    GROUP,
    HALF,
    halved,
    loaded,
    looked_up,
    next_index,
    signs,
    to_line,
)
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

_STEPS = bits.WORD_BITS // GROUP  # tables that a word of weights looks into
_LINE = 16  # floats of a line of cache
_WORDS = 4  # of a pass, at most: their tables stay near
_SIGN = -(1 << 31)
_NEAR = (26 << 10) // 4  # floats on the stack: four fifths of a nearest cache of 32 KB


def widest(row: Layer, isa: Isa) -> int:
    """Pixels whose tables and sums lie near; 0 where one pixel's do not."""
    return _NEAR // (_WORDS * (_STEPS * isa.lanes + _moved(row)) + _room(row, isa))


def _moved(row: Layer) -> int:
    """Activations of a word that are kept, since they went through an affine."""
    return bits.WORD_BITS if row.in_affine else 0


def _room(row: Layer, isa: Isa) -> int:
    return -(-row.out_channels // isa.lanes) * isa.lanes


@dataclass(frozen=True, slots=True)
class _Pass:
    """What is added up before the sums are stored: so much as has its tables near.

    Attributes:
        word: The first word of channels.
        whole: How many words follow each other.
        rest: Channels of one more word.
        first: Whether the sums begin with it.
        last: Whether they are whole after it.
    """

    word: Any
    whole: int
    rest: int
    first: bool
    last: bool


class Lookup:
    """Emits tiles: tables of some words of channels, all sums over these, and so on to the end."""

    def __init__(self, made: Frame, row: Layer, tile: Tile, isa: Isa) -> None:
        """Keep what every tile needs, and make room for tables and sums."""
        self.frame, self.row, self.tile, self.isa = made, row, tile, isa
        self.words = bits.words(row.in_shape[3])
        self.most = -(-self.words // -(-self.words // _WORDS))
        self.blocks = cutting.blocks(row, tile, self.words)
        self.spans = cutting.spans(row, tile.pixels)
        wide = max(span.width for span in self.spans)
        self.tables = wide * self.most * _STEPS * isa.lanes
        self.moved = self.tables + wide * self.most * _moved(row)
        sums = wide * _room(row, isa) if self.words > self.most else 0
        self.near = v.array("float32", self.moved + sums + _LINE - 1)
        self.start = builder.Bind(to_line(self.near, 0))
        one = tirx.Cast("float32", made.zero + 1)  # known, it would be no multiplication
        self.one = v.Register("float32", isa.lanes, v.splat(one, isa.lanes))
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
        pixels = [line * Q + column + pixel for pixel in range(width)]
        for part in self._passes():
            self._store_tables(inputs, part)
            for block in self.blocks:
                with v.loop(0, block.count) as number:
                    self._block(pixels, block, number, part)

    def _passes(self) -> Iterator[_Pass]:
        """Over all channels; those between the first and the last are a loop of the kernel."""
        count = -(-self.words // self.most)
        whole, rest = divmod(self.row.in_shape[3], bits.WORD_BITS)
        if count > 1:
            yield _Pass(v.const(0), self.most, 0, first=True, last=False)
        if count > 2:
            with v.loop(1, count - 1) as k:
                yield _Pass(k * self.most, self.most, 0, first=False, last=False)
        done = (count - 1) * self.most
        yield _Pass(v.const(done), whole - done, rest, first=count == 1, last=True)

    def _store_tables(self, inputs: list[Any], part: _Pass) -> None:
        """The tables of a pass, of pixels whose activations lie from each of `inputs` on."""
        at, whole = part.word * bits.WORD_BITS, part.whole * _STEPS + part.rest // GROUP
        source, firsts = self.frame.operands[0], [first + at for first in inputs]
        if self.row.in_affine:
            source, firsts = self.near, self._move(firsts, at, part)
        if whole:
            with v.loop(0, whole) as group:
                for pixel, first in enumerate(firsts):
                    xs = [v.load(source, first + group * GROUP + j) for j in range(GROUP)]
                    self._store_table(pixel, group, xs)
        for pixel, first in enumerate(firsts) if part.rest % GROUP else ():
            xs = [v.load(source, first + whole * GROUP + j) for j in range(part.rest % GROUP)]
            self._store_table(pixel, whole, xs)

    def _move(self, firsts: list[Any], channel: Any, part: _Pass) -> list[Any]:
        """Take a pass's activations through the affine, whole vectors of them; where they lie."""
        V, apart = self.isa.lanes, self.most * bits.WORD_BITS
        places = [self.start + self.tables + pixel * apart for pixel in range(len(firsts))]
        with v.loop(0, -(-(part.whole * bits.WORD_BITS + part.rest) // V)) as vector:
            for first, place in zip(firsts, places, strict=True):
                x = prologue.load(self.frame, first + vector * V, channel + vector * V, self.isa)
                v.store(self.near, place + vector * V, x, V)
        return places

    def _store_table(self, pixel: int, group: Any, activations: list[Any]) -> None:
        """The signed sums of up to four activations, by halves.

        They differ in the sign of the last activation alone, so all others are added up once.
        """
        V, place = HALF, self._table(pixel, group)
        xs = [v.splat(x, V, "float32") for x in activations]
        total = v.Register("float32", V, xs[0] * signs(0))
        for j, x in enumerate(xs[1 : GROUP - 1], 1):
            total.set(v.fma(x, signs(j), total.get(), V, fused=True))
        low = high = total.get()
        if len(xs) == GROUP:
            low, high = low - xs[-1], high + xs[-1]
        if not halved(self.isa):
            v.store(self.near, place, low, V)
            place = place + V
        v.store(self.near, place, high, V)

    def _block(self, pixels: list[Any], block: Block, number: Any, part: _Pass) -> None:
        """Add what the tables of a pass hold to the sums of one block of channels."""
        V, vectors = self.isa.lanes, range(block.vectors)
        channel = block.first + number * self.tile.channels
        weight = block.weight + (number * self.words + part.word) * (block.vectors * V)
        sums = [
            [v.Register("float32", V, self._begun(pixel, channel, j, part)) for j in vectors]
            for pixel in range(len(pixels))
        ]
        if part.whole:
            with v.loop(0, part.whole) as k:
                self._word(sums, weight, k, _STEPS)
        if part.rest:
            self._word(sums, weight, v.const(part.whole), -(-part.rest // GROUP))
        for pixel, row in enumerate(sums):
            values = [one.get() for one in row]
            if part.last:
                self.epilogue.emit(pixels[pixel], channel, values, block.channels)
                continue
            for j in vectors:
                v.store(self.near, self._place(pixel, channel, j), values[j], V)

    def _word(self, sums: list[list[v.Register]], weight: Any, k: Any, steps: int) -> None:
        """Add up over the first `steps` tables of word `k` of a pass."""
        V, vectors = self.isa.lanes, range(len(sums[0]))
        indices = [
            v.Register("int32", V, v.load(self.frame.parameters["w"], first, V))
            for first in (weight + (k * len(vectors) + j) * V for j in vectors)
        ]
        for step in range(steps):
            places = [self._table(pixel, k * _STEPS + step) for pixel in range(len(sums))]
            step_of = self._signed_step if halved(self.isa) else self._step
            step_of(sums, indices, places)
            for index in indices if step + 1 < steps else ():
                index.set(next_index(index.get(), V))

    def _step(
        self, sums: list[list[v.Register]], indices: list[v.Register], places: list[Any]
    ) -> None:
        """Look into whole tables.

        Sums are made in turns by an addition and, with the same result, by a multiply-add. Where
        additions have units of their own, as in Zen 4, one of these looks up and shifts, too; those
        that multiply would stand idle.
        """
        V = self.isa.lanes
        for pixel, (row, place) in enumerate(zip(sums, places, strict=True)):
            table = v.Register("float32", V, v.load(self.near, place, V))
            for j, (total, index) in enumerate(zip(row, indices, strict=True)):
                found = looked_up(table.get(), index.get(), V)
                if (pixel + j) % 2:
                    total.add(found)
                else:
                    total.set(v.fma(found, self.one.get(), total.get(), V, fused=True))

    def _signed_step(
        self, sums: list[list[v.Register]], indices: list[v.Register], places: list[Any]
    ) -> None:
        """Look into half tables, vector by vector: sixteen registers hold one vector's signs."""
        V = self.isa.lanes
        for j, index in enumerate(indices):
            turned = v.Register("int32", V, (index.get() << v.splat(28, V)) & v.splat(_SIGN, V))
            for row, place in zip(sums, places, strict=True):
                found = looked_up(loaded(self.near, place), index.get(), V)
                signed = v.reinterpret(v.lanes("int32", V), found) ^ turned.get()
                row[j].add(v.reinterpret(v.lanes("float32", V), signed))

    def _table(self, pixel: int, group: Any) -> Any:
        return self.start + (pixel * self.most * _STEPS + group) * self.isa.lanes

    def _place(self, pixel: int, channel: Any, j: int) -> Any:
        V = self.isa.lanes
        return self.start + self.moved + pixel * _room(self.row, self.isa) + channel + j * V

    def _begun(self, pixel: int, channel: Any, j: int, part: _Pass) -> Any:
        """A sum as the passes before this one left it."""
        V = self.isa.lanes
        if part.first:
            return v.splat(0.0, V, "float32")
        return v.load(self.near, self._place(pixel, channel, j), V)
