"""The memory plan: an offset in one arena for every value, fixed when the network is compiled.

Two values may share bytes when no step needs both. Finding the smallest arena is bin packing, so a
few good orders are tried and the smallest arena is kept: the largest value first, at the lowest
offset that is free while it lives, which suits networks with long-lived residuals; in order of
time; and in order of time alternately from both ends of the arena, which is exact for chains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from binas.compile.graph import Graph

ALIGN = 64  # a cache line and the widest vector
SLACK = 64  # kernels load whole vectors: up to this much beyond the last value is read, never used


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where values lie.

    Attributes:
        offsets: Byte offset of every value.
        arena_bytes: Size of the arena, slack included.
        lower_bound_bytes: The most that is alive at one step; no plan can need less.
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    lower_bound_bytes: int


def plan_memory(graph: Graph) -> MemoryPlan:
    """Place every value of a graph."""
    alive = _lifetimes(graph)
    sizes = {name: -(-graph.values[name].size_bytes // ALIGN) * ALIGN for name in alive}
    bound = max(
        (
            sum(sizes[name] for name, (start, stop) in alive.items() if start <= step <= stop)
            for step in range(-1, len(graph.nodes) + 1)
        ),
        default=0,
    )
    by_size = sorted(alive, key=lambda name: (-sizes[name], alive[name], name))
    by_time = sorted(alive, key=lambda name: (alive[name], name))
    plans = (
        _placed(by_size, sizes, alive),
        _placed(by_time, sizes, alive),
        _placed(by_time, sizes, alive, top=bound),
    )
    best = min(plans, key=lambda plan: _end(plan, sizes))
    return MemoryPlan(best, _end(best, sizes) + SLACK, bound)


def _placed(
    order: Sequence[str],
    sizes: Mapping[str, int],
    alive: Mapping[str, tuple[int, int]],
    *,
    top: int | None = None,
) -> dict[str, int]:
    """An offset for each value in turn, the lowest that is free while the value lives.

    With `top` every second value lies as high below it as is free, where anything is.
    """
    placed: dict[str, int] = {}
    for turn, name in enumerate(order):
        start, stop = alive[name]
        busy = sorted(
            (placed[other], placed[other] + sizes[other])
            for other in placed
            if alive[other][0] <= stop and start <= alive[other][1]
        )
        gaps = _gaps(busy, sizes[name])
        below = [high - sizes[name] for _, high in gaps[:-1]]
        if top is not None and gaps[-1][0] + sizes[name] <= top:
            below.append(top - sizes[name])
        placed[name] = below[-1] if top is not None and turn % 2 and below else gaps[0][0]
    return placed


def _gaps(busy: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Free ranges of at least `size` bytes, ascending; the last has no end, given as empty."""
    gaps, offset = [], 0
    for low, high in busy:
        if offset + size <= low:
            gaps.append((offset, low))
        offset = max(offset, high)
    return [*gaps, (offset, offset)]


def _end(placed: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    return max((offset + sizes[name] for name, offset in placed.items()), default=0)


def _lifetimes(graph: Graph) -> dict[str, tuple[int, int]]:
    """First and last step that needs each value; inputs from -1, outputs to the end."""
    alive = dict.fromkeys(graph.inputs, (-1, -1))
    for position, node in enumerate(graph.nodes):
        for name in node.reads:  # a value nobody writes (`samples.py`) lives for its one step
            alive[name] = (alive.get(name, (position, position))[0], position)
        for name in node.writes:
            alive[name] = (position, position)
    for name in graph.outputs:
        alive[name] = (alive[name][0], len(graph.nodes))
    return alive
