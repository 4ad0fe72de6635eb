"""Which register tiles filtered convolutions take: their pixels are tiles of several outputs."""

from __future__ import annotations

from dataclasses import replace

from binas.compile.isa import Isa
from binas.compile.kernels import float_direct
from binas.compile.kernels.candidates import enumerated
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer


def as_row(layer: Layer, tiles: int) -> Layer:
    """The 1x1 layer whose pixels are a layer's tiles: it does what the inner loop does."""
    plain = replace(layer, kernel=(1, 1), stride=(1, 1), padding=(0, 0, 0, 0))
    return replace(plain, in_shape=(layer.in_shape[0], 1, tiles, layer.in_shape[3]))


def unroll(run: int, most: int) -> int:
    """Channels of a pass through the inner loop: as many of `most` as divide `run`."""
    return max(u for u in range(1, most + 1) if run % u == 0)


def rule(row: Layer, run: int, outputs: int, isa: Isa, *, most: int = 0, far: float = 0.0) -> Tile:
    """The tile of the fewest cycles in the inner loop over `run` channels."""
    best = float_direct.default_tile(row, isa, most=most, far=far)
    passes = unroll(run, float_direct.UNROLL)
    return replace(best, pixels=best.pixels * outputs, unroll=passes)


def tried(row: Layer, first: Tile, outputs: int, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, the rule's first."""
    found = enumerated(
        row,
        replace(first, pixels=first.pixels // outputs),
        step=bits.WORD_BITS // isa.lanes if row.bits_out else 1,
        sums=range(4, isa.registers - 3),
    )
    return [replace(tile, pixels=tile.pixels * outputs) for tile in found if not tile.rows_first]
