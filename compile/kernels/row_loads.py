"""How the lanes of a tap are read from a row of packed words; `row_vectors.py` says which."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from binas.compile.kernels import vector as v
from binas.compile.kernels.row_vectors import TapLanes


def gathered(buffer: Any, at: Any, tap: TapLanes, V: int) -> Any:
    """The lanes of a tap, int32 x V: one load where they lie as they are read.

    Args:
        buffer: The packed rows.
        at: Where the word lies that the first lane inside the image reads.
        tap: Which words; lanes whose tap is outside hold anything.
        V: Lanes of a vector.
    """
    if all(tap.offsets[lane] == lane for lane in tap.inside):
        return v.load(buffer, at, V)
    offsets = [offset or 0 for offset in tap.offsets] + [0] * (V - len(tap.offsets))
    parts = [v.load(buffer, at + i * V, V) for i in range(max(offsets) // V + 1)]
    return tirx.Shuffle(parts, [v.const(offset) for offset in offsets])


def only_inside(value: Any, tap: TapLanes, used: int, V: int) -> Any:
    """The same with 0 in the lanes whose tap is outside the image."""
    inside, zero = tap.inside, v.splat(0, V)
    lane = tirx.Ramp(v.const(0), v.const(1), V)
    if inside.start > 0:
        value = tirx.Select(lane >= v.splat(inside.start, V), value, zero)
    if inside.stop < used:
        value = tirx.Select(lane < v.splat(inside.stop, V), value, zero)
    return value
