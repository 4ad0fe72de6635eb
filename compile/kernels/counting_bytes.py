"""Counting in bytes that are widened before they overflow; the plain way is a popcount of bytes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ClassVar

from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v
from binas.compile.kernels.counting_words import Words
from binas.compile.kernels.nest import At


class ByteSums(Words):
    """Counts in bytes, widened before they overflow.

    Attributes:
        words_per_byte: How many words a byte can count.
    """

    words_per_byte: ClassVar[int]

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        self.clear(at)
        R, S = self.layer.kernel
        self.widen_at_end = R * S * self.words <= self.words_per_byte
        self.widen_per_row = not self.widen_at_end and S * self.words <= self.words_per_byte

    def count(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        if self.widen_at_end or self.widen_per_row:
            self.steps(at, weight, word, 0, n, pixels)
            return
        chunks = -(-n // self.words_per_byte)
        size = -(-n // chunks)
        whole = n // size
        with v.loop(0, whole) if whole > 1 else nullcontext(0) as chunk:
            self.steps(at, weight, word, chunk * size, size, pixels)
            self.widen(at, pixels)
        if n % size:
            self.steps(at, weight, word, whole * size, n % size, pixels)
            self.widen(at, pixels)

    def end_row(self, at: At) -> None:
        """Widen, where bytes hold no more than a row."""
        if self.widen_per_row:
            self.widen(at, tuple(range(at.span.width)))

    def clear(self, at: At) -> None:
        """Set all counts to 0."""
        raise NotImplementedError

    def steps(
        self, at: At, weight: Any, word: Any, first: Any, n: int, pixels: tuple[int, ...]
    ) -> None:
        """Count words [first, first + n) into the bytes."""
        raise NotImplementedError

    def widen(self, at: At, pixels: tuple[int, ...]) -> None:
        """Add the bytes to wider sums and clear them."""
        raise NotImplementedError


class Bytes(ByteSums):
    """Popcount of bytes: NEON cnt, or the byte shuffle that LLVM makes of it on x86."""

    name = "bytes"
    words_per_byte = 31  # a byte takes 8 ones per word: 31 * 8 = 248 fits, 32 * 8 does not

    def clear(self, at: At) -> None:
        """Set all counts to 0."""
        V = self.isa.lanes
        count = at.span.width * at.block.vectors
        self.bytes = [v.Register("uint8", 4 * V, v.splat(0, 4 * V, "uint8")) for _ in range(count)]
        self.totals = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]

    def steps(
        self, at: At, weight: Any, word: Any, first: Any, n: int, pixels: tuple[int, ...]
    ) -> None:
        """Count words [first, first + n) into the bytes, `unroll` of them per pass."""
        done, unroll = 0, self.tile.unroll
        if n > unroll:
            done = n // unroll * unroll
            with v.loop(0, done // unroll) as k:
                for part in range(unroll):
                    self._step(at, weight, word, first + k * unroll + part, pixels)
        for k in range(done, n):
            self._step(at, weight, word, first + k, pixels)

    def _step(self, at: At, weight: Any, word: Any, k: Any, pixels: tuple[int, ...]) -> None:
        V, Q = self.isa.lanes, at.block.vectors
        octets = v.lanes("uint8", 4 * V)
        words = [
            v.Register(
                "int32", V, v.splat(self.own(at, v.load(self.frame.operands[0], word(p) + k), k), V)
            )
            for p in pixels
        ]
        for j in range(Q):
            w = v.Register(
                "int32", V, v.load(self.frame.parameters["w"], weight + (k * Q + j) * V, V)
            )
            for pixel, a in zip(pixels, words, strict=True):
                differing = v.reinterpret(octets, w.get() ^ a.get())
                self.bytes[pixel * Q + j].add(tirx.popcount(differing))

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        i = pixel * at.block.vectors + j
        if self.widen_at_end:
            return _widened(self.bytes[i].get(), self.isa)
        return self.totals[i].get()

    def widen(self, at: At, pixels: tuple[int, ...]) -> None:
        """Add the bytes to wider sums and clear them."""
        V = self.isa.lanes
        for pixel in pixels:
            for j in range(at.block.vectors):
                i = pixel * at.block.vectors + j
                self.totals[i].add(_widened(self.bytes[i].get(), self.isa))
                self.bytes[i].set(v.splat(0, 4 * V, "uint8"))


def _widened(octets: Any, isa: Isa) -> Any:
    """The sum of the four bytes of every 32-bit lane, as int32."""
    V = isa.lanes
    if isa.arch == "aarch64":
        pairs = v.intrinsic("uint16x8", "llvm.aarch64.neon.uaddlp.v8i16.v16i8", octets)
        quads = v.intrinsic("uint32x4", "llvm.aarch64.neon.uaddlp.v4i32.v8i16", pairs)
        return v.reinterpret("int32x4", quads)
    if isa.arch == "armv7":
        pairs = v.intrinsic("uint16x8", "llvm.arm.neon.vpaddlu.v8i16.v16i8", octets)
        quads = v.intrinsic("uint32x4", "llvm.arm.neon.vpaddlu.v4i32.v8i16", pairs)
        return v.reinterpret("int32x4", quads)
    names = {
        4: ("llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.sse2.pmadd.wd"),
        8: ("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"),
        16: ("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"),
    }[V]
    signed = v.reinterpret(v.lanes("int8", 4 * V), octets)
    ones8, ones16 = v.splat(1, 4 * V, "int8"), v.splat(1, 2 * V, "int16")
    pairs = v.intrinsic(v.lanes("int16", 2 * V), names[0], signed, ones8)
    return v.intrinsic(v.lanes("int32", V), names[1], pairs, ones16)
