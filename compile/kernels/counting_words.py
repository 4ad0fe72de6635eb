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
from binas.compile.kernels import epilogue, nest
from binas.compile.kernels import vector as v
from binas.compile.kernels.counting import Counted, Micro, bases
from binas.compile.kernels.frame import Parameter, padded
from binas.compile.kernels.nest import At, Tile
from binas.core import bits
from binas.core.layer import Layer

UNROLL = 6  # words unrolled instead of looped over


class Words(Micro):
    """What both share: the tile, the order of the weights, the sum from the mismatches."""

    @staticmethod
    def choose(layer: Layer, isa: Isa) -> Tile:
        """Enough accumulators to hide latency, few enough not to spill."""
        limit = 8 if isa.counting == "full_adder" or isa.registers == 16 else 16
        V, Q = isa.lanes, nest.as_row(layer).out_shape[2]
        needed = -(-(layer.out_channels // layer.groups) // V)
        step = bits.WORD_BITS // V  # whole words of output bits
        vectors = min(step, needed)
        pixels = min(max(1, limit // vectors), Q)
        while vectors + step <= needed and pixels * (vectors + step) <= limit:
            vectors += step
        return Tile(pixels, vectors, V)

    @staticmethod
    def arrange(
        words: NDArray[np.int32], own: NDArray[np.int32], layer: Layer, isa: Isa
    ) -> NDArray[Any]:
        """The words [lanes, R, S, words] of a block as [R][S][words][lanes]."""
        return words.transpose(1, 2, 3, 0).reshape(-1)

    @staticmethod
    def parameters(layer: Layer, isa: Isa, *, thresholded: bool) -> list[Parameter]:
        """Sums without a mismatch per border class, where padding adds to them; thresholds."""
        found, size = [], epilogue.channel_size(layer, isa)
        if layer.pad_value and any(layer.padding):
            rows, columns = nest.classes(layer)
            found.append(Parameter("row_class", layer.out_shape[1], "int32"))
            found.append(Parameter("base", len(set(rows)) * len(set(columns)) * size, "int32"))
        return [*found, Parameter("t", size, "int32")] if thresholded else found

    @staticmethod
    def arrays(counted: Counted, isa: Isa) -> list[NDArray[Any]]:
        """The values of `parameters`."""
        found: list[NDArray[Any]] = []
        size = epilogue.channel_size(counted.layer, isa)
        if counted.layer.pad_value and any(counted.layer.padding):
            kinds, _, base = bases(counted)
            room = np.zeros((*base.shape[:2], size), np.int32)
            room[..., : base.shape[2]] = base
            found += [kinds, room.reshape(-1)]
        if counted.limits is not None:
            found.append(padded(counted.limits, size, np.int32))
        return found

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

    def finish(self, at: At) -> None:
        """Sums, then threshold or epilogue."""
        _, P, Q, _ = self.layer.out_shape
        V = self.isa.lanes
        for pixel in range(at.span.width):
            index = (at.image * P + at.row) * Q + at.column + pixel
            sums = [
                v.Register("int32", V, self._base(at, pixel, j) - self.mismatches(at, pixel, j) * 2)
                for j in range(at.block.vectors)
            ]
            if self.thresholded:
                limits = self.frame.parameters["t"]
                masks = [
                    s.get() >= v.load(limits, at.channel + j * V, V) for j, s in enumerate(sums)
                ]
                self.epilogue.store_bits(index, at.channel, masks, at.block.channels)
            else:
                floats = [tirx.Cast(v.lanes("float32", V), s.get()) for s in sums]
                self.epilogue.emit(index, at.channel, floats, at.block.channels)

    def _base(self, at: At, pixel: int, j: int) -> Any:
        """What the sum would be without a mismatch."""
        V = self.isa.lanes
        if "base" not in self.frame.parameters:
            channels = self.layer.in_shape[3] // self.layer.groups
            return v.splat(at.rows * (at.span.taps(pixel) * channels), V)
        size = epilogue.channel_size(self.layer, self.isa)
        row = v.load(self.frame.parameters["row_class"], at.row)
        column = self.column_kind(at, pixel)
        offset = (row * len(self.column_kinds) + column) * size
        return v.load(self.frame.parameters["base"], offset + at.channel + j * V, V)


class FullAdder(Words):
    """Two words per five instructions with vpternlogd and vpopcntd."""

    name = "full_adder"

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        V = self.isa.lanes
        count = at.span.width * at.block.vectors
        self.carries = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]
        self.ones = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]

    def count(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        pairs, single = divmod(n, 2)
        if pairs * 2 > UNROLL:
            with v.loop(0, pairs) as k:
                self._pair(at, weight, word, k * 2, pixels)
        else:
            for k in range(pairs):
                self._pair(at, weight, word, k * 2, pixels)
        if single:
            self._single(at, weight, word, n - 1, pixels)

    def _pair(self, at: At, weight: Any, word: Any, k: Any, pixels: tuple[int, ...]) -> None:
        V, Q = self.isa.lanes, at.block.vectors
        for j in range(Q):
            w1, w2 = (self._weight(weight, k + i, j, Q) for i in (0, 1))
            for pixel in pixels:
                a1, a2 = (self._word(at, word(pixel), k + i) for i in (0, 1))
                ones = self.ones[pixel * Q + j]
                t = v.Register("int32", V, _logic(ones.get(), w1.get(), a1, 0x96))
                s = v.Register("int32", V, _logic(t.get(), w2.get(), a2, 0x96))
                carry = _logic(t.get(), s.get(), ones.get(), 0x3A)  # t ? ~s : ones
                self.carries[pixel * Q + j].add(tirx.popcount(carry))
                ones.set(s.get())

    def _single(self, at: At, weight: Any, word: Any, k: Any, pixels: tuple[int, ...]) -> None:
        V, Q = self.isa.lanes, at.block.vectors
        for j in range(Q):
            w = self._weight(weight, k, j, Q)
            for pixel in pixels:
                a, ones = self._word(at, word(pixel), k), self.ones[pixel * Q + j]
                carry = _logic(ones.get(), w.get(), a, 0x60)  # ones & (w ^ a)
                self.carries[pixel * Q + j].add(tirx.popcount(carry))
                s = v.Register("int32", V, _logic(ones.get(), w.get(), a, 0x96))
                ones.set(s.get())

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        i = pixel * at.block.vectors + j
        return self.carries[i].get() * 2 + tirx.popcount(self.ones[i].get())

    def _weight(self, weight: Any, k: Any, j: int, Q: int) -> v.Register:
        V = self.isa.lanes
        return v.Register(
            "int32", V, v.load(self.frame.parameters["w"], weight + (k * Q + j) * V, V)
        )

    def _word(self, at: At, first: Any, k: Any) -> Any:
        x = self.own(at, v.load(self.frame.operands[0], first + k), k)
        return v.splat(x, self.isa.lanes)


def _logic(a: Any, b: Any, c: Any, table: int) -> Any:
    name = "llvm.x86.avx512.pternlog.d.512"
    return v.intrinsic("int32x16", name, a, b, c, v.const(table))
