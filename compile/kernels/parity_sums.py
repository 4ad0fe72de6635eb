"""Sums of look-ups in bytes, widened by parity; and the bits or floats that they become.

Sums widen to 16 bits by parity: even bytes hold the channels of the lower half of a vector, odd
bytes those of the upper, so that no lane crosses over.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, nibble_table
from binas.compile.kernels import vector as v
from binas.compile.kernels.byte_halves import (
    BEYOND,
    beyond,
    floats,
    halves,
    mask_bits,
    run_length,
    width,
)
from binas.compile.kernels.counting import Counted, bases
from binas.compile.kernels.counting_bytes import ByteSums
from binas.compile.kernels.frame import Parameter
from binas.compile.kernels.nest import At
from binas.compile.kernels.ordering import held_back
from binas.core.layer import Layer

MOST = 32767  # sums are signed words of 16 bits
_FEW = 16  # registers


class ParitySums(ByteSums):
    """A register has a byte for each nibble that it looks up, of each of its channels.

    Attributes:
        at_once: How many nibbles of an activation those are.
    """

    at_once: ClassVar[int] = 1

    @staticmethod
    def holds(layer: Layer) -> bool:
        """Whether 16 bits hold what this layer sums up."""
        R, S = layer.kernel
        return R * S * (layer.in_shape[3] // layer.groups) <= MOST

    @classmethod
    def channels(cls, isa: Isa) -> int:
        """Of a vector."""
        return width(isa) // cls.at_once

    @classmethod
    def parameters(cls, layer: Layer, isa: Isa, *, thresholded: bool) -> list[Parameter]:
        """The tables; per border class and channel, the threshold of a count or the base of it."""
        found = [Parameter("table", nibble_table.SIZE, "uint8")]
        rows, columns = cutting.classes(layer)
        size = len(set(rows)) * len(set(columns)) * cls._room(layer, isa)
        padded = any(layer.padding)
        if thresholded or (padded and layer.pad_value):
            found += [Parameter("row_class", layer.out_shape[1], "int32")] if padded else []
            found.append(Parameter("t" if thresholded else "base", size, "int16"))
        return found

    @classmethod
    def arrays(cls, counted: Counted, isa: Isa) -> list[NDArray[Any]]:
        """The values of `parameters`."""
        layer, lanes = counted.layer, cls.channels(isa)
        found: list[NDArray[Any]] = [nibble_table.table()]
        padded = any(layer.padding)
        kinds, n, base = bases(counted)
        if counted.limits is not None:
            # base - 2 m >= t  ⟺  m < floor((base - t) / 2) + 1
            values = np.clip((base - counted.limits) // 2 + 1, 0, n[:, :, None] + 1)
        elif padded and layer.pad_value:
            values = base
        else:
            return found
        per_group, G = layer.out_channels // layer.groups, layer.groups
        room = np.zeros((*n.shape, G, cls._room(layer, isa) // G), np.int16)
        room[..., :per_group] = values.reshape(*n.shape, G, per_group)
        dealt = halves(lanes, compared=counted.limits is not None)
        vectors = room.reshape(-1, lanes)[:, np.concatenate(dealt)]
        found += [kinds] if padded else []
        return [*found, vectors.reshape(-1)]

    @property
    def lanes(self) -> int:
        """Channels of a vector."""
        return self.channels(self.isa)

    def clear(self, at: At) -> None:
        """Set all counts to 0."""
        W, count = width(self.isa), at.span.width * at.block.vectors
        self.bytes = [v.Register("uint8", W, v.splat(0, W, "uint8")) for _ in range(count)]
        zero = v.splat(0, W // 2, "uint16")
        self.totals = [[v.Register("uint16", W // 2, zero) for _ in range(2)] for _ in range(count)]

    def widen(self, at: At, pixels: tuple[int, ...]) -> None:
        """Add the bytes to wider sums and clear them."""
        for pixel in pixels:
            for j in range(at.block.vectors):
                i = pixel * at.block.vectors + j
                octets = self.bytes[i]
                for total, half in zip(
                    self.totals[i], by_parity(octets.get(), octets.n), strict=True
                ):
                    total.add(half)
                octets.set(v.splat(0, octets.n, "uint8"))

    def counts(self, i: int) -> list[Any]:
        """Mismatches of the lower and the upper channels of a vector of a pixel, uint16."""
        if self.widen_at_end:
            return by_parity(self.bytes[i].get(), width(self.isa))
        return [total.get() for total in self.totals[i]]

    def finish(self, at: At) -> None:
        """Compare the counts, or hand the sums to the epilogue."""
        _, P, Q, _ = self.layer.out_shape
        pixels = [(at.image * P + at.row) * Q + at.column + p for p in range(at.span.width)]
        V = self.isa.lanes
        for p, index in enumerate(pixels):
            if self.thresholded:
                for j in range(at.block.vectors):
                    self._threshold(at, p, j, index)
            else:
                if self.isa.registers == _FEW:
                    self._hold_back(at, p)
                sums = [y for j in range(at.block.vectors) for y in self._sums(at, p, j)]
                real = -(-at.block.channels // V)
                self.epilogue.emit(index, at.channel, sums[:real], at.block.channels)
        self.fill_words(at, pixels)

    def _hold_back(self, at: At, pixel: int) -> None:
        """Finish a pixel when those before it are stored: LLVM finishes a vector of all of them.

        Few registers cannot hold that, so each float would be stored on the stack and loaded again:
        measured on AVX2 and SSE, 1.01 to 1.10 times as long.
        """
        for j in range(at.block.vectors):
            i = pixel * at.block.vectors + j
            if self.widen_at_end:
                held_back(self.bytes[i])
                continue
            for half in range(1 + (at.block.channels - j * self.lanes > self.lanes // 2)):
                held_back(self.totals[i][half])

    def _threshold(self, at: At, pixel: int, j: int, index: Any) -> None:
        """The bits of a vector."""
        n, unit, table = self.lanes // 2, self.frame.bits_unit, self.frame.parameters["t"]
        both = at.block.channels - j * self.lanes > run_length(self.lanes)
        counts = self.counts(pixel * at.block.vectors + j)[: 1 + both]
        masks = [
            v.reinterpret(f"int16x{n}", count) < v.load(table, self._entry(at, pixel, j, half), n)
            for half, count in enumerate(counts)
        ]
        per_vector = self.lanes // unit
        for i, value in enumerate(mask_bits(masks, self.lanes)):
            place = j * per_vector + i
            count = min(unit, at.block.channels - place * unit)
            if count > 0:
                self.epilogue.store_unit(index, at.channel, place, value, count)

    def _sums(self, at: At, pixel: int, j: int) -> list[Any]:
        """The sums of a vector as floats, in the order of the channels."""
        n, V = self.lanes // 2, self.isa.lanes
        base = self.frame.parameters.get("base")
        whole = at.rows * (at.span.taps(pixel) * (self.layer.in_shape[3] // self.layer.groups))
        sums: list[Any] = []
        for half, found in enumerate(self.counts(pixel * at.block.vectors + j)):
            count = v.reinterpret(f"int16x{n}", found)
            if base is None and n > V:
                twice = v.Register("int16", n, count + count).get()
                all_ones = v.splat(tirx.Cast("float32", whole + BEYOND), V, "float32")
                sums += [all_ones - x for x in beyond(twice, n)]
                continue
            ones = v.splat(tirx.Cast("int16", whole), n, "int16")
            if base is not None:
                ones = v.load(base, self._entry(at, pixel, j, half), n)
            sums += floats(ones - count - count, n, V)
        return sums

    def _entry(self, at: At, pixel: int, j: int, half: int) -> Any:
        """Where half a vector's channels start in the table of border classes."""
        G, whole = self.layer.groups, self._room(self.layer, self.isa)
        place = at.channel + at.group * ((whole - self.layer.out_channels) // G)
        place += j * self.lanes + half * (self.lanes // 2)
        if "row_class" not in self.frame.parameters:
            return place
        row = v.load(self.frame.parameters["row_class"], at.row)
        kind = row * len(self.column_kinds) + self.column_kind(at, pixel)
        return kind * whole + place

    @classmethod
    def _room(cls, layer: Layer, isa: Isa) -> int:
        """Entries per border class: whole vectors for every group."""
        lanes = cls.channels(isa)
        return layer.groups * -(-(layer.out_channels // layer.groups) // lanes) * lanes


def by_parity(octets: Any, W: int) -> list[Any]:
    """W bytes as two vectors of 16 bits: the even ones, the odd ones."""
    pairs = v.reinterpret(f"uint16x{W // 2}", octets)
    return [pairs & v.splat(255, W // 2, "uint16"), pairs >> v.splat(8, W // 2, "uint16")]
