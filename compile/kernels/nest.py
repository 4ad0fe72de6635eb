"""The loop nest of a convolution: which taps are inside, which pixels and channels make a tile.

Padded taps are never computed: rows by the bounds of a loop, columns by splitting the first and
last tiles of a row into phases in which the same pixels take part. So inputs need no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from tvm import tirx

from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, floordiv, floormod
from binas.compile.kernels.grouping import share_words
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer

_BAND = 4  # rows of a unit where groups share words: with few, weights are read more often


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


@dataclass(frozen=True, slots=True)
class At:
    """Where the nest stands: expressions for the current tile."""

    image: Any  # n
    row: Any  # output row p
    group: Any
    column: Any  # output column of the tile's first pixel
    channel: Any  # first output channel of the block
    weight: Any  # first weight element of the block
    rows: Any  # kernel rows inside the image
    block: Block
    span: Span
    flat: bool = False  # all kernel rows are inside, and unrolled


class Micro(Protocol):
    """The arithmetic of a convolution in registers."""

    def flat(self, rows: int) -> bool:
        """Whether so many kernel rows are better unrolled where all of them are inside."""

    def begin(self, at: At) -> None:
        """Clear the accumulators."""

    def contract(self, at: At, r: Any, in_row: Any, phase: Phase) -> None:
        """Accumulate kernel row `r`, which reads input row `in_row`, over one phase."""

    def end_row(self, at: At) -> None:
        """A kernel row is done."""

    def finish(self, at: At) -> None:
        """Hand the accumulators to the epilogue."""


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
    _, H, W, _ = layer.in_shape
    _, P, Q, _ = layer.out_shape
    axes = [(H, layer.padding[0], P, 0), (W, layer.padding[1], Q, 1)]
    rows, columns = (
        [
            inside(size, layer.stride[i], pad, layer.dilation[i], layer.kernel[i], out)
            for out in range(count)
        ]
        for size, pad, count, i in axes
    )
    return rows, columns


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
        unit = layer.groups * full * N * P
        weight = layer.groups * full * tile.channels * weights_per_channel
        found.append(Block(full * tile.channels, 1, vectors, rest, unit, weight, rest=True))
    return found


def weight_size(layer: Layer, tile: Tile, weights_per_channel: int) -> int:
    """Weight elements of all blocks, their lanes padded to whole vectors."""
    parts = blocks(layer, tile, weights_per_channel)
    lanes = sum(block.count * block.vectors * tile.lanes for block in parts)
    return layer.groups * lanes * weights_per_channel


def units(layer: Layer, tile: Tile) -> int:
    """Independent units: output rows times channel blocks, or bands where blocks share words."""
    N, P, _, _ = layer.out_shape
    if share_words(layer):
        return N * -(-P // _BAND)
    return N * P * layer.groups * sum(block.count for block in blocks(layer, tile, 0))


def sweeps(layer: Layer, tile: Tile) -> int:
    """How often the units go down the rows: for each channel block, where these go first."""
    N, P, _, _ = layer.out_shape
    once = share_words(layer) or tile.rows_first or N * P == 1
    return 1 if once else units(layer, tile) // (N * P)


def emit(frame: Frame, layer: Layer, tile: Tile, weights_per_channel: int, micro: Micro) -> None:
    """Emit the whole nest around a micro-kernel."""
    N, P, _, _ = layer.out_shape
    parts = blocks(layer, tile, weights_per_channel)
    if share_words(layer):
        bands = -(-P // _BAND)
        with frame.units(0, N * bands) as unit, v.loop(0, layer.groups) as group:
            image, first = floordiv(unit, bands) * P, floormod(unit, bands) * _BAND
            for block in parts:
                with (
                    v.loop(0, block.count) as number,
                    v.loop(0, v.minimum(P - first, _BAND)) as p,
                ):
                    place = block, image + first + p, group, number
                    _block(layer, tile, weights_per_channel, micro, place)
        return
    for block in parts:
        total = layer.groups * block.count * N * P
        with frame.units(block.unit, block.unit + total) as unit:
            index = unit - block.unit if block.unit else unit
            if tile.rows_first:
                each = layer.groups * block.count
                row, which = floordiv(index, each), floormod(index, each)
            else:
                which, row = floordiv(index, N * P), floormod(index, N * P)
            group, number = floordiv(which, block.count), floormod(which, block.count)
            _block(layer, tile, weights_per_channel, micro, (block, row, group, number), which)


def _block(
    layer: Layer,
    tile: Tile,
    weights_per_channel: int,
    micro: Micro,
    place: tuple[Block, Any, Any, Any],
    which: Any = None,
) -> None:
    """Emit one row of one block: `place` is its run of blocks, row, group, number in the run.

    `which` is the block among all blocks of its run, if that is known.
    """
    block, row, group, number = place
    _, P, _, K = layer.out_shape
    image, p = floordiv(row, P), floormod(row, P)
    if which is None:
        which = group * block.count + number
    channel = group * (K // layer.groups) + block.first + number * tile.channels
    weight = block.weight + which * (block.vectors * tile.lanes * weights_per_channel)
    low, high = row_bounds(layer, p)
    at = partial(At, image, p, group, channel=channel, weight=weight, block=block)
    R = layer.kernel[0]
    if not micro.flat(R):
        _row(layer, tile, micro, partial(at, rows=high - low), low, high)
    elif not any(layer.padding):
        _row(layer, tile, micro, partial(at, rows=v.const(R), flat=True), 0, R)
    else:
        with v.when(tirx.EQ(high - low, v.const(R))):
            _row(layer, tile, micro, partial(at, rows=v.const(R), flat=True), 0, R)
        with v.when(tirx.NE(high - low, v.const(R))):
            _row(layer, tile, micro, partial(at, rows=high - low), low, high)


def _row(
    layer: Layer, tile: Tile, micro: Micro, place: Callable[..., At], low: Any, high: Any
) -> None:
    """Emit the tiles of an output row over kernel rows [low, high)."""
    for span in spans(layer, tile.pixels):
        with _repeat(span) as tile_index:
            at = place(column=span.start + tile_index * span.width, span=span)
            micro.begin(at)
            with ExitStack() as loop:
                for r in range(low, high) if at.flat else [loop.enter_context(v.loop(low, high))]:
                    in_row = at.row * layer.stride[0] - layer.padding[0] + r * layer.dilation[0]
                    for phase in span.phases:
                        micro.contract(at, r, in_row, phase)
                    micro.end_row(at)
            micro.finish(at)


def row_bounds(layer: Layer, p: Any) -> tuple[Any, Any]:
    """Kernel rows [low, high) that lie inside the image, for output row `p`."""
    H, R = layer.in_shape[1], layer.kernel[0]
    stride, dilation, pad = layer.stride[0], layer.dilation[0], layer.padding[0]
    start = p * stride - pad
    if pad == 0 and layer.padding[2] == 0:
        return v.const(0), v.const(R)
    low = v.maximum(floordiv(dilation - 1 - start, dilation), 0)
    high = v.minimum(floordiv(H + dilation - 1 - start, dilation), R)
    return low, v.maximum(high, low)  # a row of padding alone has no taps, not fewer than none


@contextmanager
def _repeat(span: Span) -> Iterator[Any]:
    with v.loop(0, span.repeat) if span.repeat > 1 else nullcontext(v.const(0)) as index:
        yield index
