"""Counting in words: a vector holds one word of each of its output channels.

The activation word is broadcast, so that every lane sums its own channel.

FullAdder: with running ones s and two products a1^w1, a2^w2,

    t = s ^ w1 ^ a1;  s' = t ^ w2 ^ a2;  carry = t ? ~s' : s        (three ternary logic ops)

so two words cost five instructions; mismatches = 2 * popcount(carries) + popcount(s) at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.counting import Counted, Micro, bases, row_words
from binas.compile.kernels.frame import Parameter
from binas.compile.kernels.nest import At
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

UNROLL = 6  # words that need no loop: three pairs


class Words(Micro):
    """What both share: the tile, the order of the weights, the sum from the mismatches."""

    @staticmethod
    def choose(layer: Layer, isa: Isa) -> Tile:
        """Enough accumulators to hide latency, few enough not to spill."""
        limit = 8 if isa.counting == "full_adder" or isa.registers == 16 else 16
        V, Q = isa.lanes, cutting.as_row(layer).out_shape[2]
        needed = -(-(layer.out_channels // layer.groups) // V)
        step = bits.WORD_BITS // V  # whole words of output bits
        vectors = min(step, needed)
        pixels = min(max(1, limit // vectors), Q)
        while vectors + step <= needed and pixels * (vectors + step) <= limit:
            vectors += step
        least = 2 if isa.counting == "full_adder" else 1
        unroll = UNROLL if row_words(layer) <= UNROLL else least
        return Tile(pixels, vectors, V, unroll)

    @staticmethod
    def candidates(layer: Layer, isa: Isa) -> list[Tile]:
        """As many sums as registers hold, two registers for each where words are added in full."""
        adder, rule = isa.counting == "full_adder", Words.choose(layer, isa)
        return enumerated(
            layer,
            rule,
            step=Words.bits_unit(rule) // isa.lanes if layer.bits_out else 1,
            sums=range(3, 14 if adder else isa.registers - 8),
            unrolls=(2, 4, 6, 12) if adder else (1, 2, 6),
            run=row_words(layer),
        )

    @staticmethod
    def arrange(
        words: NDArray[np.int32], own: NDArray[np.int32], layer: Layer, isa: Isa
    ) -> NDArray[Any]:
        """The words [lanes, R, S, words] of a block as [R][S][words][lanes]."""
        return words.transpose(1, 2, 3, 0).reshape(-1)

    @staticmethod
    def bits_unit(tile: Tile) -> int:
        """Where comparisons give masks, a vector's goes to memory as it is."""
        return tile.lanes if tile.lanes == 16 else bits.WORD_BITS

    @staticmethod
    def parameters(layer: Layer, isa: Isa, *, thresholded: bool) -> list[Parameter]:
        """Per border class and channel: the most mismatches whose bit is 1, or the sum without."""
        if not thresholded and not (layer.pad_value and any(layer.padding)):
            return []
        rows, columns = cutting.classes(layer)
        size = len(set(rows)) * len(set(columns)) * _room(layer, isa)
        found = [Parameter("row_class", layer.out_shape[1], "int32")] if any(layer.padding) else []
        return [*found, Parameter("t" if thresholded else "base", size, "int32")]

    @staticmethod
    def arrays(counted: Counted, isa: Isa) -> list[NDArray[Any]]:
        """The values of `parameters`."""
        layer, padded = counted.layer, any(counted.layer.padding)
        if counted.limits is None and not (layer.pad_value and padded):
            return []
        kinds, _, values = bases(counted)
        if counted.limits is not None:
            values = (values - counted.limits) >> 1  # base - 2 m >= t  ⟺  m <= (base - t) / 2
        room = np.zeros((*values.shape[:2], _room(layer, isa)), np.int32)
        room[..., : values.shape[2]] = values
        return [*([kinds] if padded else []), room.reshape(-1)]

    @property
    def lanes(self) -> int:
        """Channels of a vector."""
        return self.isa.lanes

    def run(self, at: At, row: Any, first: int, n: int, word: Any, pixels: tuple[int, ...]) -> None:
        """Weights of a word lie side by side for all channels of the block."""
        size = at.block.vectors * self.lanes * self.weights_per_word
        self.count(at, row + first * size, word, n, pixels)

    def count(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        raise NotImplementedError

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        raise NotImplementedError

    def sums(self, at: At, pixel: int, j: int) -> Any:
        """Sums of one pixel and vector, int32 per channel."""
        return self._base(at, pixel, j) - self.mismatches(at, pixel, j) * 2

    def finish(self, at: At) -> None:
        """Sums, then threshold or epilogue."""
        _, P, Q, _ = self.layer.out_shape
        V, vectors = self.isa.lanes, range(at.block.vectors)
        pixels = [(at.image * P + at.row) * Q + at.column + p for p in range(at.span.width)]
        for pixel, index in enumerate(pixels):
            if self.thresholded:
                masks = [
                    self.mismatches(at, pixel, j) <= self._of_class("t", at, pixel, j)
                    for j in vectors
                ]
                self.epilogue.store_bits(index, at.channel, masks, at.block.channels)
            else:
                sums = [v.Register("int32", V, self.sums(at, pixel, j)) for j in vectors]
                floats = [tirx.Cast(v.lanes("float32", V), s.get()) for s in sums]
                self.epilogue.emit(index, at.channel, floats, at.block.channels)
        self.fill_words(at, pixels)

    def _base(self, at: At, pixel: int, j: int) -> Any:
        """What the sum would be without a mismatch."""
        if "base" in self.frame.parameters:
            return self._of_class("base", at, pixel, j)
        channels = self.layer.in_shape[3] // self.layer.groups
        return v.splat(at.rows * (at.span.taps(pixel) * channels), self.isa.lanes)

    def _of_class(self, table: str, at: At, pixel: int, j: int) -> Any:
        """A vector of a table of border classes."""
        first = at.channel + j * self.isa.lanes
        if "row_class" in self.frame.parameters:
            row = v.load(self.frame.parameters["row_class"], at.row)
            kind = row * len(self.column_kinds) + self.column_kind(at, pixel)
            first = kind * _room(self.layer, self.isa) + first
        return v.load(self.frame.parameters[table], first, self.isa.lanes)

    def load_weight(self, weight: Any, k: Any, j: int, Q: int) -> v.Register:
        """The word `k` of every channel of vector `j` of `Q`."""
        V = self.isa.lanes
        return v.Register(
            "int32", V, v.load(self.frame.parameters["w"], weight + (k * Q + j) * V, V)
        )

    def load_word(self, at: At, first: Any, k: Any) -> Any:
        """The word `k` of a pixel, in all lanes."""
        x = self.own(at, v.load(self.frame.operands[0], first + k), k)
        return v.splat(x, self.isa.lanes)


class FullAdder(Words):
    """Two words per five instructions with vpternlogd and vpopcntd."""

    name = "full_adder"

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        V, vectors = self.isa.lanes, at.block.vectors
        channels = self.layer.in_shape[3] // self.layer.groups
        # Down from a quarter of the base, what is left is a quarter of the sum but for the ones.
        self.down = not self.thresholded and "base" not in self.frame.parameters
        self.down &= channels % 4 == 0
        first = [
            at.rows * (at.span.taps(pixel) * channels // 4) if self.down else 0
            for pixel in range(at.span.width)
            for _ in range(vectors)
        ]
        self.carries = [v.Register("int32", V, v.splat(start, V)) for start in first]
        self.ones = [v.Register("int32", V, v.splat(0, V)) for _ in first]

    def count(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        done, unroll = 0, self.tile.unroll
        if n > unroll:
            done = n // unroll * unroll
            with v.loop(0, done // unroll) as k:
                for pair in range(0, unroll, 2):
                    self._pair(at, weight, word, k * unroll + pair, pixels)
        for first in range(done, n - 1, 2):
            self._pair(at, weight, word, first, pixels)
        if n % 2:
            self._single(at, weight, word, n - 1, pixels)

    def _pair(self, at: At, weight: Any, word: Any, k: Any, pixels: tuple[int, ...]) -> None:
        V, Q = self.isa.lanes, at.block.vectors
        for j in range(Q):
            w1, w2 = (self.load_weight(weight, k + i, j, Q) for i in (0, 1))
            for pixel in pixels:
                a1, a2 = (self.load_word(at, word(pixel), k + i) for i in (0, 1))
                ones = self.ones[pixel * Q + j]
                t = v.Register("int32", V, logic(ones.get(), w1.get(), a1, 0x96))
                s = v.Register("int32", V, logic(t.get(), w2.get(), a2, 0x96))
                carry = logic(t.get(), s.get(), ones.get(), 0x3A)  # t ? ~s : ones
                self._carry(pixel * Q + j, carry)
                ones.set(s.get())

    def _single(self, at: At, weight: Any, word: Any, k: Any, pixels: tuple[int, ...]) -> None:
        V, Q = self.isa.lanes, at.block.vectors
        for j in range(Q):
            w = self.load_weight(weight, k, j, Q)
            for pixel in pixels:
                a, ones = self.load_word(at, word(pixel), k), self.ones[pixel * Q + j]
                carry = logic(ones.get(), w.get(), a, 0x60)  # ones & (w ^ a)
                self._carry(pixel * Q + j, carry)
                s = v.Register("int32", V, logic(ones.get(), w.get(), a, 0x96))
                ones.set(s.get())

    def _carry(self, i: int, carry: Any) -> None:
        total, more = self.carries[i], tirx.popcount(carry)
        total.set(total.get() - more if self.down else total.get() + more)

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        i = pixel * at.block.vectors + j
        return self.carries[i].get() * 2 + tirx.popcount(self.ones[i].get())

    def sums(self, at: At, pixel: int, j: int) -> Any:
        """Sums of one pixel and vector, int32 per channel."""
        if not self.down:
            return super().sums(at, pixel, j)
        i = pixel * at.block.vectors + j
        half = self.carries[i].get() * 2 - tirx.popcount(self.ones[i].get())
        return half * 2


def _room(layer: Layer, isa: Isa) -> int:
    """Entries per border class; whole vectors, so that those of a class begin at a cache line."""
    return -(-epilogue.channel_size(layer, isa) // isa.lanes) * isa.lanes


def logic(a: Any, b: Any, c: Any, table: int) -> Any:
    """Any function of three bits: bit 4a + 2b + c of the table."""
    name = "llvm.x86.avx512.pternlog.d.512"
    return v.intrinsic("int32x16", name, a, b, c, v.const(table))
