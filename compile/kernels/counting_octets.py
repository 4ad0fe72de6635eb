"""Counting by a table of nibbles, both nibbles of a byte at once.

The two rows of a byte lie side by side in the table, so that one load has both. The lower half of
a register looks up the lower nibbles of 16 channels, the upper half their upper ones; their sums
meet at the end. So a vector has half as many channels as in `counting_nibbles.py`, and a byte takes
half as many loads of rows. That is faster where there are few channels: 16 would leave half of a
vector empty, and with more than 48, registers hold sums of too few pixels.
"""

from __future__ import annotations

import math
from typing import Any

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, nibble_table
from binas.compile.kernels import vector as v
from binas.compile.kernels.byte_halves import width
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.counting_nibbles import Nibbles
from binas.compile.kernels.grouping import Grouping
from binas.compile.kernels.parity_sums import by_parity
from binas.compile.tile import Tile
from binas.core.layer import Layer

_WIDTH = 32  # bytes of a register that two rows fill
# Vectors of all channels → pixels whose sums registers hold besides weights and what is looked up.
# Measured; with four vectors no number of pixels is as fast as `Nibbles`.
_PIXELS = {1: 12, 2: 6, 3: 3}
_SHORT = 4  # words: so soon done that halves do not pay for meeting


class Octets(Nibbles):
    """A vector holds two bytes of each of its 16 output channels."""

    name = "octets"
    at_once = 2
    octets_per_byte = 63  # a byte counts every other nibble: 63 * 4 = 252
    words_per_byte = octets_per_byte // 4

    @staticmethod
    def suits(layer: Layer, isa: Isa) -> bool:
        """Whether this way is the faster one."""
        needed, counted = _vectors(layer, isa), math.prod(layer.kernel) * Grouping.of(layer).words
        return width(isa) == _WIDTH and (needed == 1 or (needed in _PIXELS and counted > _SHORT))

    @staticmethod
    def choose(layer: Layer, isa: Isa) -> Tile:
        """All channels of a group at once, in vectors that fill whole words."""
        Q, needed = cutting.as_row(layer).out_shape[2], _vectors(layer, isa)
        vectors = needed + (1 if needed == 3 else 0)
        return Tile(min(_PIXELS[needed], Q), vectors, Octets.channels(isa))

    @staticmethod
    def candidates(layer: Layer, isa: Isa) -> list[Tile]:
        """As many sums as registers hold besides weights, a row and what it finds."""
        choice = Octets.choose(layer, isa)
        return enumerated(layer, choice, step=1, sums=range(3, isa.registers - 3))

    def row(self, octet: Any, number: int) -> Any:
        """The rows of both nibbles of a byte."""
        return nibble_table.both_rows(self.frame.parameters["table"], octet)

    def counts(self, i: int) -> list[Any]:
        """Mismatches of the lower and the upper channels of a vector of a pixel, uint16."""
        R, S = self.layer.kernel
        both = R * S * self.octets <= Nibbles.octets_per_byte  # a byte holds what both have counted
        if self.widen_at_end and both:
            octets = self.bytes[i].get()
            return by_parity(v.low(octets, "uint8x16") + v.high(octets, "uint8x16"), self.lanes)
        return [v.low(x, "uint16x8") + v.high(x, "uint16x8") for x in super().counts(i)]


def _vectors(layer: Layer, isa: Isa) -> int:
    return -(-(layer.out_channels // layer.groups) // Octets.channels(isa))
