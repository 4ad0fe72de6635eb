"""The memory plan on networks whose lifetimes are awkward."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from binas.compile.graph import Add, Graph, Node, Value
from binas.compile.memory import ALIGN, SLACK, MemoryPlan, plan_memory

Sizes = st.lists(st.integers(1, 300), min_size=1, max_size=25)


def graph_of(channels: list[int], reads: list[tuple[int, int]], outputs: set[int]) -> Graph:
    """A value of so many channels per step; step i reads the values named in reads[i]."""
    graph = Graph(["v0"], [])
    for i, C in enumerate(channels):
        graph.values[f"v{i}"] = Value(f"v{i}", (1, 1, 1, C), "bits" if i % 3 == 2 else "float32")
    for i in range(1, len(channels)):
        first, second = reads[i]
        graph.nodes.append(
            Node(
                name=f"n{i}",
                sources=(),
                op="elementwise",
                inputs=(f"v{first}",),
                in_shape=(1, 1, 1, channels[first]),
                out_channels=channels[i],
                stages=(Add(f"v{second}"),),
                float_out=f"v{i}",
            )
        )
    graph.outputs = [f"v{i}" for i in sorted(outputs)]
    return graph


def lifetimes(graph: Graph) -> dict[str, set[int]]:
    """The steps at which each value must be in memory, counted naively; -1 is before the first."""
    end = len(graph.nodes)
    found: dict[str, set[int]] = {}
    for name in graph.values:
        used = [i for i, node in enumerate(graph.nodes) if name in (*node.reads, *node.writes)]
        used += [-1] if name in graph.inputs else []
        used += [end] if name in graph.outputs else []
        found[name] = set(range(min(used), max(used) + 1))
    return found


def must_be_sound(graph: Graph, plan: MemoryPlan) -> None:
    """Nothing overlaps that is alive together; all is aligned and inside."""
    alive = lifetimes(graph)
    for name, value in graph.values.items():
        start = plan.offsets[name]
        assert start % ALIGN == 0
        assert start + value.size_bytes + SLACK <= plan.arena_bytes
        for other, neighbour in graph.values.items():
            if other < name and alive[name] & alive[other]:
                begin = plan.offsets[other]
                apart = begin + neighbour.size_bytes <= start or start + value.size_bytes <= begin
                assert apart, (name, other)


@given(st.data())
def test_values_that_are_alive_together_never_overlap(data: st.DataObject) -> None:
    channels = data.draw(Sizes)
    reads = [(0, 0)]
    for i in range(1, len(channels)):
        reads.append((data.draw(st.integers(0, i - 1)), data.draw(st.integers(0, i - 1))))
    outputs = data.draw(st.sets(st.integers(0, len(channels) - 1), min_size=1, max_size=4))
    graph = graph_of(channels, reads, outputs)
    plan = plan_memory(graph)
    must_be_sound(graph, plan)
    assert plan.arena_bytes >= plan.lower_bound_bytes


@given(st.lists(st.integers(1, 2000), min_size=2, max_size=40))
@example([17, 1, 1, 17])  # the largest first, each at the lowest offset, takes a third more
def test_a_chain_needs_no_more_than_its_two_largest_neighbours(channels: list[int]) -> None:
    graph = graph_of(channels, [(max(0, i - 1),) * 2 for i in range(len(channels))], {0})
    graph.outputs = [f"v{len(channels) - 1}"]
    plan = plan_memory(graph)
    must_be_sound(graph, plan)
    assert plan.arena_bytes - SLACK == plan.lower_bound_bytes


@given(st.integers(0, 2**32 - 1))
def test_a_residual_network_needs_hardly_more_than_the_bound(seed: int) -> None:
    """Blocks of two steps, the second of which adds the block's input; channels grow."""
    generator = np.random.default_rng(seed)
    channels, reads = [32], [(0, 0)]
    for _ in range(8):
        base = len(channels) - 1
        wide = channels[-1] * int(generator.integers(1, 3))
        channels += [wide, wide]
        reads += [(base, base), (base + 1, base)]
    graph = graph_of(channels, reads, {len(channels) - 1})
    plan = plan_memory(graph)
    must_be_sound(graph, plan)
    assert plan.arena_bytes - SLACK <= 1.2 * plan.lower_bound_bytes


def test_a_value_that_nobody_reads_has_its_place_while_it_is_written() -> None:
    graph = graph_of([8, 8, 8], [(0, 0), (0, 0), (0, 0)], {2})
    must_be_sound(graph, plan_memory(graph))


def test_an_empty_network_needs_its_input() -> None:
    graph = graph_of([8], [(0, 0)], {0})
    assert plan_memory(graph).arena_bytes == 64 + SLACK
