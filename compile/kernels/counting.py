"""Counting mismatches in registers: the micro-kernels of a binary convolution.

A vector holds one word of each of its output channels; the activation word is broadcast.

- FullAdder: with running ones s and two products a1^w1, a2^w2,
      t = s ^ w1 ^ a1;  s' = t ^ w2 ^ a2;  carry = t ? ~s' : s        (three ternary logic ops)
  so two words cost five instructions; mismatches = 2 * popcount(carries) + popcount(s) at the end.
- Bytes: popcount of bytes, summed in bytes; at most 31 words fit before they are widened.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import epilogue, nest
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame
from binas.compile.kernels.nest import At, Phase
from binas.core import bits
from binas.core.layer import Layer

BYTE_STEPS = 31  # a byte takes 8 ones per word: 31 * 8 = 248 fits, 32 * 8 does not
UNROLL = 6  # words unrolled instead of looped over


class Micro:
    """What both ways of counting share: addresses, the sum from the mismatches, the hand-over."""

    def __init__(self, made: Frame, layer: Layer, isa: Isa) -> None:
        """Keep the buffers, the layer as the nest sees it, and the hardware facts."""
        self.frame, self.layer, self.isa = made, layer, isa
        self.thresholded = "t" in made.parameters
        self.epilogue = epilogue.Epilogue(made, isa)
        self.words = bits.words(layer.in_shape[3] // layer.groups)
        _, self.columns = nest.classes(layer)
        self.column_kinds = sorted(set(self.columns), key=repr)

    def contract(self, at: At, r: Any, in_row: Any, phase: Phase) -> None:
        """Neighbouring kernel columns are neighbouring words unless dilated or grouped."""
        layer, lanes = self.layer, at.block.vectors * self.isa.lanes
        joined = layer.dilation[1] == 1 and layer.groups == 1
        runs = (
            [(phase.start, phase.count)]
            if joined
            else [(s, 1) for s in range(phase.start, phase.start + phase.count)]
        )
        for s, count in runs:
            weight = at.weight + ((r * layer.kernel[1] + s) * self.words) * lanes
            self.run(at, weight, self._activations(at, in_row, s), count * self.words, phase.pixels)

    def _activations(self, at: At, in_row: Any, s: int) -> Any:
        """First word of kernel column `s` for each pixel of the tile."""
        _, H, W, C = self.layer.in_shape
        line = (at.image * H + in_row) * W + (s * self.layer.dilation[1] - self.layer.padding[1])
        stride, width = self.layer.stride[1], bits.words(C)
        offset = at.group * self.words
        return lambda pixel: (line + (at.column + pixel) * stride) * width + offset

    def run(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        raise NotImplementedError

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        raise NotImplementedError

    def end_row(self, at: At) -> None:
        """Nothing to do after a kernel row."""

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
        column = self.column_kinds.index(self.columns[at.span.start + pixel])
        offset = (row * len(self.column_kinds) + column) * size
        return v.load(self.frame.parameters["base"], offset + at.channel + j * V, V)


class FullAdder(Micro):
    """Two words per five instructions with vpternlogd and vpopcntd."""

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        V = self.isa.lanes
        count = at.span.width * at.block.vectors
        self.carries = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]
        self.ones = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]

    def run(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
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
                a1, a2 = (self._word(word(pixel) + k + i) for i in (0, 1))
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
                a, ones = self._word(word(pixel) + k), self.ones[pixel * Q + j]
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

    def _word(self, index: Any) -> Any:
        return v.splat(v.load(self.frame.operands[0], index), self.isa.lanes)


def _logic(a: Any, b: Any, c: Any, table: int) -> Any:
    name = "llvm.x86.avx512.pternlog.d.512"
    return v.intrinsic("int32x16", name, a, b, c, v.const(table))


class Bytes(Micro):
    """Popcount of bytes: NEON cnt, or the byte shuffle that LLVM makes of it on x86."""

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        V = self.isa.lanes
        count = at.span.width * at.block.vectors
        self.bytes = [v.Register("uint8", 4 * V, v.splat(0, 4 * V, "uint8")) for _ in range(count)]
        self.totals = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]
        R, S = self.layer.kernel
        self.widen_at_end = R * S * self.words <= BYTE_STEPS
        self.widen_per_row = not self.widen_at_end and S * self.words <= BYTE_STEPS

    def run(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words: weights from `weight` on, activations from `word(pixel)` on."""
        if self.widen_at_end or self.widen_per_row:
            self._steps(at, weight, word, 0, n, pixels)
            return
        chunks = -(-n // BYTE_STEPS)
        size = -(-n // chunks)
        whole = n // size
        with v.loop(0, whole) if whole > 1 else nullcontext(0) as chunk:
            self._steps(at, weight, word, chunk * size, size, pixels)
            self._widen(at, pixels)
        if n % size:
            self._steps(at, weight, word, whole * size, n % size, pixels)
            self._widen(at, pixels)

    def _steps(
        self, at: At, weight: Any, word: Any, k0: Any, n: int, pixels: tuple[int, ...]
    ) -> None:
        if n <= UNROLL:
            for k in range(n):
                self._step(at, weight, word, k0 + k, pixels)
        else:
            with v.loop(0, n) as k:
                self._step(at, weight, word, k0 + k, pixels)

    def _step(self, at: At, weight: Any, word: Any, k: Any, pixels: tuple[int, ...]) -> None:
        V, Q = self.isa.lanes, at.block.vectors
        octets = v.lanes("uint8", 4 * V)
        words = [
            v.Register("int32", V, v.splat(v.load(self.frame.operands[0], word(p) + k), V))
            for p in pixels
        ]
        for j in range(Q):
            w = v.Register(
                "int32", V, v.load(self.frame.parameters["w"], weight + (k * Q + j) * V, V)
            )
            for pixel, a in zip(pixels, words, strict=True):
                differing = v.reinterpret(octets, w.get() ^ a.get())
                self.bytes[pixel * Q + j].add(tirx.popcount(differing))

    def end_row(self, at: At) -> None:
        """Widen, where bytes hold no more than a row."""
        if self.widen_per_row:
            self._widen(at, tuple(range(at.span.width)))

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
        """Mismatches of one pixel and vector, int32 per channel."""
        i = pixel * at.block.vectors + j
        if self.widen_at_end:
            return _widened(self.bytes[i].get(), self.isa)
        return self.totals[i].get()

    def _widen(self, at: At, pixels: tuple[int, ...]) -> None:
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
