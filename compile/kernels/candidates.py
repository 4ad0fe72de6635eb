"""The tiles that a tuner tries for a layer: every shape within bounds, in every order."""

from __future__ import annotations

from collections.abc import Sequence

from binas.compile.kernels import cutting
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer


def enumerated(
    layer: Layer,
    like: Tile,
    *,
    step: int,
    sums: range,
    unrolls: Sequence[int] = (1,),
    run: int = 1,
    widest: int = 16,
) -> list[Tile]:
    """All tiles of a layer, the family's own choice first.

    Args:
        layer: The convolution.
        like: The family's own choice.
        step: Vectors of a block come in multiples of this, so that it fills whole units of bits.
        sums: How many sums of vectors may be held at once.
        unrolls: Elements per pass of the inner loop, rising.
        run: Elements that lie side by side; to unroll more of them makes no other code.
        widest: Pixels, at most.
    """
    N, P, Q, K = cutting.as_row(layer).out_shape
    needed = -(-(K // layer.groups) // like.lanes)
    distinct = {like.unroll, *(unroll for unroll in unrolls if unroll < run)}
    if like.unroll < run:
        distinct |= set([unroll for unroll in unrolls if unroll >= run][:1])
    found = {like: None}
    for vectors in range(step, -(-needed // step) * step + 1, step):
        channels, held = vectors * like.lanes, min(vectors, needed)
        if layer.bits_out and channels % bits.WORD_BITS and bits.WORD_BITS % channels:
            continue  # its blocks would end within words, which nobody fills up then
        # A row is cut into pieces of about equal width: more pixels only count if there are fewer.
        for pixels in dict.fromkeys(-(-Q // pieces) for pieces in range(Q, 0, -1)):
            if pixels > widest or pixels * held not in sums:
                continue
            several = N * P > 1 and (layer.groups > 1 or needed > vectors)
            for rows_first in (False, True) if several else (False,):
                for unroll in sorted(distinct):
                    tile = Tile(pixels, vectors, like.lanes, unroll, rows_first)
                    found[tile] = None
    return list(found)
