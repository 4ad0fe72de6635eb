"""Counting along the reduction, for NEON: no broadcasts, no sums across a vector at the end.

One 128-bit register of weights holds 128/D output channels with D bits of the reduction each
(D = 128, 64 or 32); the D bits of the activation are loaded, or loaded and repeated. Per pixel and
eight channels there are D/16 such registers:

    eor, cnt     D/16 times: bytes of ones
    addp         a tree over the registers: bytes 2c and 2c + 1 hold what channel c counted
    uadalp       into eight 16-bit accumulators

which is 3 vector instructions per 128 binary MACs whatever D is. Weights are stored complemented,
so ones are matches m, and n taps and channels give the sum 2m - n. An accumulator that starts at
-n/2 ends at half the sum; it fits 16 bits up to n = 65534.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from tvm import tirx

from binas.compile.kernels import vector as v
from binas.compile.kernels.dot_epilogue import DotEpilogue
from binas.compile.kernels.dot_layout import (
    CHANNELS,
    DotLayout,
    Unit,
    inside,
    odd,
    table_size,
    units,
)
from binas.compile.kernels.nest import At
from binas.compile.kernels.ordering import bound, imported, in_turn

REGISTERS = 8  # that a round of counting works on
KEPT_TURNS = 6  # loops of as many are not unrolled anyway


class Dot(DotLayout):
    """Eight channels per accumulator, whole kernel rows as one string of bits."""

    @property
    def lanes(self) -> int:
        """Channels of a vector."""
        return CHANNELS

    def begin(self, at: At) -> None:
        """Set the accumulators to 0, or to where half a sum starts."""
        self.counts = []
        for pixel in range(at.span.width):
            for j in range(at.block.vectors):
                start = v.splat(0, CHANNELS, "uint16")
                if not self.thresholded and not odd(self.layer):
                    start = v.reinterpret("uint16x8", self._start(at, pixel, j, "int16"))
                self.counts.append(v.Register("uint16", CHANNELS, start))

    def run(self, at: At, row: Any, first: int, n: int, word: Any, pixels: tuple[int, ...]) -> None:
        """Whole units as they are stored; of a unit that sticks out, the words inside."""
        whole, left = [], []
        for unit in units(self.layer):
            if first <= unit.first and unit.first + 4 <= first + n and unit.words == 4:
                whole.append(unit)
            else:
                left.append(unit)
        lanes = at.block.vectors * CHANNELS
        if len(whole) > 1 and whole[-1].first - whole[0].first == 4 * (len(whole) - 1):
            start = whole[0].first
            # LLVM unrolls few turns whole, and orders long bodies worse for a CPU that waits.
            kept = self.isa.in_order and len(whole) < KEPT_TURNS
            turns = len(whole) + (self.frame.zero if kept else 0)
            with v.loop(0, turns) as k:
                here = row + start * lanes + k * (4 * lanes)
                values = self._activations_of(at, word, start - first + k * 4, 4, pixels)
                in_turn(self._rounds(at, whole[0], whole[0], here, values))
        else:
            left = whole + left
        rounds: list[Iterator[None]] = []
        for unit in left:
            for part in inside(unit, first, first + n):
                values = self._activations_of(at, word, part.first - first, part.words, pixels)
                rounds += self._rounds(at, unit, part, row + unit.first * lanes, values)
        in_turn(rounds)

    def _rounds(
        self, at: At, unit: Unit, part: Unit, weight: Any, values: dict[int, v.Register]
    ) -> list[Iterator[None]]:
        """Count over one unit, or a part of it: weights of the unit from `weight` on."""
        vectors, together = at.block.vectors, max(1, REGISTERS // (2 * part.words))
        found = []
        for j in range(vectors):
            first = weight + j * (CHANNELS * unit.words)
            weights = cache(partial(self._weights, first, unit, part))
            trees = [(x, self.counts[p * vectors + j]) for p, x in values.items()]
            for start in range(0, len(trees), together):
                found.append(_round(weights, trees[start : start + together]))
        return found

    def _activations_of(
        self, at: At, word: Any, offset: Any, n: int, pixels: tuple[int, ...]
    ) -> dict[int, v.Register]:
        """`n` words of each pixel, repeated until they fill a register."""
        found = {}
        for pixel in pixels:
            x = self.own(at, v.load(self.frame.operands[0], word(pixel) + offset, n), offset, n)
            if n == 2:
                x = v.reinterpret("int32x4", tirx.Broadcast(v.reinterpret("int64", x), 2))
            elif n == 1:
                x = v.splat(x, 4)
            found[pixel] = v.Register("int32", 4, x)
        return found

    def _weights(self, weight: Any, unit: Unit, part: Unit) -> list[v.Register]:
        """Eight channels of a unit; the words of a part are gathered from its registers."""
        found = [
            v.Register("int32", 4, v.load(self.frame.parameters["w"], weight + q * 4, 4))
            for q in range(2 * unit.words)
        ]
        width, skip = unit.words, part.first - unit.first
        while width > part.words:
            width //= 2
            half, skip = divmod(skip, width)
            lanes = [2 * width * (lane // width) + half * width + lane % width for lane in range(4)]
            found = [
                v.Register(
                    "int32", 4, tirx.Shuffle([a.get(), b.get()], [v.const(i) for i in lanes])
                )
                for a, b in zip(found[::2], found[1::2], strict=True)
            ]
        return found

    def finish(self, at: At) -> None:
        """Compare the counts, or hand the sums to the epilogue."""
        _, P, Q, _ = self.layer.out_shape
        pixels = [(at.image * P + at.row) * Q + at.column + p for p in range(at.span.width)]
        if self.thresholded:
            self._threshold(at, pixels)
        else:
            finish = DotEpilogue(self.frame, self.isa)
            with imported():
                finish.emit_tile(at, pixels, self.counts, partial(self._sums, at))
        self.fill_words(at, pixels)

    def _sums(self, at: At, pixel: int, j: int) -> list[Any]:
        """The sums of one pixel and vector, two float vectors of 4."""
        count = self.counts[pixel * at.block.vectors + j].get()
        found = []
        for i, half in enumerate((v.low, v.high)):
            if odd(self.layer):
                doubled = tirx.Cast("int32x4", half(count, "uint16x4")) * 2
                total = doubled + self._start(at, pixel, 2 * j + i, "int32")
            else:
                signed = half(v.reinterpret("int16x8", count), "int16x4")
                total = tirx.Cast("int32x4", signed) * 2
            found.append(tirx.Cast("float32x4", total))
        return found

    def _start(self, at: At, pixel: int, j: int, dtype: str) -> Any:
        """The sum without a match, or half of it as int16."""
        n = 8 if dtype == "int16" else 4
        if "base" in self.frame.parameters:
            return v.load(self.frame.parameters["base"], self._entry(at, pixel) + j * n, n)
        channels = self.layer.in_shape[3] // self.layer.groups
        ones = at.rows * (at.span.taps(pixel) * channels // (2 if n == 8 else 1))
        return tirx.Broadcast(tirx.Cast(dtype, -ones), n)

    def _entry(self, at: At, pixel: int) -> Any:
        """Where the block's channels start in the table of border classes."""
        if "row_class" not in self.frame.parameters:
            return at.channel
        row = v.load(self.frame.parameters["row_class"], at.row)
        kind = row * len(self.column_kinds) + self.column_kind(at, pixel)
        return kind * table_size(self.layer) + at.channel

    def _threshold(self, at: At, pixels: list[Any]) -> None:
        """Bits of one unit for all pixels by one tree: lane p ends as the bits of pixel p."""
        vectors, together = at.block.vectors, self.frame.bits_unit // CHANNELS
        for unit, first in enumerate(range(0, vectors, together)):
            masks = []
            for pixel in range(at.span.width):
                mask = None
                for j in range(first, min(first + together, vectors)):
                    entry = self._entry(at, pixel) + j * CHANNELS
                    limit = v.load(self.frame.parameters["t"], entry, CHANNELS)
                    reached = self.counts[pixel * vectors + j].get() >= limit
                    zero = v.splat(0, CHANNELS, "uint16")
                    chosen = tirx.Select(reached, _lane_bits(j - first), zero)
                    mask = chosen if mask is None else mask | chosen
                masks.append(mask)
            for _ in range(3):
                masks = [*masks, masks[-1]] if len(masks) % 2 else masks
                masks = [_pairs16(a, b) for a, b in zip(masks[::2], masks[1::2], strict=True)]
            packed = v.Register("uint16", CHANNELS, masks[0])
            count = min(together * CHANNELS, at.block.channels - first * CHANNELS)
            for pixel, index in enumerate(pixels):
                value = v.load(packed.buffer, pixel)
                self.epilogue.store_unit(index, at.channel, unit, value, count)


def _round(
    weights: Callable[[], list[v.Register]], trees: list[tuple[v.Register, v.Register]]
) -> Iterator[None]:
    """Count some pixels, each with eight channels: stage by stage, at least six instructions each.

    Args:
        weights: Loads them, where nobody has before.
        trees: Per pixel its activations, and where ones are added.
    """
    same = [[bound(_as_bytes(w.get() ^ x.get())) for w in weights()] for x, _ in trees]
    yield
    ones = [[_bytes(tirx.popcount(one)) for one in tree] for tree in same]
    yield
    while len(ones[0]) > 1:
        ones = [
            [_bytes(_pairs(a.get(), b.get())) for a, b in zip(tree[::2], tree[1::2], strict=True)]
            for tree in ones
        ]
        yield
    for (total,), (_, count) in zip(ones, trees, strict=True):
        count.add(v.intrinsic("uint16x8", "llvm.aarch64.neon.uaddlp.v8i16.v16i8", total.get()))


def _bytes(x: Any) -> v.Register:
    return v.Register("uint8", 16, x)


def _as_bytes(x: Any) -> Any:
    return v.reinterpret("uint8x16", x)


def _pairs(a: Any, b: Any) -> Any:
    return v.intrinsic("uint8x16", "llvm.aarch64.neon.addp.v16i8", a, b)


def _pairs16(a: Any, b: Any) -> Any:
    return v.intrinsic("uint16x8", "llvm.aarch64.neon.addp.v8i16", a, b)


def _lane_bits(j: int) -> Any:
    """Bit 8j + i in lane i."""
    ramp = tirx.Ramp(v.const(8 * j), v.const(1), CHANNELS)
    return tirx.shift_left(v.splat(1, CHANNELS, "uint16"), tirx.Cast("uint16x8", ramp))
