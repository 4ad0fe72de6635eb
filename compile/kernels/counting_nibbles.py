"""Counting by a table of nibbles, for x86 without a popcount of words.

Four bits of an activation choose one of 16 tables of what they mismatch with each nibble; the byte
shuffle looks up the nibbles of as many output channels as a register has bytes:

    bytes += shuffle(table[activation nibble], weight nibbles)

two instructions per 4 bits of all channels, with no xor, mask or shift among them. (In the usual
form, Muła, Kurz and Lemire 2016, arXiv:1611.07612, the table is constant and the data is looked
up.) A byte takes 7 words of up to 4 per nibble.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, nibble_table
from binas.compile.kernels import vector as v
from binas.compile.kernels.aligned_stack import aligned_stack
from binas.compile.kernels.byte_halves import halves, width
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.frame import floordiv, floormod
from binas.compile.kernels.nest import At
from binas.compile.kernels.ordering import pinned, pins
from binas.compile.kernels.parity_sums import ParitySums
from binas.compile.kernels.thresholds import thresholded
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

NIBBLES = bits.WORD_BITS // 4  # of a word

# By the bytes of a register, for tiles of one, two and three vectors. (SSE copies a table before
# it shuffles. Registers of 64 bytes: as many as sixteen registers hold, not measured again.)
_SUMS = {16: (7, 6), 32: (10, 12, 9), 64: (13, 12, 9)}


class Nibbles(ParitySums):
    """A vector holds a byte of each of its output channels."""

    name = "nibbles"
    operand_dtype = weights_dtype = "uint8"
    operands_per_word = 4
    weights_per_word = NIBBLES
    octets_per_byte: ClassVar[int] = 31  # 31 * 2 nibbles * 4 = 248 fits in a byte
    words_per_byte = octets_per_byte // 4

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

    @classmethod
    def arrange(
        cls, words: NDArray[np.int32], own: NDArray[np.int32], layer: Layer, isa: Isa
    ) -> NDArray[Any]:
        """The words [lanes, R, S, words] of a block as bytes, a nibble in each.

        [R][S][word][round of look-ups][vector][nibble of the round][channel of the vector]
        """
        lanes = cls.channels(isa)
        vectors = words.view(np.uint32).reshape(-1, lanes, *words.shape[1:])
        # Even bytes hold the lower half, odd bytes the upper.
        order = np.stack(halves(lanes, compared=thresholded(layer)), axis=1).reshape(-1)
        shifts = 4 * np.arange(NIBBLES, dtype=np.uint32).reshape(-1, cls.at_once)
        nibbles = (vectors[:, order, ..., None, None] >> shifts & 15).astype(np.uint8)
        return nibbles.transpose(2, 3, 4, 5, 0, 6, 1).reshape(-1)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Sums that registers do not hold lie in whole lines; the order is what is said here."""
        with aligned_stack(self.isa), pins():
            yield

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        super().begin(at)
        if self.spares:
            R, S = self.layer.kernel
            self.widen_at_end = R * S * self.octets <= self.octets_per_byte
            self.widen_per_row = not self.widen_at_end

    @property
    def octets(self) -> int:
        """Bytes of a tap that hold channels of a group."""
        return -(-self.grouping.per_group // 8)

    @property
    def spares(self) -> bool:
        """Whether bytes without channels are not looked at: they are many, and a row needs no rest.

        With sums widened within rows, 3x3 of 100 channels took 0.88 of the time, but LLVM or TVM
        did something else for every shape: sums on the stack, half a minute for a kernel.
        """
        own, S = self.octets, self.layer.kernel[1]
        many = 16 * own <= 15 * 4 * self.words
        return not self.grouping.masked and many and S * own <= self.octets_per_byte

    def count(self, at: At, weight: Any, word: Any, n: int, pixels: tuple[int, ...]) -> None:
        """Count over `n` words, or over the bytes of them that hold channels."""
        if not self.spares:
            super().count(at, weight, word, n, pixels)
            return
        with v.loop(0, n // self.words) as tap, v.loop(0, self.octets) as octet:
            self._octet(at, weight, word, tap * (4 * self.words) + octet, pixels)

    def steps(
        self, at: At, weight: Any, word: Any, first: Any, n: int, pixels: tuple[int, ...]
    ) -> None:
        """Count whole words [first, first + n), byte by byte.

        A group that is half a word, or a quarter, has bytes of its own: no others are looked at.
        """
        own = self.grouping.per_group // 8 if self.grouping.of_bytes else 4
        skipped = floormod(at.group * own, 4)
        with v.loop(0, n * own) as i:
            byte = i if own == 4 else floordiv(i, own) * 4 + skipped + floormod(i, own)
            self._octet(at, weight, word, first * 4 + byte, pixels)

    def _octet(self, at: At, weight: Any, word: Any, byte: Any, pixels: tuple[int, ...]) -> None:
        """Count a byte. All shuffles of a pixel come before its sums: measured, 0.90 to 0.96."""
        W, Q, buffers = width(self.isa), at.block.vectors, self.frame.parameters
        rounds = 2 // self.at_once
        for number in range(rounds):
            place = weight + (byte * rounds + number) * (Q * W)
            weights = [pinned(v.load(buffers["w"], place + j * W, W), W) for j in range(Q)]
            for pixel in pixels:
                octet = v.load(self.frame.operands[0], word(pixel) * 4 + byte)
                if not self.grouping.of_bytes:
                    octet = self.own(at, octet, byte)
                row = v.Register("uint8", W, self.row(octet, number))
                found = [pinned(_shuffle(row.get(), w.get(), W), W) for w in weights]
                for j, mismatches in enumerate(found):
                    total = self.bytes[pixel * Q + j]
                    total.set(pinned(total.get() + mismatches.get(), W).get())

    def row(self, octet: Any, number: int) -> Any:
        """What a register looks up for a byte of an activation, in a round."""
        table = self.frame.parameters["table"]
        return nibble_table.row(table, octet, number, width(self.isa))


def _shuffle(table: Any, at: Any, W: int) -> Any:
    name = {
        16: "llvm.x86.ssse3.pshuf.b.128",
        32: "llvm.x86.avx2.pshuf.b",
        64: "llvm.x86.avx512.pshuf.b.512",
    }[W]
    return v.intrinsic(f"uint8x{W}", name, table, at)
