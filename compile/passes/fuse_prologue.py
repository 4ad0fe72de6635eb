"""A batch norm moves into the convolutions that read it, where all of them can take it.

needs       fuse_epilogue, fold_affine: an elementwise affine that is left has an operand with other
            readers
guarantees  no elementwise step of one affine is read by steps alone that can take it
            (`Layer.takes_affine`), unless it is an output of the model, or a depthwise convolution
            would lose digits: its sums are as large as what the norm takes off

Cells that begin each operation with a batch norm, for many operations that read one value, do this
everywhere: the value would be read and written once more for each of them. Two cells that read one
concat through a batch norm each would have it joined twice (`finish_concat`).
"""

from __future__ import annotations

import numpy as np

from binas.compile.graph import Affine, Graph, Node, renamed

# Of a bias, for depthwise convolutions. Values behind a norm are about 1: one of 100 left 1.6e-5 of
# the largest sum of 25 taps as an error, more than a step may have.
_LARGEST = 16.0


def fuse_prologue(graph: Graph) -> None:
    """Fuse in place."""
    readers = graph.consumers()
    taken = {
        node.float_out: (node, affine)
        for node in graph.nodes
        if (affine := _only_affine(node)) is not None
        and node.float_out is not None
        and node.float_out not in graph.outputs
        and all(_takes(reader, node.float_out, affine) for reader in readers[node.float_out])
    }
    graph.nodes = [_fused(node, taken) for node in graph.nodes if node.float_out not in taken]
    for name in taken:
        del graph.values[name]


def _only_affine(node: Node) -> Affine | None:
    """The affine of an elementwise step that is nothing but one."""
    if node.op != "elementwise" or node.bits_out is not None or len(node.stages) != 1:
        return None
    (stage,) = node.stages
    return stage if isinstance(stage, Affine) else None


def _takes(reader: Node, value: str, affine: Affine) -> bool:
    layer = reader.layer
    if not layer.takes_affine or layer.in_affine or value in reader.added:
        return False
    return not layer.depthwise or bool(np.abs(affine.bias).max() <= _LARGEST)


def _fused(node: Node, taken: dict[str, tuple[Node, Affine]]) -> Node:
    if not node.inputs or node.inputs[0] not in taken:
        return node
    elementwise, affine = taken[node.inputs[0]]
    return renamed(
        node,
        sources=elementwise.sources + node.sources,
        inputs=elementwise.inputs,
        in_affine=affine,
    )
