"""A sign-and-pack moves into the node that makes its operand: floats and bits leave together.

needs       fuse_epilogue, pack_once
guarantees  a pack of its own is left only for model inputs and where the producer already writes
            bits, or cannot

The packed sign may have an affine of its own (the batch norm of the convolution that reads it); it
goes to `bits_affine` and leaves the float output as it is.
"""

from __future__ import annotations

from binas.compile.graph import Affine, Graph, Node, renamed
from binas.core import bits


def fuse_pack(graph: Graph) -> None:
    """Fuse in place; the first pack of a value wins, later ones stay nodes of their own."""
    for pack in list(graph.nodes):
        if not _is_pack(pack):
            continue
        operand = pack.inputs[0]
        producer = next((p for p in graph.nodes if p.float_out == operand), None)
        if producer is None or producer.bits_out is not None or not _can_write_bits(producer):
            continue
        affine = pack.stages[0] if pack.stages else None
        assert affine is None or isinstance(affine, Affine)  # noqa: S101 (what _is_pack says)
        alone = len(graph.consumers()[operand]) == 1 and operand not in graph.outputs
        sources = producer.sources + pack.sources
        if alone:
            fused = renamed(
                producer,
                sources=sources,
                stages=producer.stages + pack.stages,
                float_out=None,
                bits_out=pack.bits_out,
            )
            del graph.values[operand]
        else:
            fused = renamed(producer, sources=sources, bits_out=pack.bits_out, bits_affine=affine)
        graph.swap(producer, fused)
        graph.nodes.remove(pack)


def _is_pack(node: Node) -> bool:
    affine = all(isinstance(stage, Affine) for stage in node.stages) and len(node.stages) <= 1
    return node.op == "elementwise" and node.float_out is None and affine


def _can_write_bits(node: Node) -> bool:
    """A concat can only if every input but the last fills whole words; a group likewise."""
    if node.op == "concat":
        return all(part % bits.WORD_BITS == 0 for part in node.parts[:-1])
    return node.groups == 1 or (node.out_channels // node.groups) % bits.WORD_BITS == 0
