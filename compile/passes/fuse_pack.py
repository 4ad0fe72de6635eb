"""A sign-and-pack moves into the node that makes its operand: floats and bits leave together.

needs       fuse_epilogue, pack_once
guarantees  a pack of its own is left only for model inputs and where the producer already writes
            bits

The packed sign may have an affine of its own (the batch norm of the convolution that reads it); it
goes to `bits_affine` and leaves the float output as it is.
"""

from __future__ import annotations

from collections import Counter

from binas.compile.graph import Affine, Graph, Node, renamed


def fuse_pack(graph: Graph) -> None:
    """Fuse in place; the first pack of a value wins, later ones stay nodes of their own."""
    readers = Counter(name for node in graph.nodes for name in node.reads)
    readers.update(graph.outputs)
    done: list[Node] = []
    made: dict[str, int] = {}
    for node in graph.nodes:
        position = made.get(node.inputs[0]) if _is_pack(node) else None
        if position is not None and done[position].can_pack(node.inputs[0]):
            fused = _fused(done[position], node, alone=readers[node.inputs[0]] == 1)
            if fused.float_out is None:
                del graph.values[node.inputs[0]]
            done[position] = fused
            continue
        made.update(dict.fromkeys(node.writes, len(done)))
        done.append(node)
    graph.nodes = done


def _fused(producer: Node, pack: Node, *, alone: bool) -> Node:
    sources = producer.sources + pack.sources
    if alone:
        return renamed(
            producer,
            sources=sources,
            stages=producer.stages + pack.stages,
            float_out=None,
            bits_out=pack.bits_out,
        )
    affine = pack.stages[0] if pack.stages else None
    assert affine is None or isinstance(affine, Affine)  # noqa: S101 (what _is_pack says)
    return renamed(producer, sources=sources, bits_out=pack.bits_out, bits_affine=affine)


def _is_pack(node: Node) -> bool:
    affine = all(isinstance(stage, Affine) for stage in node.stages) and len(node.stages) <= 1
    return node.op == "elementwise" and node.float_out is None and affine
