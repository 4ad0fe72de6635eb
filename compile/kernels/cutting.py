"""How a convolution is cut: output rows into spans of tiles, channels into blocks, all into units.

Padded taps are never computed: rows by the bounds of a loop, columns by splitting the first and
last tiles of a row into phases in which the same pixels take part. So inputs need no padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from binas.compile.kernels.grouping import share_words
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

BAND = 4  # rows of a unit where groups share words: with few, weights are read more often
PIECES = 4  # of a row that is the whole image


@dataclass(frozen=True, slots=True)
class Phase:
    """Neighbouring kernel columns in which the same pixels of a span lie inside the image."""

    start: int
    count: int
    pixels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """`repeat` neighbouring tiles of `width` output columns that run the same phases."""

    start: int
    width: int
    repeat: int
    phases: tuple[Phase, ...]

    def taps(self, pixel: int) -> int:
        """Kernel columns inside the image at one pixel."""
        return sum(phase.count for phase in self.phases if pixel in phase.pixels)


@dataclass(frozen=True, slots=True)
class Block:
    """A run of channel blocks of equal size: `count` per group, from channel `first` of each."""

    first: int
    count: int
    vectors: int
    channels: int  # real channels of each block
    unit: int  # first unit
    weight: int  # first weight element
    rest: bool  # the last of its group, with what full blocks leave


def as_row(layer: Layer) -> Layer:
    """A 1x1 convolution at stride 1 without padding sees an image as one long row."""
    N, H, W, C = layer.in_shape
    plain = layer.kernel == layer.stride == (1, 1) and not any(layer.padding)
    return replace(layer, in_shape=(N, 1, H * W, C)) if plain and not share_words(layer) else layer


def inside(size: int, stride: int, pad: int, dilation: int, taps: int, out: int) -> range:
    """The kernel taps that lie inside along one axis, for output position `out`."""
    start = out * stride - pad
    low = max(0, -(start // dilation)) if start < 0 else 0
    high = min(taps, -((start - size) // dilation))
    return range(low, max(low, high))


def classes(layer: Layer) -> tuple[list[range], list[range]]:
    """Per output row and column, which kernel rows and columns lie inside the image."""
    return inside_along(layer, 0), inside_along(layer, 1)


def inside_along(layer: Layer, axis: int) -> list[range]:
    """The same of the rows (0) or of the columns (1)."""
    size, pad, count = layer.in_shape[1 + axis], layer.padding[axis], layer.out_shape[1 + axis]
    step, apart, taps = layer.stride[axis], layer.dilation[axis], layer.kernel[axis]
    return [inside(size, step, pad, apart, taps, out) for out in range(count)]


def spans(layer: Layer, pixels: int) -> list[Span]:
    """The tiles of an output row, from left to right."""
    _, _, W, _ = layer.in_shape
    _, _, Q, _ = layer.out_shape
    S = layer.kernel[1]
    tiles = -(-Q // pixels)
    found: list[Span] = []
    start = 0
    for tile in range(tiles):
        width = Q // tiles + (tile < Q % tiles)
        taps = [
            inside(W, layer.stride[1], layer.padding[1], layer.dilation[1], S, start + pixel)
            for pixel in range(width)
        ]
        phases = tuple(_phases(taps, S))
        last = found[-1] if found else None
        if last is not None and (last.width, last.phases) == (width, phases):
            found[-1] = replace(last, repeat=last.repeat + 1)
        else:
            found.append(Span(start, width, 1, phases))
        start += width
    return found


def _phases(taps: list[range], S: int) -> Iterator[Phase]:
    current: Phase | None = None
    for s in range(S):
        pixels = tuple(i for i, valid in enumerate(taps) if s in valid)
        if current is not None and current.pixels == pixels:
            current = replace(current, count=current.count + 1)
            continue
        if current is not None and current.pixels:
            yield current
        current = Phase(s, 1, pixels)
    if current is not None and current.pixels:
        yield current


def blocks(layer: Layer, tile: Tile, weights_per_channel: int) -> list[Block]:
    """Full channel blocks, then what is left at the end of every group.

    Args:
        layer: The convolution, after `as_row`.
        tile: Register tile.
        weights_per_channel: Weight elements of one lane, R * S * (words or channels).
    """
    N, P, _, K = layer.out_shape
    per_group = K // layer.groups
    # What is less than a word of output bits is one block, so that it can fill its word.
    rest = per_group % (max(tile.channels, bits.WORD_BITS) if layer.bits_out else tile.channels)
    full = (per_group - rest) // tile.channels
    found = []
    if full:
        found.append(Block(0, full, tile.vectors, tile.channels, 0, 0, rest=False))
    if rest:
        vectors = -(-rest // tile.lanes)
        unit = layer.groups * full * N * P * pieces(layer, tile)
        weight = layer.groups * full * tile.channels * weights_per_channel
        found.append(Block(full * tile.channels, 1, vectors, rest, unit, weight, rest=True))
    return found


def weight_size(layer: Layer, tile: Tile, weights_per_channel: int) -> int:
    """Weight elements of all blocks, their lanes padded to whole vectors."""
    parts = blocks(layer, tile, weights_per_channel)
    lanes = sum(block.count * block.vectors * tile.lanes for block in parts)
    return layer.groups * lanes * weights_per_channel


def units(layer: Layer, tile: Tile) -> int:
    """Independent units: rows, or pieces, times channel blocks; bands where blocks share words."""
    N, P, _, _ = layer.out_shape
    if share_words(layer):
        return N * -(-P // BAND)
    down = N * P * pieces(layer, tile)
    return down * layer.groups * sum(block.count for block in blocks(layer, tile, 0))


def pieces(layer: Layer, tile: Tile) -> int:
    """Into how many pieces an only row is cut, so that threads can share it."""
    long = layer.out_shape[1] == 1 and layer.out_shape[2] >= 8 * PIECES * tile.pixels
    return PIECES if long and not share_words(layer) else 1


def sweeps(layer: Layer, tile: Tile) -> int:
    """How often the units go down the rows: for each channel block, where these go first."""
    N, P, _, _ = layer.out_shape
    down = N * P * pieces(layer, tile)
    once = share_words(layer) or tile.rows_first or down == 1
    return 1 if once else units(layer, tile) // down
