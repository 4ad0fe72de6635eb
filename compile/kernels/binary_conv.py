"""Binary convolution on packed bits: xor, count, and the epilogue in registers.

    dot = n - 2 * popcount(x xor w)        n: taps inside the image times channels

A vector holds one word of K output channels; the activation word is broadcast. How ones are counted is
the ISA's (`Isa.counting`):

- full_adder: with running ones s and two products a1^w1, a2^w2,
      t = s ^ w1 ^ a1;  s' = t ^ w2 ^ a2;  carry = t ? ~s' : s          three ternary-logic instructions
  so two words cost five instructions; mismatches = 2 * popcount(carries) + popcount(s) at the end.
- bytes: popcount of bytes, summed in bytes; at most 31 words fit before they are widened to 32 bits.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.graph import Affine, Node
from binas.compile.isa import Isa
from binas.compile.kernels import epilogue, nest
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, Kernel, Parameter, frame
from binas.compile.kernels.nest import At, Phase, Tile
from binas.core import bits
from binas.core.layer import Layer

BYTE_STEPS = 31  # a byte takes 8 ones per word: 31 * 8 = 248 fits, 32 * 8 does not
UNROLL = 6  # words unrolled instead of looped over


def meaning(node: Node, x: NDArray[np.uint32]) -> NDArray[np.int32]:
    """The sums [N, P, Q, K], one group at a time, from packed x [N, H, W, words(C)]."""
    assert node.weights is not None  # noqa: S101
    C, G = node.in_shape[3], node.groups
    values = bits.unpack(x, C)
    per_in, per_out = C // G, node.out_channels // G
    sums = [
        bits.binary_conv2d(
            bits.pack(values[..., g * per_in : (g + 1) * per_in]),
            bits.pack(node.weights[g * per_out : (g + 1) * per_out]),
            per_in,
            stride=node.stride,
            padding=node.padding,
            dilation=node.dilation,
            pad_value=node.pad_value,
        )
        for g in range(G)
    ]
    return np.concatenate(sums, axis=3)


def choose(layer: Layer, isa: Isa) -> Tile:
    """The register tile: enough accumulators to hide latency, few enough not to spill."""
    limit = 8 if isa.counting == "full_adder" or isa.registers == 16 else 16
    V, Q = isa.lanes, nest.as_row(layer).out_shape[2]
    needed = -(-(layer.out_channels // layer.groups) // V)
    step = bits.WORD_BITS // V  # whole words of output bits
    vectors = min(step, needed)
    pixels = min(max(1, limit // vectors), Q)
    while vectors + step <= needed and pixels * (vectors + step) <= limit:
        vectors += step
    return Tile(pixels, vectors, V)


def thresholded(layer: Layer) -> bool:
    """Bits alone after one affine: an integer comparison per channel decides them."""
    return layer.stages == ("affine",) and not layer.float_out and not layer.bits_affine


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer."""
    tile, row = choose(layer, isa), nest.as_row(layer)
    with frame(symbol, layer, parameters(layer, isa)) as made:
        micro = _FullAdder if isa.counting == "full_adder" else _Bytes
        per_channel = _words_per_channel(layer)
        nest.emit(made, row, tile, per_channel, micro(made, row, isa))
    what = "threshold" if thresholded(layer) else "affine"
    name = f"binary_conv {isa.counting} {what} {isa.cpu} {tile.pixels}x{tile.channels}"
    return Kernel(made.function, nest.units(row, tile), name)


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """Weights, then what the epilogue reads."""
    size = nest.weight_size(nest.as_row(layer), choose(layer, isa), _words_per_channel(layer))
    found = [Parameter("w", size, "int32")]
    if layer.pad_value and any(layer.padding):
        channels = epilogue.channel_size(layer, isa)
        rows, columns = _classes(layer)
        found.append(Parameter("row_class", layer.out_shape[1], "int32"))
        found.append(Parameter("base", len(set(rows)) * len(set(columns)) * channels, "int32"))
    if thresholded(layer):
        return [*found, Parameter("t", epilogue.channel_size(layer, isa), "int32")]
    return found + epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`, in the same order."""
    layer = node.layer
    assert node.weights is not None  # noqa: S101
    weights, tail = node.weights, epilogue.arrays(node, isa)
    if thresholded(layer):
        affine = node.stages[0]
        assert isinstance(affine, Affine)  # noqa: S101
        limit, flip = threshold(affine, layer.macs)
        # A channel whose scale is negative has its weights negated: then all compare one way.
        weights = np.where(flip[:, None, None, None], -weights, weights)
        size = epilogue.channel_size(layer, isa)
        tail = [np.concatenate([limit, np.zeros(size - limit.size, np.int32)]).astype(np.int32)]
    found = [_packed(weights, layer, choose(layer, isa))]
    if layer.pad_value and any(layer.padding):
        found += _padding_tables(weights, layer, epilogue.channel_size(layer, isa))
    return found + tail


def threshold(affine: Affine, bound: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Integer thresholds t and flips f with  a * dot + b >= 0  ⟺  (f ? -dot : dot) >= t.

    Args:
        affine: a and b per channel, rounded to the float32 values the contract stores.
        bound: No |dot| exceeds this; thresholds beyond it mean always or never.
    """
    a = affine.scale.astype(np.float32).astype(np.float64)
    b = affine.bias.astype(np.float32).astype(np.float64)
    flip = a < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.ceil(-b / np.abs(a))
    limit = np.where(a == 0, np.where(b >= 0, -np.inf, np.inf), limit)
    return np.clip(limit, -bound - 1, bound + 1).astype(np.int32), flip


def _words_per_channel(layer: Layer) -> int:
    R, S = layer.kernel
    return R * S * bits.words(layer.in_shape[3] // layer.groups)


def _packed(weights: NDArray[Any], layer: Layer, tile: Tile) -> NDArray[np.int32]:
    """[K, R, S, C] of ±1 → per block [R][S][words][lanes of the block], blocks in nest order."""
    words = bits.pack(weights).view(np.int32)
    row, per_group = nest.as_row(layer), layer.out_channels // layer.groups
    parts = []
    for block in nest.blocks(row, tile, _words_per_channel(layer)):
        lanes = block.vectors * tile.lanes
        for index in range(layer.groups * block.count):
            group, number = divmod(index, block.count)
            first = group * per_group + block.first + number * tile.channels
            part = np.zeros((lanes, *words.shape[1:]), np.int32)
            part[: block.channels] = words[first : first + block.channels]
            parts.append(part.transpose(1, 2, 3, 0).reshape(-1))
    return np.concatenate(parts)


def _classes(layer: Layer) -> tuple[list[range], list[range]]:
    """Per output row and column, which kernel rows and columns lie inside the image."""
    _, H, W, _ = layer.in_shape
    _, P, Q, _ = layer.out_shape
    axes = [(H, layer.padding[0], P, 0), (W, layer.padding[1], Q, 1)]
    rows, columns = (
        [
            nest.inside(size, layer.stride[i], pad, layer.dilation[i], layer.kernel[i], out)
            for out in range(count)
        ]
        for size, pad, count, i in axes
    )
    return rows, columns


def _padding_tables(weights: NDArray[Any], layer: Layer, size: int) -> list[NDArray[Any]]:
    """Row class per output row, and per class pair and channel: n + what the padded taps add."""
    rows, columns = _classes(layer)
    row_kinds, column_kinds = sorted(set(rows), key=repr), sorted(set(columns), key=repr)
    per_tap = weights.sum(axis=3).astype(np.int32)  # [K, R, S]
    channels = layer.in_shape[3] // layer.groups
    base = np.zeros((len(row_kinds), len(column_kinds), size), np.int32)
    for i, row in enumerate(row_kinds):
        for j, column in enumerate(column_kinds):
            inner = per_tap[:, row.start : row.stop, column.start : column.stop]
            padded = per_tap.sum(axis=(1, 2)) - inner.sum(axis=(1, 2))
            base[i, j, : len(padded)] = len(row) * len(column) * channels
            base[i, j, : len(padded)] += layer.pad_value * padded
    kinds = np.array([row_kinds.index(row) for row in rows], np.int32)
    return [kinds, base.reshape(-1)]


class _Micro:
    """What both ways of counting share: addresses, the sum from the mismatches, the hand-over."""

    def __init__(self, made: Frame, layer: Layer, isa: Isa) -> None:
        self.frame, self.layer, self.isa = made, layer, isa
        self.epilogue = epilogue.Epilogue(made, isa)
        self.words = bits.words(layer.in_shape[3] // layer.groups)
        _, self.columns = _classes(layer)
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
        raise NotImplementedError

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
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
            if thresholded(self.layer):
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


class _FullAdder(_Micro):
    """Two words per five instructions with vpternlogd and vpopcntd."""

    def begin(self, at: At) -> None:
        V = self.isa.lanes
        count = at.span.width * at.block.vectors
        self.carries = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]
        self.ones = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]

    def run(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
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


class _Bytes(_Micro):
    """Popcount of bytes: NEON cnt, or the byte shuffle that LLVM makes of it on x86."""

    def begin(self, at: At) -> None:
        V = self.isa.lanes
        count = at.span.width * at.block.vectors
        self.bytes = [v.Register("uint8", 4 * V, v.splat(0, 4 * V, "uint8")) for _ in range(count)]
        self.totals = [v.Register("int32", V, v.splat(0, V)) for _ in range(count)]
        R, S = self.layer.kernel
        self.widen_at_end = R * S * self.words <= BYTE_STEPS
        self.widen_per_row = not self.widen_at_end and S * self.words <= BYTE_STEPS

    def run(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
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
        if self.widen_per_row:
            self._widen(at, tuple(range(at.span.width)))

    def mismatches(self, at: At, pixel: int, j: int) -> Any:
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
