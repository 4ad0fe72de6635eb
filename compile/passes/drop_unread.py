"""Steps whose results nobody reads are dropped.

needs       nodes in an order in which they can run
guarantees  every value is read by a node or is an output of the model
"""

from __future__ import annotations

from binas.compile.graph import Graph


def drop_unread(graph: Graph) -> None:
    """Drop in place, last first, so that what only a dropped node has read goes, too."""
    wanted = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.writes):
            wanted.update(node.reads)
            kept.append(node)
        else:
            for name in node.writes:
                del graph.values[name]
    graph.nodes = kept[::-1]
