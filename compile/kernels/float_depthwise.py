"""Depthwise convolution of real activations: channels in the lanes, pixels and taps around them.

    y[n, p, q, c] = Σ_rs x[n, p * sh - top + r * dh, q * sw - left + s * dw, c] * w[c, r, s]

Nothing is broadcast: a vector of activations times a vector of weights. In the nest it is a
convolution without groups whose every output channel has R * S weights. Weights of one bit are
stored as floats: their activations are real. An affine before the convolution is in the weights and
in what sums begin with (`border_bias.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import border_bias, cutting, epilogue, float_conv, nest
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import Phase
from binas.compile.kernels.float_sums import FloatSums, room
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.compile.kernels.nest import At
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

meaning = float_conv.meaning
_BYTE = 8  # channels whose bits are stored at once
_MOST_HELD = 7  # weights of a kernel row


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer."""
    row, tile = _as_row(layer, isa), _tile(layer, isa)
    unit = _BYTE if _by_the_byte(layer, isa) else bits.WORD_BITS
    with frame(symbol, layer, parameters(layer, isa), bits_unit=unit) as made:
        nest.emit(made, row, tile, _per_channel(layer), _Fma(made, row, isa))
    name = f"conv depthwise fma {isa.cpu} {tile}"
    return Kernel(made.function, cutting.units(row, tile), name, cutting.sweeps(row, tile))


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """Weights, then what the epilogue reads."""
    size = cutting.weight_size(_as_row(layer, isa), _tile(layer, isa), _per_channel(layer))
    return [Parameter("w", size, "float32"), *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`: weights as per block [R][S][lanes of the block].

    What sums begin with stands behind a block's weights, [rows][columns][lanes], if it is not 0.
    """
    layer, tile, numbers = node.layer, _tile(node.layer, isa), border_bias.folded(node)
    parts = []
    for block in cutting.blocks(_as_row(layer, isa), tile, _per_channel(layer)):
        for number in range(block.count):
            first = block.first + number * tile.channels
            part = np.zeros((block.vectors * tile.lanes, numbers.shape[1]), np.float32)
            part[: block.channels] = numbers[first : first + block.channels]
            parts.append(part.T.reshape(-1))
    return [np.concatenate(parts), *epilogue.arrays(node, isa)]


def _as_row(layer: Layer, isa: Isa) -> Layer:
    """The layer as the nest sees it: without groups, and cut as `_tile` says, in words or not."""
    row = cutting.as_row(replace(layer, groups=1, in_affine=False))
    if not _by_the_byte(layer, isa):
        return row
    return replace(row, float_out=True, bits_out=False, bits_affine=False)


def _taps(layer: Layer) -> int:
    return layer.kernel[0] * layer.kernel[1]


def _per_channel(layer: Layer) -> int:
    return _taps(layer) + border_bias.per_channel(layer)


def _by_the_byte(layer: Layer, isa: Isa) -> bool:
    """Whether a tile is of few channels, whose bits are a byte, and of many pixels.

    A kernel row's weights of a vector are then held beside the sums, and an activation is loaded
    once for all pixels that read it: of 5x5 with AVX2 19 loads for 50 multiply-adds, where a tile
    of a word takes 80 for 60. Wider vectors hold a row's activations (`_held`).
    """
    shared = layer.out_shape[2] > 1 and layer.stride[1] < layer.kernel[1]
    return isa.lanes <= _BYTE and shared and layer.kernel[1] <= _MOST_HELD


def _tile(layer: Layer, isa: Isa) -> Tile:
    """As many pixels as there is room for, by a byte or a word of channels."""
    Q = _as_row(layer, isa).out_shape[2]
    if _by_the_byte(layer, isa):
        vectors = _BYTE // isa.lanes
        # Beside weights an activation, and what it is multiplied to. Two of 32 registers are left
        # to loads that come early: without, models of ARM's CPUs take up to 1.8 times as long.
        beside = layer.kernel[1] + 1 + (not isa.fused) + (2 if isa.registers > 16 else 0)
        return Tile(min((isa.registers - beside) // vectors, Q), vectors, isa.lanes)
    vectors = min(bits.WORD_BITS, -(-layer.out_channels // isa.lanes) * isa.lanes) // isa.lanes
    return Tile(min(max(1, room(isa) // vectors), Q), vectors, isa.lanes)


class _Fma(FloatSums):
    """Accumulators of one tile; satisfies `nest.Micro`."""

    def begun(self, at: At, pixel: int, j: int) -> Any:
        """What is left of an affine before the convolution."""
        if not self.frame.layer.in_affine:
            return super().begun(at, pixel, j)
        number = border_bias.number(self.frame.layer, at.row, at.span.start + pixel)
        place = (_taps(self.layer) + number) * at.block.vectors + j
        return self._load("w", at.weight + place * self.isa.lanes)

    def contract(self, at: At, r: Any, in_row: Any, phase: Phase) -> None:
        """A kernel row over one phase."""
        stride, dilation = self.layer.stride[1], self.layer.dilation[1]
        taps = range(phase.start, phase.start + phase.count)
        columns = sorted({p * stride + s * dilation for p in phase.pixels for s in taps})
        if _by_the_byte(self.layer, self.isa):
            self._swept(at, r, in_row, phase, columns)
        elif 16 < self.isa.registers > len(self.sums) + len(columns):
            self._held(at, r, in_row, phase, columns)
        else:
            self._streamed(at, r, in_row, phase)

    def finish(self, at: At) -> None:
        """Hand each pixel's sums to the epilogue; what is beyond the last byte of bits is 0."""
        super().finish(at)
        if self.frame.bits_unit < bits.WORD_BITS:
            self.epilogue.clear_beyond(at.channel + at.block.channels, self.pixels(at))

    def _swept(self, at: At, r: Any, in_row: Any, phase: Phase, columns: list[int]) -> None:
        """A row's weights are held, and activations pass, for one vector after the other."""
        layer, V, Q = self.layer, self.isa.lanes, at.block.vectors
        _, H, W, C = layer.in_shape
        line = (at.image * H + in_row) * W + (at.column * layer.stride[1] - layer.padding[1])
        for j in range(Q):
            row = at.weight + (r * (layer.kernel[1] * Q) + j) * V
            weights = {
                s: v.Register("float32", V, self._load("w", row + s * (Q * V)))
                for s in range(phase.start, phase.start + phase.count)
            }
            for column in columns:
                at_column = (line + column) * C + at.channel + j * V
                x = v.Register("float32", V, v.load(self.frame.operands[0], at_column, V))
                for pixel in phase.pixels:
                    s, apart = divmod(column - pixel * layer.stride[1], layer.dilation[1])
                    if not apart and s in weights:
                        total, w = self.sums[pixel * Q + j], weights[s]
                        total.set(v.fma(x.get(), w.get(), total.get(), V, fused=self.isa.fused))

    def _held(self, at: At, r: Any, in_row: Any, phase: Phase, columns: list[int]) -> None:
        """Activations are loaded once, for all pixels that share them.

        Most lie across two lines of cache, as channels are no multiple of a line.
        """
        layer, V, Q = self.layer, self.isa.lanes, at.block.vectors
        _, H, W, C = layer.in_shape
        line = (at.image * H + in_row) * W + (at.column * layer.stride[1] - layer.padding[1])
        for j in range(Q):
            first, x = line * C + at.channel + j * V, self.frame.operands[0]
            row = {c: v.Register("float32", V, v.load(x, first + c * C, V)) for c in columns}
            for s in range(phase.start, phase.start + phase.count):
                weight = at.weight + (r * layer.kernel[1] + s) * (Q * V)
                w = v.Register("float32", V, self._load("w", weight + j * V))
                for pixel in phase.pixels:
                    column = pixel * layer.stride[1] + s * layer.dilation[1]
                    total = self.sums[pixel * Q + j]
                    total.set(
                        v.fma(row[column].get(), w.get(), total.get(), V, fused=self.isa.fused)
                    )

    def _streamed(self, at: At, r: Any, in_row: Any, phase: Phase) -> None:
        """Each weight vector meets all pixels, then goes."""
        layer, V, Q = self.layer, self.isa.lanes, at.block.vectors
        _, H, W, C = layer.in_shape
        for s in range(phase.start, phase.start + phase.count):
            weight = at.weight + (r * layer.kernel[1] + s) * (Q * V)
            line = (at.image * H + in_row) * W + (s * layer.dilation[1] - layer.padding[1])
            # Apart in LLVM's eyes, as in `float_conv`: every load serves once, and none is kept.
            first = [
                (line + (at.column + pixel) * layer.stride[1]) * C
                + at.channel
                + self.frame.zero * pixel
                for pixel in range(at.span.width)
            ]
            for j in range(Q):
                w = v.Register("float32", V, self._load("w", weight + j * V))
                for pixel in phase.pixels:
                    x = v.load(self.frame.operands[0], first[pixel] + j * V, V)
                    total = self.sums[pixel * Q + j]
                    total.set(v.fma(x, w.get(), total.get(), V, fused=self.isa.fused))

    def _load(self, name: str, index: Any) -> Any:
        return v.load(self.frame.parameters[name], index, self.isa.lanes)
