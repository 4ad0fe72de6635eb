"""The epilogue of every kernel: stages in registers, then floats and packed bits to memory.

`staged` and `outputs` are what it computes, in numpy; `Epilogue` emits it for a row of vectors of
one pixel. Vectors are float32 x lanes over output channels; a word of bits is made of 32 / lanes
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.graph import Add, Affine, Node, PRelu, Relu, Sign, Stage
from binas.compile.isa import Isa
from binas.compile.kernels import comparisons
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, Parameter, padded
from binas.compile.kernels.grouping import share_words
from binas.core import bits
from binas.core.layer import Layer

Floats = NDArray[np.float32]


def staged(node: Node, accumulator: NDArray[Any], added: list[Floats]) -> Floats:
    """A node's values after its stages, from its accumulator [N, P, Q, K]."""
    return through(node.stages, accumulator.astype(np.float32), added)


def through(stages: Sequence[Stage], y: Floats, added: Sequence[Floats] = ()) -> Floats:
    """Values [N, P, Q, K] after some stages; `added` holds what its sums add, in order."""
    rest = iter(added)
    for stage in stages:
        match stage:
            case Affine():
                y = y * stage.scale.astype(np.float32) + stage.bias.astype(np.float32)
            case Relu():
                y = np.maximum(y, np.float32(0))
            case PRelu():
                y = np.where(y >= 0, y, y * stage.slope.astype(np.float32))
            case Add():
                y = y + next(rest)
            case Sign():
                y = bits.sign(y)
    return y


def outputs(node: Node, y: Floats) -> list[NDArray[Any]]:
    """The outputs of a node from its values after the stages: floats first, then packed bits."""
    out: list[NDArray[Any]] = [y] if node.float_out is not None else []
    if node.bits_out is not None:
        out.append(bits.pack(decision(node, y)))
    return out


def decision(node: Node, y: Floats) -> Floats:
    """What the packed bits are the sign of."""
    affine = node.bits_affine
    if affine is None:
        return y
    return y * affine.scale.astype(np.float32) + affine.bias.astype(np.float32)


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """The arrays that the stages read, per output channel, padded to whole vectors."""
    size = channel_size(layer, isa)
    found: list[Parameter] = []
    for i, stage in enumerate(layer.stages):
        if stage == "affine":
            found += [Parameter(f"a{i}", size, "float32"), Parameter(f"b{i}", size, "float32")]
        elif stage == "prelu":
            found.append(Parameter(f"s{i}", size, "float32"))
    if layer.bits_affine:
        found += [Parameter("abits", size, "float32"), Parameter("bbits", size, "float32")]
    return found


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`, in the same order."""
    size = channel_size(node.layer, isa)
    found: list[NDArray[Any]] = []
    affines = [node.bits_affine] if node.bits_affine is not None else []
    for stage in (*node.stages, *affines):
        if isinstance(stage, Affine):
            found += [padded(stage.scale, size), padded(stage.bias, size)]
        elif isinstance(stage, PRelu):
            found.append(padded(stage.slope, size))
    return found


def channel_size(layer: Layer, isa: Isa) -> int:
    """Elements of a per-channel array: the vector at the last channel is loaded whole."""
    return layer.out_channels + isa.lanes - 1


class Epilogue:
    """Emits the stages and stores of one kernel.

    Args:
        frame: The kernel's buffers.
        isa: Hardware facts.
    """

    def __init__(self, frame: Frame, isa: Isa) -> None:
        """Keep what every pixel needs."""
        self._frame, self._isa, self._layer = frame, isa, frame.layer
        self._in_turns = share_words(frame.layer)

    def emit(self, pixel: Any, k0: Any, vectors: list[Any], channels: int) -> None:
        """Finish one pixel's channels.

        Args:
            pixel: Index of the output pixel, (n * P + p) * Q + q.
            k0: First output channel; a multiple of the unit where bits are written, unless groups
                share words.
            vectors: Accumulator values as float32 vectors, channels k0 upwards.
            channels: How many of the vectors' lanes are real channels.
        """
        masks = self.masks(pixel, k0, vectors, channels)
        if masks:
            self.store_bits(pixel, k0, masks, channels)

    def masks(self, pixel: Any, k0: Any, vectors: list[Any], channels: int) -> list[Any]:
        """The same, but bits are left to the caller, as one comparison result per vector.

        `k0` may be any channel; the result is empty where no bits are written.
        """
        V, K = self._isa.lanes, self._layer.out_channels
        masks: list[Any] = []
        for j, vector in enumerate(vectors):
            real = min(V, channels - j * V)
            y = v.Register("float32", V, vector)
            added = iter(self._frame.added)
            for i, stage in enumerate(self._layer.stages):
                y.set(self._stage(i, stage, y.get(), k0 + j * V, pixel * K + k0 + j * V, added))
            if self._frame.float_out is not None:
                store_lanes(self._frame.float_out, pixel * K + k0 + j * V, y, real)
            if self._frame.bits_out is not None:
                masks.append(self._mask(y.get(), k0 + j * V))
        return masks

    def _stage(self, i: int, stage: str, y: Any, k: Any, element: Any, added: Any) -> Any:
        V, parameters = self._isa.lanes, self._frame.parameters
        zero = v.splat(0.0, V, "float32")
        if stage == "affine":
            scale = v.load(parameters[f"a{i}"], k, V)
            bias = v.load(parameters[f"b{i}"], k, V)
            return v.fma(y, scale, bias, V, fused=self._isa.fused)
        if stage == "relu":
            return tirx.Max(y, zero)
        if stage == "prelu":
            # By the sign as it stands there: no comparison where lanes are chosen by it (AVX). What
            # becomes of -0 is 0 of either sign.
            negative = v.reinterpret(v.lanes("int32", V), y) < v.splat(0, V)
            return tirx.Select(negative, y * v.load(parameters[f"s{i}"], k, V), y)
        if stage == "add":
            return y + v.load(next(added), element, V)
        return tirx.Select(y >= zero, v.splat(1.0, V, "float32"), v.splat(-1.0, V, "float32"))

    def _mask(self, y: Any, k: Any) -> Any:
        V, parameters = self._isa.lanes, self._frame.parameters
        if self._layer.bits_affine:
            scale, bias = v.load(parameters["abits"], k, V), v.load(parameters["bbits"], k, V)
            y = v.fma(y, scale, bias, V, fused=self._isa.fused)
        return y >= v.splat(0.0, V, "float32")

    def store_bits(self, pixel: Any, k0: Any, masks: list[Any], channels: int) -> None:
        """Pack comparison results (bool x lanes, channels k0 upwards) and store their bits."""
        V, unit = self._isa.lanes, self._frame.bits_unit
        for i in range(-(-channels // unit)):
            part = masks[i * unit // V : (i + 1) * unit // V]
            count = min(unit, channels - i * unit)
            self.store_unit(pixel, k0, i, self.word(part, count), count)

    def word(self, masks: list[Any], channels: int) -> Any:
        """Comparison results of up to 32 channels as the low bits of an int32."""
        found = comparisons.word(masks, self._isa)
        return found if channels == bits.WORD_BITS else found & v.const((1 << channels) - 1)

    def store_unit(self, pixel: Any, k0: Any, i: int, value: Any, count: int) -> None:
        """Store unit `i` (a word, or a part of one) of the bits from channel k0 on.

        Args:
            pixel: Index of the output pixel.
            k0: First channel; a multiple of the unit unless groups share words.
            i: Units behind it.
            value: The bits, int32; 0 but for the lowest `count`.
            count: How many are of channels.
        """
        unit = self._frame.bits_unit
        width = bits.words(self._layer.out_channels) * (bits.WORD_BITS // unit)
        if self._in_turns:
            self._append(pixel * width, k0 + i * unit, value, count)
            return
        self._store(pixel * width + _quotient(k0, unit) + i, value)

    def clear_beyond(self, stop: Any, pixels: list[Any]) -> None:
        """Clear what no channel fills of the last words of pixels.

        Args:
            stop: The channel behind the last that was stored: nothing is done before all are.
            pixels: Their indices.
        """
        unit, K = self._frame.bits_unit, self._layer.out_channels
        width = bits.words(K) * (bits.WORD_BITS // unit)
        beyond = range(-(-K // unit), width)
        if self._frame.bits_out is None or not beyond:
            return
        with v.when(tirx.EQ(stop, v.const(K))):
            for pixel in pixels:
                for i in beyond:
                    self._store(pixel * width + i, v.const(0))

    def _append(self, first: Any, bit: Any, value: Any, count: int) -> None:
        """Put bits behind those that are there: what groups share is written in their order."""
        unit, buffer = self._frame.bits_unit, self._frame.bits_out
        shift = v.Register("int32", 1, tirx.floormod(bit, v.const(unit))).get()
        at = first + tirx.floordiv(bit, v.const(unit))
        word = v.Register("int32", 1, tirx.Cast("int32", value)).get()
        below = (v.const(1) << shift) - v.const(1)
        self._store(at, (tirx.Cast("int32", v.load(buffer, at)) & below) | (word << shift))
        if unit % (self._layer.out_channels // self._layer.groups) == 0:
            return  # no group ends beyond the unit it begins in
        over = shift + v.const(count - unit)
        with v.when(over > 0):  # then shift is not 0, and nothing is shifted by a whole word
            rest = (word >> (v.const(unit) - shift)) & ((v.const(1) << over) - v.const(1))
            self._store(at + 1, rest)

    def _store(self, at: Any, value: Any) -> None:
        unit = self._frame.bits_unit
        value = tirx.Cast(f"int{unit}", value) if unit < bits.WORD_BITS else value
        v.store(self._frame.bits_out, at, value)


def _quotient(k0: Any, unit: int) -> Any:
    return k0 // unit if isinstance(k0, int) else tirx.floordiv(k0, v.const(unit))


def store_lanes(buffer: Any, index: Any, register: v.Register, count: int) -> None:
    """Store the first `count` lanes: whole, or in powers of two and nothing beyond."""
    if count >= register.n:
        v.store(buffer, index, register.get(), register.n)
        return
    done = 0
    while done < count:
        n = 1 << ((count - done).bit_length() - 1)
        v.store(buffer, index + done, v.load(register.buffer, done, n), n)
        done += n
