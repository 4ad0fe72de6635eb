"""Counting word by word, where three-input logic is no bargain: xor, popcount, add.

A full adder (`counting_words.py`) saves an instruction of six per two words. AMD's Zen 4 gains
nothing by it: loops on registers take 1.51 cycles a word this way and 1.64 with the adder
(`benchmarks/native/peak.c`), and a kernel comes closer to the former, since nothing depends on what
was counted before but one addition.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from binas.compile.kernels import vector as v
from binas.compile.kernels.counting_words import Words
from binas.compile.kernels.nest import At


class Popcount(Words):
    """A word per three instructions with vpopcntd."""

    name = "popcount"

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        V, vectors = self.isa.lanes, at.block.vectors
        channels = self.layer.in_shape[3] // self.layer.groups
        # Down from a half of the base, what is left is a half of the sum.
        self.down = not self.thresholded and "base" not in self.frame.parameters
        self.down &= channels % 2 == 0
        self.counts = [
            v.Register("int32", V, v.splat(start, V))
            for pixel in range(at.span.width)
            for start in vectors
            * [at.rows * (at.span.taps(pixel) * channels // 2) if self.down else 0]
        ]

    def count(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        done, unroll = 0, self.tile.unroll
        if n > unroll:
            done = n // unroll * unroll
            with v.loop(0, done // unroll) as k:
                for i in range(unroll):
                    self._one(at, weight, word, k * unroll + i, pixels)
        for k in range(done, n):
            self._one(at, weight, word, k, pixels)

    def _one(self, at: At, weight: Any, word: Any, k: Any, pixels: tuple[int, ...]) -> None:
        Q = at.block.vectors
        own = [
            (pixel, v.Register("int32", self.isa.lanes, self.load_word(at, word(pixel), k)))
            for pixel in pixels
        ]
        for j in range(Q):
            w = self.load_weight(weight, k, j, Q)
            for pixel, a in own:
                total = self.counts[pixel * Q + j]
                more = tirx.popcount(tirx.bitwise_xor(w.get(), a.get()))
                total.set(total.get() - more if self.down else total.get() + more)

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        return self.counts[pixel * at.block.vectors + j].get()

    def sums(self, at: At, pixel: int, j: int) -> Any:
        """Sums of one pixel and vector, int32 per channel."""
        if not self.down:
            return super().sums(at, pixel, j)
        return self.mismatches(at, pixel, j) * 2
