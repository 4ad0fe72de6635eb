"""Counting by a table of nibbles, for x86 without a popcount of words.

Four bits of an activation choose one of 16 tables of what they mismatch with each nibble; the byte
shuffle looks up the nibbles of as many output channels as a register has bytes:

    bytes += shuffle(table[activation nibble], weight nibbles)

two instructions per 4 bits of all channels, with no xor, mask or shift among them. (In the usual
form, Muła, Kurz and Lemire 2016, arXiv:1611.07612, the table is constant and the data is looked
up.) A byte takes 7 words of up to 4 per nibble. Sums widen to 16 bits by parity: even bytes hold
the channels of the lower vector, odd bytes those of the upper, so no lane crosses over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, nibble_table
from binas.compile.kernels import vector as v
from binas.compile.kernels.aligned_stack import aligned_stack
from binas.compile.kernels.byte_halves import halves, mask_bits, run_length, width
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.counting import Counted, bases
from binas.compile.kernels.counting_bytes import ByteSums
from binas.compile.kernels.frame import Parameter, floordiv, floormod
from binas.compile.kernels.nest import At
from binas.compile.kernels.ordering import held_back, pinned, pins
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

MOST = 32767  # sums are signed words of 16 bits
NIBBLES = bits.WORD_BITS // 4  # of a word

# By the bytes of a register, for tiles of one, two and three vectors. (SSE copies a table before
# it shuffles. Registers of 64 bytes: as many as sixteen registers hold, not measured again.)
_FEW = 16  # registers
_SUMS = {16: (7, 6), 32: (10, 12, 9), 64: (13, 12, 9)}


class Nibbles(ByteSums):
    """A vector holds a byte of each of its output channels."""

    name = "nibbles"
    operand_dtype = weights_dtype = "uint8"
    operands_per_word = 4
    weights_per_word = NIBBLES
    words_per_byte = 7  # 7 * 8 nibbles * 4 = 224 fits in a byte, 8 * 8 * 4 does not

    @staticmethod
    def holds(layer: Layer) -> bool:
        """Whether 16 bits hold what this layer sums up."""
        R, S = layer.kernel
        return R * S * (layer.in_shape[3] // layer.groups) <= MOST

    @staticmethod
    def choose(layer: Layer, isa: Isa) -> Tile:
        """Sums for most registers, and weights of two vectors that share a look at the activation.

        Three vectors where two leave an odd one. How many sums is measured (`_SUMS`).
        """
        W, Q = width(isa), cutting.as_row(layer).out_shape[2]
        needed = -(-(layer.out_channels // layer.groups) // W)
        vectors = 3 if needed % 2 and needed > 1 and W >= bits.WORD_BITS else min(2, needed)
        return Tile(min(_SUMS[W][vectors - 1] // vectors, Q), vectors, W)

    @staticmethod
    def candidates(layer: Layer, isa: Isa) -> list[Tile]:
        """As many sums as registers hold besides weights, a table and what it finds."""
        return enumerated(
            layer,
            Nibbles.choose(layer, isa),
            step=1,
            sums=range(3, isa.registers - 3),
        )

    @staticmethod
    def bits_unit(tile: Tile) -> int:
        """A vector of channels, or a word."""
        return min(tile.lanes, bits.WORD_BITS)

    @staticmethod
    def arrange(
        words: NDArray[np.int32], own: NDArray[np.int32], layer: Layer, isa: Isa
    ) -> NDArray[Any]:
        """The words [lanes, R, S, words] of a block as [R][S][word][nibble][lanes] bytes."""
        vectors = words.view(np.uint32).reshape(-1, width(isa), *words.shape[1:])
        order = np.stack(halves(isa), axis=1).reshape(-1)  # even bytes lower, odd bytes upper
        shifts = 4 * np.arange(NIBBLES, dtype=np.uint32)
        nibbles = (vectors[:, order, ..., None] >> shifts & 15).astype(np.uint8)
        return nibbles.transpose(2, 3, 4, 5, 0, 1).reshape(-1)

    @staticmethod
    def parameters(layer: Layer, isa: Isa, *, thresholded: bool) -> list[Parameter]:
        """The tables; per border class and channel, the threshold of a count or the base of it."""
        found = [Parameter("table", nibble_table.SIZE, "uint8")]
        rows, columns = cutting.classes(layer)
        size = len(set(rows)) * len(set(columns)) * _room(layer, isa)
        padded = any(layer.padding)
        if thresholded or (padded and layer.pad_value):
            found += [Parameter("row_class", layer.out_shape[1], "int32")] if padded else []
            found.append(Parameter("t" if thresholded else "base", size, "int16"))
        return found

    @staticmethod
    def arrays(counted: Counted, isa: Isa) -> list[NDArray[Any]]:
        """The values of `parameters`."""
        layer, W = counted.layer, width(isa)
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
        room = np.zeros((*n.shape, G, _room(layer, isa) // G), np.int16)
        room[..., :per_group] = values.reshape(*n.shape, G, per_group)
        vectors = room.reshape(-1, W)[:, np.concatenate(halves(isa))]
        found += [kinds] if padded else []
        return [*found, vectors.reshape(-1)]

    @property
    def lanes(self) -> int:
        """Channels of a vector."""
        return width(self.isa)

    def clear(self, at: At) -> None:
        """Set all counts to 0."""
        W, count = self.lanes, at.span.width * at.block.vectors
        self.bytes = [v.Register("uint8", W, v.splat(0, W, "uint8")) for _ in range(count)]
        zero = v.splat(0, W // 2, "uint16")
        self.totals = [[v.Register("uint16", W // 2, zero) for _ in range(2)] for _ in range(count)]

    @contextmanager
    def around(self) -> Iterator[None]:
        """Sums that registers do not hold lie in whole lines; the order is what is said here."""
        with aligned_stack(self.isa), pins():
            yield

    def steps(
        self, at: At, weight: Any, word: Any, first: Any, n: int, pixels: tuple[int, ...]
    ) -> None:
        """Count words [first, first + n), byte by byte.

        A group that is half a word, or a quarter, has bytes of its own: no others are looked at.
        """
        own = self.grouping.per_group // 8 if self.grouping.of_bytes else 4
        skipped = floormod(at.group * own, 4)
        with v.loop(0, n * own) as i:
            byte = i if own == 4 else floordiv(i, own) * 4 + skipped + floormod(i, own)
            self._octet(at, weight, word, first * 4 + byte, pixels)

    def _octet(self, at: At, weight: Any, word: Any, byte: Any, pixels: tuple[int, ...]) -> None:
        """Count a byte. All shuffles of a pixel come before its sums: measured, 0.90 to 0.96."""
        W, Q, buffers = self.lanes, at.block.vectors, self.frame.parameters
        for high in range(2):
            place = weight + (byte * 2 + high) * (Q * W)
            weights = [pinned(v.load(buffers["w"], place + j * W, W), W) for j in range(Q)]
            for pixel in pixels:
                octet = v.load(self.frame.operands[0], word(pixel) * 4 + byte)
                if not self.grouping.of_bytes:
                    octet = self.own(at, octet, byte)
                row = v.Register("uint8", W, nibble_table.row(buffers["table"], octet, high, W))
                found = [pinned(_shuffle(row.get(), w.get(), W), W) for w in weights]
                for j, mismatches in enumerate(found):
                    total = self.bytes[pixel * Q + j]
                    total.set(pinned(total.get() + mismatches.get(), W).get())

    def widen(self, at: At, pixels: tuple[int, ...]) -> None:
        """Add the bytes to wider sums and clear them."""
        for pixel in pixels:
            for j in range(at.block.vectors):
                i = pixel * at.block.vectors + j
                for total, half in zip(self.totals[i], self._by_parity(i), strict=True):
                    total.add(half)
                self.bytes[i].set(v.splat(0, self.lanes, "uint8"))

    def _by_parity(self, i: int) -> tuple[Any, Any]:
        n = self.lanes // 2
        pairs = v.reinterpret(f"uint16x{n}", self.bytes[i].get())
        return pairs & v.splat(255, n, "uint16"), pairs >> v.splat(8, n, "uint16")

    def _counts(self, at: At, pixel: int, j: int) -> list[Any]:
        """Mismatches of the lower and the upper channels of a vector, int16."""
        i, dtype = pixel * at.block.vectors + j, f"int16x{self.lanes // 2}"
        halves = self._by_parity(i) if self.widen_at_end else [t.get() for t in self.totals[i]]
        return [v.reinterpret(dtype, half) for half in halves]

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
            for half in range(self._halves(at, j)):
                held_back(self.totals[i][half])

    def _halves(self, at: At, j: int) -> int:
        """How many halves of a vector have channels: the first channels are all in the lower."""
        return 1 + (at.block.channels - j * self.lanes > run_length(self.lanes))

    def _threshold(self, at: At, pixel: int, j: int, index: Any) -> None:
        """The bits of a vector."""
        n, unit = self.lanes // 2, self.frame.bits_unit
        table, entry = self.frame.parameters["t"], self._entry(at, pixel, j)
        masks = [
            count < v.load(table, entry + half * n, n)
            for half, count in enumerate(self._counts(at, pixel, j)[: self._halves(at, j)])
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
        parts = []
        for half, count in enumerate(self._counts(at, pixel, j)):
            if "base" in self.frame.parameters:
                entry = self._entry(at, pixel, j) + half * n
                base = v.load(self.frame.parameters["base"], entry, n)
            else:
                channels = self.layer.in_shape[3] // self.layer.groups
                whole = at.rows * (at.span.taps(pixel) * channels)
                base = v.splat(tirx.Cast("int16", whole), n, "int16")
            total = v.Register("int16", n, base - count - count).get()
            parts += [part(total, f"int16x{V}") for part in (v.low, v.high)]
        floats = [tirx.Cast(v.lanes("float32", V), part) for part in parts]
        # A half holds runs of channels: of 8 in a register of 32 bytes, all its own otherwise.
        return [floats[i] for i in ((0, 2, 1, 3) if self.lanes == 32 else (0, 1, 2, 3))]

    def _entry(self, at: At, pixel: int, j: int) -> Any:
        """Where a vector's channels start in the table of border classes."""
        per_group = self.layer.out_channels // self.layer.groups
        room = -(-per_group // self.lanes) * self.lanes
        channel = at.channel - at.group * per_group + at.group * room + j * self.lanes
        if "row_class" not in self.frame.parameters:
            return channel
        row = v.load(self.frame.parameters["row_class"], at.row)
        kind = row * len(self.column_kinds) + self.column_kind(at, pixel)
        return kind * _room(self.layer, self.isa) + channel


def _room(layer: Layer, isa: Isa) -> int:
    """Entries per border class: whole vectors for every group."""
    per_group = layer.out_channels // layer.groups
    return layer.groups * -(-per_group // width(isa)) * width(isa)


def _shuffle(table: Any, at: Any, W: int) -> Any:
    name = {
        16: "llvm.x86.ssse3.pshuf.b.128",
        32: "llvm.x86.avx2.pshuf.b",
        64: "llvm.x86.avx512.pshuf.b.512",
    }[W]
    return v.intrinsic(f"uint8x{W}", name, table, at)
