"""The memory plan: an offset in one arena for every value, fixed when the network is compiled.

Two values may share bytes when no step needs both. Values are placed largest first, each at the
lowest offset where it fits between those already placed that live at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    placed: dict[str, int] = {}
    for name in sorted(alive, key=lambda value: (-sizes[value], alive[value], value)):
        start, stop = alive[name]
        busy = sorted(
            (placed[other], placed[other] + sizes[other])
            for other in placed
            if alive[other][0] <= stop and start <= alive[other][1]
        )
        offset = 0
        for low, high in busy:
            if offset + sizes[name] <= low:
                break
            offset = max(offset, high)
        placed[name] = offset
    top = max((placed[name] + sizes[name] for name in placed), default=0)
    bound = max(
        (
            sum(sizes[name] for name, (start, stop) in alive.items() if start <= step <= stop)
            for step in range(-1, len(graph.nodes) + 1)
        ),
        default=0,
    )
    return MemoryPlan(placed, top + SLACK, bound)


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
