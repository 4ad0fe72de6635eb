"""The epilogue of sums that were counted along the reduction: some pixels at once, kind by kind.

`epilogue.py` finishes pixel by pixel and leaves the order to LLVM. A CPU that does not reorder then
waits many times for its slowest instruction, the multiply-add. Here all sums of a batch are ready
before the first is multiplied, and all products before anything else happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from binas.compile.kernels import vector as v
from binas.compile.kernels.epilogue import Epilogue, store_lanes
from binas.compile.kernels.nest import At
from binas.compile.kernels.ordering import gated, hidden

WIDTH = 8  # channels of a vector of counts
BATCH = 8  # vectors of floats: with biases and scales they leave room for what is yet to come
Sums = Callable[[int, int], list[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """Four channels of one pixel.

    Attributes:
        y: Their values, float32.
        k: The first of them.
        offset: The same from the block's first on: parts of several pixels share their scales.
        element: Index of the first value in the output.
        real: How many are channels.
        apart: 0 that is added to where a bias lies. It is the bias's register that a multiply-add
            changes; one of which LLVM does not know that it is another pixel's is loaded, not
            copied by an instruction of arithmetic.
    """

    y: v.Register
    k: Any
    offset: int
    element: Any
    real: int
    apart: Any


class DotEpilogue(Epilogue):
    """Emits the stages and stores of a tile."""

    def emit_tile(self, at: At, pixels: list[Any], counts: list[v.Register], sums: Sums) -> None:
        """Finish a tile.

        Args:
            at: Where the nest stands.
            pixels: Indices of the output pixels.
            counts: What was counted, by pixel and vector of eight channels.
            sums: Of a pixel and a vector: two float32 vectors.
        """
        unit, vectors = self._frame.bits_unit, at.block.vectors
        # One register points at the tile, whatever column its row of tiles begins in: then floats
        # that lie side by side can be stored in pairs.
        start = v.Register("int32", 1, hidden(pixels[0] * self._layer.out_channels + at.channel))
        before: list[v.Register] = []
        for i, first in enumerate(range(0, at.block.channels, unit)):
            channels = min(unit, at.block.channels - first)
            own = range(first // WIDTH, min((first + unit) // WIDTH, vectors))
            for batch in _batches(len(pixels), BATCH * self._isa.lanes // unit):
                self._gate([counts[p * vectors + j] for p in batch for j in own], before)
                parts = [
                    part
                    for p in batch
                    for part in self._parts(
                        at, start, p, range(first, first + channels), [sums(p, j) for j in own]
                    )
                ]
                self._floats(parts)
                before = [part.y for part in parts]
                if self._frame.bits_out is not None:
                    each = len(parts) // len(batch)
                    for place, p in enumerate(batch):
                        self._bits(pixels[p], at.channel, i, parts[place * each :][:each], channels)

    def _parts(
        self, at: At, start: v.Register, p: int, channels: range, sums: list[list[Any]]
    ) -> list[Part]:
        """The sums of some channels of pixel `p` of a tile that begins at element `start`."""
        V, K = self._isa.lanes, self._layer.out_channels
        places = channels[::V]
        ys = [half for pair in sums for half in pair]
        return [
            Part(
                y=v.Register("float32", V, y),
                k=at.channel + k,
                offset=k,
                element=start.get() + (p * K + k),
                real=min(V, channels.stop - k),
                apart=self._frame.zero * p if p else 0,
            )
            for k, y in zip(places, ys, strict=False)  # of the last eight, four may be no channels
        ]

    def _bits(self, pixel: Any, k0: Any, i: int, parts: list[Part], channels: int) -> None:
        """Unit `i` of a pixel's bits."""
        masks = [self._mask(part.y.get(), part.k) for part in parts]
        self.store_unit(pixel, k0, i, self.word(masks, channels), channels)

    def _floats(self, parts: list[Part]) -> None:
        """Stages, and stores of floats."""
        added = iter(self._frame.added)
        for i, stage in enumerate(self._layer.stages):
            if stage == "affine":
                self._affine(i, parts)
                continue
            given = [next(added)] if stage == "add" else []
            for part in parts:
                y = self._stage(i, stage, part.y.get(), part.k, part.element, iter(given))
                part.y.set(y)
        if self._frame.float_out is not None:
            for part in parts:
                store_lanes(self._frame.float_out, part.element, part.y, part.real)

    def _affine(self, i: int, parts: list[Part]) -> None:
        V, (a, b) = self._isa.lanes, (self._frame.parameters[f"{name}{i}"] for name in "ab")
        ys = [part.y for part in parts]
        biases = [v.Register("float32", V, v.load(b, part.k + part.apart, V)) for part in parts]
        scales = {part.offset: v.Register("float32", V, v.load(a, part.k, V)) for part in parts}
        # A bias that waits is loaded for its pixel; else the loads of many tiles would be one.
        self._gate(biases, ys[-1:])
        self._gate(ys, [*ys, *biases, *scales.values()])
        for y, part, bias in zip(ys, parts, biases, strict=True):
            scale = scales[part.offset].get()
            y.set(v.fma(y.get(), scale, bias.get(), V, fused=self._isa.fused))
        self._gate(ys, ys)

    def _gate(self, values: list[v.Register], done: list[v.Register]) -> None:
        if self._isa.in_order:
            gated(values, done)


def _batches(pixels: int, most: int) -> list[range]:
    return [range(first, min(first + most, pixels)) for first in range(0, pixels, most)]
