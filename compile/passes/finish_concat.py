"""A concat that only elementwise steps read is made by each of them, finished as it wants it.

needs       nodes in an order in which they can run; elementwise steps that are left have operands
            with several readers (`fuse_epilogue`)
guarantees  no concat of floats is read by elementwise steps alone

The plain concat is then neither written nor read: cells that hand one concat to batch norms of two
later cells do this everywhere.
"""

from __future__ import annotations

from binas.compile.graph import Graph, Node, renamed


def finish_concat(graph: Graph) -> None:
    """Rewrite in place."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.reads:
            readers.setdefault(name, []).append(node)
    plain = {
        node.float_out: node
        for node in graph.nodes
        if node.op == "concat"
        and node.float_out is not None
        and node.bits_out is None
        and node.float_out not in graph.outputs
        and all(_finishes(reader, node.float_out) for reader in readers[node.float_out])
    }
    graph.nodes = [
        _finished(plain[node.inputs[0]], node) if plain.keys() & set(node.inputs) else node
        for node in graph.nodes
        if node.float_out not in plain
    ]
    for name in plain:
        del graph.values[name]


def _finished(concat: Node, node: Node) -> Node:
    return renamed(
        concat,
        name=node.name,
        sources=concat.sources + node.sources,
        stages=concat.stages + node.stages,
        float_out=node.float_out,
        bits_out=node.bits_out,
        bits_affine=node.bits_affine,
    )


def _finishes(node: Node, value: str) -> bool:
    return node.op == "elementwise" and node.inputs == (value,) and value not in node.added
