"""Real convolution, tap by tap: a tile of fused multiply-adds in registers.

A vector holds `lanes` output channels; the activation is broadcast. `float_conv.py` says what is
computed. Weights of one bit are stored as floats here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, nest, prologue
from binas.compile.kernels import vector as v
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.cutting import Phase
from binas.compile.kernels.float_sums import FloatSums, outer, room
from binas.compile.kernels.frame import Frame, Kernel, Parameter, frame
from binas.compile.kernels.nest import At
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

UNROLL = 4  # channels that need no loop
_CHUNK = 256  # channels of a pixel that have gone through an affine and lie on the stack
LATENCY = 4  # cycles of a multiply-add
LOAD, LOAD_IN_ORDER = 0.05, 0.5  # cycles of a load beside multiply-adds, which may hide it
LOOP = 0.25  # cycles of a pass through the inner loop, hidden likewise


def instructions(_layer: Layer, _isa: Isa) -> float:
    """Of the inner loop, for a vector of multiply-adds."""
    return 1.0


def default_tile(layer: Layer, isa: Isa, *, most: int = 0, far: float = 0.0) -> Tile:
    """The tile of the fewest cycles, as counted below; whole words where bits are written.

    Args:
        layer: The convolution.
        isa: For which CPU.
        most: Sums that are held at most; 0: as many as leave an epilogue registers (`room`).
        far: See `cycles`.
    """
    row, limit = cutting.as_row(layer), most or room(isa)
    unroll = UNROLL if _run(layer, layer.kernel[1]) <= UNROLL else 1
    needed = -(-(row.out_channels // row.groups) // isa.lanes)
    step = min(needed, bits.WORD_BITS // isa.lanes) if row.bits_out else 1
    return min(
        (
            Tile(pixels, vectors, isa.lanes, unroll)
            for vectors in range(step, max(step, min(needed, limit)) + 1, step)
            for pixels in range(1, min(row.out_shape[2], max(1, limit // vectors)) + 1)
        ),
        key=lambda tile: cycles(row, tile, isa, far),
    )


def cycles(row: Layer, tile: Tile, isa: Isa, far: float = 0.0) -> float:
    """Cycles of one input channel: a row of pixels, all output channels.

    Two multiply-adds and two loads begin per cycle, and a sum takes part once per latency: fewer
    sums than that hides leave cycles empty, which is what a narrow rest of the channels costs.
    `far`: what a vector of weights costs more than one of inputs, where these crowd it out of the
    nearest cache.
    """
    pixels, cycles = row.out_shape[2], 0.0
    shorter, wider = divmod(pixels, pieces := -(-pixels // tile.pixels))
    for block in cutting.blocks(row, tile, 1):
        for width, count in ((shorter, pieces - wider), (shorter + 1, wider)):
            sums, loads = width * block.vectors, width + block.vectors
            beside = loads * (LOAD_IN_ORDER if isa.in_order else LOAD) + block.vectors * far
            cycles += count * block.count * (max(sums / 2, loads / 2, LATENCY) + beside + LOOP)
    return cycles


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, and no others are taken from anybody."""
    return enumerated(
        layer,
        default_tile(layer, isa),
        step=32 // isa.lanes if layer.bits_out else 1,
        sums=range(4, isa.registers - 3),
        unrolls=(1, 2, UNROLL),
        run=_run(layer, layer.kernel[1]),
    )


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer."""
    tile, row = tile or default_tile(layer, isa), cutting.as_row(layer)
    with frame(symbol, layer, parameters(layer, isa, tile)) as made:
        nest.emit(made, row, tile, _weights_per_channel(layer), _Fma(made, row, tile, isa))
    name = f"conv fma {isa.cpu} {tile}"
    return Kernel(made.function, cutting.units(row, tile), name, cutting.sweeps(row, tile))


def parameters(layer: Layer, isa: Isa, tile: Tile) -> list[Parameter]:
    """Weights, then what an affine in front and the epilogue read."""
    size = cutting.weight_size(cutting.as_row(layer), tile, _weights_per_channel(layer))
    before = prologue.parameters(layer, isa)
    return [Parameter("w", size, "float32"), *before, *epilogue.parameters(layer, isa)]


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """The values of `parameters`: weights as per block [R][S][C][lanes of the block]."""
    assert node.weights is not None  # noqa: S101
    layer = node.layer
    tile, row = tile or default_tile(layer, isa), cutting.as_row(layer)
    per_group = layer.out_channels // layer.groups
    parts = []
    for block in cutting.blocks(row, tile, _weights_per_channel(layer)):
        for index in range(layer.groups * block.count):
            group, number = divmod(index, block.count)
            first = group * per_group + block.first + number * tile.channels
            part = np.zeros((block.vectors * tile.lanes, *node.weights.shape[1:]), np.float32)
            part[: block.channels] = node.weights[first : first + block.channels]
            parts.append(part.transpose(1, 2, 3, 0).reshape(-1))
    return [np.concatenate(parts), *prologue.arrays(node, isa), *epilogue.arrays(node, isa)]


def _weights_per_channel(layer: Layer) -> int:
    R, S = layer.kernel
    return R * S * (layer.in_shape[3] // layer.groups)


def _run(layer: Layer, columns: int) -> int:
    """Channels that lie side by side: those of neighbouring columns unless dilated or grouped."""
    return layer.in_shape[3] // layer.groups * (columns if _joined(layer) else 1)


def _joined(layer: Layer) -> bool:
    return layer.dilation[1] == 1 and layer.groups == 1


class _Fma(FloatSums):
    """Accumulators of one tile; satisfies `nest.Micro`."""

    def __init__(self, made: Frame, layer: Layer, tile: Tile, isa: Isa) -> None:
        super().__init__(made, layer, isa)
        self.tile = tile
        if layer.in_affine:
            self.near = v.array("float32", tile.pixels * _CHUNK)

    def contract(self, at: At, r: Any, in_row: Any, phase: Phase) -> None:
        """Neighbouring kernel columns are neighbouring channels unless dilated or grouped."""
        layer = self.layer
        _, H, W, C = layer.in_shape
        per_in, lanes = C // layer.groups, at.block.vectors * self.isa.lanes
        joined = _joined(layer)
        runs = (
            [(phase.start, phase.count)]
            if joined
            else [(s, 1) for s in range(phase.start, phase.start + phase.count)]
        )
        for s, count in runs:
            weight = at.weight + ((r * layer.kernel[1] + s) * per_in) * lanes
            line = (at.image * H + in_row) * W + (s * layer.dilation[1] - layer.padding[1])
            first = [
                (line + (at.column + pixel) * layer.stride[1]) * C + at.group * per_in
                for pixel in range(at.span.width)
            ]
            if joined:
                first = [index + self._apart(pixel) for pixel, index in enumerate(first)]
            if layer.in_affine:
                self._chunks(at, weight, first, phase.pixels)
                continue
            reads = [partial(self._broadcast, self.frame.operands[0], index) for index in first]
            self._run(at, weight, reads, count * per_in, phase.pixels)

    def _chunks(self, at: At, weight: Any, first: list[Any], pixels: tuple[int, ...]) -> None:
        """All channels of a 1x1 layer, each chunk through the affine before it is multiplied.

        In weights the affine would round otherwise: a large mean is taken off before sums are made.
        """
        whole, rest = divmod(self.layer.in_shape[3], _CHUNK)
        if whole:
            with v.loop(0, whole) as number:
                self._chunk(at, weight, first, (number * _CHUNK, _CHUNK), pixels)
        if rest:
            self._chunk(at, weight, first, (v.const(whole * _CHUNK), rest), pixels)

    def _chunk(
        self,
        at: At,
        weight: Any,
        first: list[Any],
        channels: tuple[Any, int],
        pixels: tuple[int, ...],
    ) -> None:
        """Channels from the first of `channels` on, so many of them."""
        V, (channel, count) = self.isa.lanes, channels
        with v.loop(0, -(-count // V)) as vector:
            for pixel in pixels:
                lane = channel + vector * V
                x = prologue.load(self.frame, first[pixel] + lane, lane, self.isa)
                v.store(self.near, pixel * _CHUNK + vector * V, x, V)
        reads = [
            partial(self._broadcast, self.near, pixel * _CHUNK) for pixel in range(at.span.width)
        ]
        self._run(at, weight + channel * (at.block.vectors * V), reads, count, pixels)

    def _run(
        self,
        at: At,
        weight: Any,
        reads: Sequence[Callable[[Any], Any]],
        n: int,
        pixels: tuple[int, ...],
    ) -> None:
        """Add `n` channels, of which `reads` gives each pixel's."""
        done, unroll = 0, self.tile.unroll
        if n > max(unroll, UNROLL):
            done = n // unroll * unroll
            with v.loop(0, done // unroll) as k:
                for part in range(unroll):
                    self._step(at, weight, reads, k * unroll + part, pixels)
        for k in range(done, n):
            self._step(at, weight, reads, k, pixels)

    def _apart(self, pixel: int) -> Any:
        """`Frame.zero`, another one for each pixel.

        A pixel's taps read what its neighbour's next taps read. LLVM would load that once and keep
        it, in registers that the sums need, and so store and reload it on the stack. Where the
        stack happens to lie like the data in the low 12 bits of addresses, loads wait for such
        stores. Thirty-two registers hold it.
        """
        if self.isa.registers > 16:
            return v.const(0)
        return self.frame.zero * pixel

    def _step(
        self,
        at: At,
        weight: Any,
        reads: Sequence[Callable[[Any], Any]],
        k: Any,
        pixels: tuple[int, ...],
    ) -> None:
        """Add one channel of these pixels, times its weights, to the sums.

        The shorter side of the tile is held while the longer one streams past: that and the sums
        are what 16 registers hold.
        """
        V, Q = self.isa.lanes, at.block.vectors
        weights = [
            partial(v.load, self.frame.parameters["w"], weight + (k * Q + j) * V, V)
            for j in range(Q)
        ]
        inputs = [partial(reads[pixel], k) for pixel in pixels]
        sums = [[self.sums[pixel * Q + j] for j in range(Q)] for pixel in pixels]
        if len(pixels) < Q:
            outer(inputs, weights, [list(column) for column in zip(*sums, strict=True)], self.isa)
        else:
            outer(weights, inputs, sums, self.isa)

    def _broadcast(self, source: Any, first: Any, k: Any) -> Any:
        return v.splat(v.load(source, first + k), self.isa.lanes, "float32")
