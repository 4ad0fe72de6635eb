"""What counting along the reduction stores: units of a kernel row, weights, integers.

A kernel row is one string of bits where its columns are neighbours in memory, and is cut into units
of 4, 2 and 1 words. `counting_dot.py` counts a unit at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from binas.compile.isa import Isa
from binas.compile.kernels import cutting
from binas.compile.kernels.candidates import enumerated
from binas.compile.kernels.counting import Counted, Micro, bases, joined
from binas.compile.kernels.frame import Parameter
from binas.compile.kernels.grouping import Grouping
from binas.compile.kernels.thresholds import thresholded
from binas.compile.tile import Tile
from binas.core.layer import Layer

CHANNELS = 8  # of a vector of 16-bit accumulators
MOST = 65534  # ones; one more still has to be a threshold that is never reached
NEVER = 65535
PACKED = 8  # pixels whose bits one tree packs
FEW = 5  # words of a channel's weights, so that thresholds are a large part of the work


class Unit(NamedTuple):
    """Neighbouring words of a kernel row that are counted at once: 4, 2 or 1."""

    first: int
    words: int


class DotLayout(Micro):
    """The tile, and the arrays in the order in which they are read."""

    name = "dot"

    @staticmethod
    def holds(layer: Layer) -> bool:
        """Whether 16 bits hold what this layer counts."""
        R, S = layer.kernel
        return R * S * (layer.in_shape[3] // layer.groups) <= MOST

    @staticmethod
    def choose(layer: Layer, isa: Isa) -> Tile:
        """The tiles that are best in llvm-mca's models, as `python -m benchmarks.arm` shows.

        A CPU that waits for its operands has others to go on with in a tile of more pixels; where
        thresholds are a large part of the work, it is best off with as many as one tree packs.
        """
        words, Q = Grouping.of(layer).words, cutting.as_row(layer).out_shape[2]
        needed, point = _vectors(layer), layer.kernel[1] == 1
        if isa.in_order and point and thresholded(layer) and 1 < words <= FEW:
            return Tile(min(Q, PACKED), min(needed, 2), CHANNELS)
        vectors = min(needed, _most_vectors(layer, isa))
        if words == 2 and vectors == 4:
            return Tile(min(Q, 2), vectors, CHANNELS)
        if vectors > 1:
            return Tile(min(Q, 3 if vectors > 2 else 4), vectors, CHANNELS)
        if isa.in_order and (Q <= 7 or (words == 4 and Q % 7 == 0 and not point)):
            return Tile(min(Q, 7), vectors, CHANNELS)
        fewer = Q % 4 and -(-Q // 5) < -(-Q // 4)
        return Tile(Q if Q <= 5 else 5 if fewer else 4, vectors, CHANNELS)

    @staticmethod
    def candidates(layer: Layer, isa: Isa) -> list[Tile]:
        """One, two or four vectors: a unit of bits is of one or two; a tree packs eight pixels."""
        like = DotLayout.choose(layer, isa)
        found = enumerated(layer, like, step=1, sums=range(2, 17), widest=PACKED)
        return [tile for tile in found if tile == like or tile.vectors in (1, 2, 4)]

    @staticmethod
    def bits_unit(tile: Tile) -> int:
        """Two vectors of channels make 16 bits, one alone makes 8."""
        return CHANNELS * min(2, tile.vectors)

    @staticmethod
    def arrange(
        words: NDArray[np.int32], own: NDArray[np.int32], layer: Layer, isa: Isa
    ) -> NDArray[Any]:
        """[lanes, R, S, words] as [R][unit][lanes][words of the unit], complemented."""
        lanes, R, _, _ = words.shape
        rows = (words ^ own).reshape(lanes, R, -1).transpose(1, 0, 2)
        parts = [rows[:, :, u.first : u.first + u.words].reshape(R, -1) for u in units(layer)]
        return np.concatenate(parts, axis=1).reshape(-1)

    @staticmethod
    def parameters(layer: Layer, isa: Isa, *, thresholded: bool) -> list[Parameter]:
        """Per border class and channel: the threshold of a count, or where a sum starts."""
        padded = any(layer.padding)
        rows, columns = cutting.classes(layer)
        size = len(set(rows)) * len(set(columns)) * table_size(layer)
        found = [Parameter("row_class", layer.out_shape[1], "int32")] if padded else []
        if thresholded:
            return [*found, Parameter("t", size, "uint16")]
        if padded and layer.pad_value:
            return [*found, Parameter("base", size, "int32" if odd(layer) else "int16")]
        return []

    @staticmethod
    def arrays(counted: Counted, isa: Isa) -> list[NDArray[Any]]:
        """The values of `parameters`."""
        layer, limits = counted.layer, counted.limits
        padded = any(layer.padding)
        kinds, n, base = bases(counted)
        found: list[NDArray[Any]] = [kinds] if padded else []
        room: NDArray[Any]
        if limits is not None:
            # base - 2 (n - m) >= t  ⟺  m >= ceil((t - base) / 2) + n
            limit = -((base - limits) // 2) + n[:, :, None]
            room = np.full((*n.shape, table_size(layer)), NEVER, np.uint16)
            room[..., : base.shape[2]] = np.clip(limit, 0, MOST + 1)
        elif padded and layer.pad_value:
            start = base - 2 * n[:, :, None]
            room = np.zeros((*n.shape, table_size(layer)), np.int32 if odd(layer) else np.int16)
            room[..., : base.shape[2]] = start if odd(layer) else start // 2
        else:
            return []
        return [*found, room.reshape(-1)]


def _vectors(layer: Layer) -> int:
    """Vectors that hold all channels of a group."""
    return -(-(layer.out_channels // layer.groups) // CHANNELS)


def _most_vectors(layer: Layer, isa: Isa) -> int:
    """Vectors of a tile, where there are channels for them.

    Registers of whole words need no repeated activation, so few channels do; a word alone gives 2
    registers of weights for 8 channels, which leaves room for many accumulators. What lies between
    has two vectors, but one in a 1x1 layer on a CPU that waits: with two, code that is ordered for
    such a CPU holds more values than there are registers, and some go to the stack and back.
    """
    words = Grouping.of(layer).words
    if words == 1:
        return 4
    if words == 2 and _vectors(layer) >= 4 and not isa.in_order:
        return 4
    point = layer.kernel[1] == 1 and not thresholded(layer)
    return 1 if words % 4 == 0 or (isa.in_order and point) else 2


def units(layer: Layer) -> list[Unit]:
    """The units of a kernel row: as long as can be, across columns where these are joined."""
    S, words = layer.kernel[1], Grouping.of(layer).words
    runs = [(0, S * words)] if joined(layer) else [(s * words, words) for s in range(S)]
    found = []
    for first, n in runs:
        done = 0
        while done < n:
            size = next(size for size in (4, 2, 1) if size <= n - done)
            found.append(Unit(first + done, size))
            done += size
    return found


def inside(unit: Unit, first: int, stop: int) -> list[Unit]:
    """The words of a unit within [first, stop), as the unit or as aligned parts of it."""
    if first <= unit.first and unit.first + unit.words <= stop:
        return [unit]
    if unit.words == 1:
        return []
    half = unit.words // 2
    lower, upper = Unit(unit.first, half), Unit(unit.first + half, half)
    return [*inside(lower, first, stop), *inside(upper, first, stop)]


def table_size(layer: Layer) -> int:
    """Entries per border class: all channels, and the unused lanes of a group's last block."""
    return -(-layer.out_channels // CHANNELS) * CHANNELS + CHANNELS


def odd(layer: Layer) -> bool:
    """Whether sums may be odd, so that half of one is no integer."""
    return layer.in_shape[3] // layer.groups % 2 == 1
