"""Counting by a tree of adders, for AVX-512 without a popcount of words.

Mismatches of a lane's bits are added in bit slices (`bit_slices.py` does the same for depthwise
convolutions): full adders turn eight words into one carry of weight 8,

    ones + 2 words -> ones, twos;  twos + 2 carries -> twos, fours;  fours + 2 carries -> eights

in 18 instructions, for the first of them takes activations and weights as they are
(`counting_words.py`). Only what overflows there is counted, nibble by nibble in a table of bytes:
seven instructions more per eight words. Harley and Seal's counter: Warren, Hacker's Delight, 5-2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.isa import Isa
from binas.compile.kernels import cutting
from binas.compile.kernels import vector as v
from binas.compile.kernels.bit_slices import CARRY, FUSED_CARRY, SUM
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.counting import Counted, row_words
from binas.compile.kernels.counting_words import Words, logic
from binas.compile.kernels.frame import Parameter
from binas.compile.kernels.grouping import Grouping
from binas.compile.kernels.nest import At
from binas.compile.tile import Tile
from binas.core.layer import Layer

FLAT = 50  # words of a pixel and vector that are unrolled, all kernel rows at once
SHORT, WIDE = 8, 48  # words and channels for which a table of nibbles is faster
COUNTED = 31  # carries that a byte can count: 31 * 8 ones = 248


class AdderTree(Words):
    """Bit slices of weights below `top` per pixel and vector, and bytes that count carries."""

    name = "adder_tree"

    @staticmethod
    def holds(layer: Layer) -> bool:
        """Whether a byte counts all carries: one of 8 words each, one more at the end of a run.

        Few words of many channels are left to nibbles: what remains below the carries is as much
        to count at the end as they are.
        """
        R, S = layer.kernel
        if _words(layer) <= SHORT and layer.out_channels // layer.groups >= WIDE:
            return False
        return R * (S * Grouping.of(layer).words // 8 + S) <= COUNTED

    @staticmethod
    def choose(layer: Layer, isa: Isa) -> Tile:
        """One vector: pixels follow each other and share nothing but cached weights.

        More of them pay for a loop, as far as registers hold them; unrolled, they cost code.
        """
        row, words = layer.kernel[1] * Grouping.of(layer).words, _words(layer)
        unroll = words if words <= FLAT else 16 if row % 16 == 0 else 8
        pixels = 7 if unroll == 8 < words else 4
        return Tile(min(pixels, cutting.as_row(layer).out_shape[2]), 1, isa.lanes, unroll)

    @staticmethod
    def candidates(layer: Layer, isa: Isa) -> list[Tile]:
        """Few slices at once, of 8 or 16 words per pass."""
        rule = AdderTree.choose(layer, isa)
        return enumerated(
            layer, rule, step=1, sums=range(1, 9), unrolls=(8, 16), run=row_words(layer)
        )

    @staticmethod
    def parameters(layer: Layer, isa: Isa, *, thresholded: bool) -> list[Parameter]:
        """The ones of a nibble, once to eight times; then as all words."""
        table = Parameter("table", 4 * (4 * isa.lanes), "uint8")
        return [table, *Words.parameters(layer, isa, thresholded=thresholded)]

    @staticmethod
    def arrays(counted: Counted, isa: Isa) -> list[NDArray[Any]]:
        """The values of `parameters`."""
        ones = np.bitwise_count(np.arange(4 * isa.lanes) % 16).astype(np.uint8)
        tables = np.concatenate([ones, 2 * ones, 4 * ones, 8 * ones])
        return [tables, *Words.arrays(counted, isa)]

    def flat(self, rows: int) -> bool:
        """Few words leave less at the ends of kernel rows when these are unrolled."""
        return self.tile.unroll == rows * self.layer.kernel[1] * self.words

    def begin(self, at: At) -> None:
        """No bits yet; for a loop over kernel rows all registers are there from the start."""
        # Another adder pays where it leaves no odd carry, or few.
        self.top = 16 if self.tile.unroll == 16 or self.tile.unroll >= 32 else 8
        count = at.span.width * at.block.vectors
        self.trees = [_Tree(self.isa, self._ones_of, self.top) for _ in range(count)]
        if not at.flat:
            for tree in self.trees:
                tree.clear()

    def count(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        Q, V = at.block.vectors, self.isa.lanes
        places = [(pixel, j) for j in range(Q) for pixel in pixels]

        def taps(pixel: int, j: int, k: Any) -> Callable[[int], tuple[Any, Any]]:
            def tap(i: int) -> tuple[Any, Any]:
                w = v.load(self.frame.parameters["w"], weight + ((k + i) * Q + j) * V, V)
                x = self.own(at, v.load(self.frame.operands[0], word(pixel) + k + i), k + i)
                return w, v.splat(x, V)

            return tap

        whole = 0 if at.flat else n // self.top
        if whole:
            with v.loop(0, whole) as group:
                for pixel, j in places:
                    self.trees[pixel * Q + j].words(taps(pixel, j, group * self.top), self.top)
        for pixel, j in places:
            self.trees[pixel * Q + j].words(taps(pixel, j, whole * self.top), n - whole * self.top)
            if not at.flat:
                self.trees[pixel * Q + j].drain()

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        tree = self.trees[pixel * at.block.vectors + j]
        tree.drain()
        return tree.total()

    def _ones_of(self, x: Any, weight: int) -> Any:
        """`weight` times the ones of every byte."""
        n = 4 * self.isa.lanes
        table = v.load(self.frame.parameters["table"], (weight.bit_length() - 1) * n, n)
        name, low = "llvm.x86.avx512.pshuf.b.512", v.splat(0x0F0F0F0F, self.isa.lanes)
        parts = (x & low, (x >> v.splat(4, self.isa.lanes)) & low)
        few, more = (
            v.intrinsic(f"uint8x{n}", name, table, v.reinterpret(f"uint8x{n}", part))
            for part in parts
        )
        return few + more


@dataclass(slots=True)
class _Tree:
    """The mismatches of one pixel and vector.

    Attributes:
        isa: Hardware facts.
        ones_of: A slice and its weight → what it counts, per byte.
        top: Weight of a carry that is counted.
        slices: Weight → its slice, once there is one.
        waiting: Weight → carries that are not added yet.
        counted: What the slices do not hold, per byte, in multiples of `top`.
    """

    isa: Isa
    ones_of: Callable[[Any, int], Any]
    top: int
    slices: dict[int, v.Register] = field(default_factory=dict)
    waiting: dict[int, list[v.Register]] = field(default_factory=dict)
    counted: v.Register | None = None

    def clear(self) -> None:
        """Set all to 0: from now on registers are the same whatever a loop does."""
        V = self.isa.lanes
        self.slices = {weight: v.Register("int32", V, v.splat(0, V)) for weight in self._weights()}
        self.counted = v.Register("uint8", 4 * V, v.splat(0, 4 * V, "uint8"))

    def words(self, tap: Callable[[int], tuple[Any, Any]], n: int) -> None:
        """Add the mismatches of `n` words."""
        done = 0
        if n and 1 not in self.slices:
            w, a = tap(0)
            self.slices[1], done = self._keep(a ^ w), 1
        while done + 1 < n:
            ones, (w1, a1), (w2, a2) = self.slices[1], tap(done), tap(done + 1)
            t = self._keep(logic(ones.get(), w1, a1, SUM))
            s = self._keep(logic(t.get(), w2, a2, SUM))
            carry = self._keep(logic(t.get(), s.get(), ones.get(), FUSED_CARRY))
            ones.set(s.get())
            self._carry(2, carry)
            done += 2
        if done < n:
            w, a = tap(done)
            self._half(1, self._keep(a ^ w))

    def drain(self) -> None:
        """Add the carries that wait."""
        for weight in self._weights():
            if self.waiting.get(weight):
                self._half(weight, self.waiting[weight].pop())

    def total(self) -> Any:
        """The count, int32 per channel."""
        V = self.isa.lanes
        few = [self.ones_of(one.get(), weight) for weight, one in sorted(self.slices.items())]
        parts = [] if self.counted is None else [(self.counted.get(), self.top)]
        if few:
            small = few[0]
            for more in few[1:]:
                small = small + more
            parts.append((small, 1))
        sums = [
            v.intrinsic(
                f"int16x{2 * V}",
                "llvm.x86.avx512.pmaddubs.w.512",
                octets,
                v.splat(weight, 4 * V, "int8"),
            )
            for octets, weight in parts
        ]
        if not sums:
            return v.splat(0, V)
        pairs = sums[0] if len(sums) == 1 else sums[0] + sums[1]
        one = v.splat(1, 2 * V, "int16")
        return v.intrinsic(f"int32x{V}", "llvm.x86.avx512.pmaddw.d.512", pairs, one)

    def _weights(self) -> list[int]:
        return [1 << i for i in range(self.top.bit_length() - 1)]

    def _keep(self, value: Any) -> v.Register:
        return v.Register("int32", self.isa.lanes, value)

    def _carry(self, weight: int, bits: v.Register) -> None:
        """Add a carry, as soon as there are two of its weight."""
        if weight == self.top:
            found = self.ones_of(bits.get(), 1)
            if self.counted is None:
                self.counted = v.Register("uint8", 4 * self.isa.lanes, found)
            else:
                self.counted.add(found)
            return
        if weight not in self.slices:
            self.slices[weight] = bits
            return
        self.waiting.setdefault(weight, []).append(bits)
        if len(self.waiting[weight]) == 2:
            x, y = (one.get() for one in self.waiting[weight])
            self.waiting[weight] = []
            total = self.slices[weight]
            carry = self._keep(logic(total.get(), x, y, CARRY))
            total.set(logic(total.get(), x, y, SUM))
            self._carry(2 * weight, carry)

    def _half(self, weight: int, bits: v.Register) -> None:
        """Add a single bit."""
        if weight not in self.slices:
            self.slices[weight] = bits
            return
        total = self.slices[weight]
        carry = self._keep(total.get() & bits.get())
        total.set(total.get() ^ bits.get())
        self._carry(2 * weight, carry)


def _words(layer: Layer) -> int:
    """Words of a pixel and vector."""
    R, S = layer.kernel
    return R * S * Grouping.of(layer).words
