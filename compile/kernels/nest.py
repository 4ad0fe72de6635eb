"""The loop nest of a convolution around a micro-kernel: blocks, rows, tiles, rows of taps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from tvm import tirx

from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import (
    BAND,
    PIECES,
    Block,
    Phase,
    Span,
    blocks,
    inside_along,
    pieces,
    spans,
)
from binas.compile.kernels.frame import Frame, floordiv, floormod
from binas.compile.kernels.grouping import share_words
from binas.compile.tile import Tile
from binas.core.layer import Layer


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


def emit(frame: Frame, layer: Layer, tile: Tile, weights_per_channel: int, micro: Micro) -> None:
    """Emit the whole nest around a micro-kernel."""
    N, P, _, _ = layer.out_shape
    parts = blocks(layer, tile, weights_per_channel)
    if share_words(layer):
        bands = -(-P // BAND)
        with frame.units(0, N * bands) as unit, v.loop(0, layer.groups) as group:
            image, first = floordiv(unit, bands) * P, floormod(unit, bands) * BAND
            for block in parts:
                with (
                    v.loop(0, block.count) as number,
                    v.loop(0, v.minimum(P - first, BAND)) as p,
                ):
                    place = block, image + first + p, group, number
                    _block(layer, tile, weights_per_channel, micro, place)
        return
    cut = pieces(layer, tile)
    down = N * P * cut
    for block in parts:
        total = layer.groups * block.count * down
        with frame.units(block.unit, block.unit + total) as unit:
            index = unit - block.unit if block.unit else unit
            if tile.rows_first:
                each = layer.groups * block.count
                row, which = floordiv(index, each), floormod(index, each)
            else:
                which, row = floordiv(index, down), floormod(index, down)
            group, number = floordiv(which, block.count), floormod(which, block.count)
            piece = floormod(row, cut) if cut > 1 else None
            place = block, floordiv(row, cut), group, number
            _block(layer, tile, weights_per_channel, micro, place, which, piece)


def _block(
    layer: Layer,
    tile: Tile,
    weights_per_channel: int,
    micro: Micro,
    place: tuple[Block, Any, Any, Any],
    which: Any = None,
    piece: Any = None,
) -> None:
    """Emit one row of one block: `place` is its run of blocks, row, group, number in the run.

    `which` is the block among all blocks of its run, if that is known; `piece` a piece of the row,
    None for all of it.
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
    emit_row = partial(_row, layer, tile, micro, piece)
    if not micro.flat(R):
        emit_row(partial(at, rows=high - low), low, high)
        return
    rows_inside = {len(rows) for rows in inside_along(layer, 0)}
    if R not in rows_inside:  # no output row has them all
        emit_row(partial(at, rows=high - low), low, high)
    elif rows_inside == {R}:
        emit_row(partial(at, rows=v.const(R), flat=True), 0, R)
    else:
        # Out of TVM's sight: what 0.27 concludes from a condition on rows may divide by 0.
        rows = v.Register("int32", 1, high - low).get()
        with v.when(tirx.EQ(rows, v.const(R))):
            emit_row(partial(at, rows=v.const(R), flat=True), 0, R)
        with v.when(tirx.NE(rows, v.const(R))):
            emit_row(partial(at, rows=high - low), low, high)


def _row(
    layer: Layer,
    tile: Tile,
    micro: Micro,
    piece: Any,
    place: Callable[..., At],
    low: Any,
    high: Any,
) -> None:
    """Emit the tiles of an output row, or of a piece of it, over kernel rows [low, high)."""
    for span in spans(layer, tile.pixels):
        with _repeat(span, piece) as tile_index:
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
def _repeat(span: Span, piece: Any) -> Iterator[Any]:
    if piece is not None:
        begin, end = (floordiv(span.repeat * (piece + i), PIECES) for i in (0, 1))
        repetition: Any = v.loop(begin, end)
    else:
        repetition = v.loop(0, span.repeat) if span.repeat > 1 else nullcontext(v.const(0))
    with repetition as index:
        yield index
