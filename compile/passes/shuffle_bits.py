"""A channel shuffle goes: into the weights of who reads it, or else onto bits.

needs       fuse_epilogue, fold_affine, fuse_pack
guarantees  no shuffle is read by nothing but convolutions without groups; one that writes bits
            alone, and adds nothing, reads floats only where `concat_bits` would, too
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Add, Affine, Graph, Node, PRelu, Stage, renamed
from binas.compile.passes.early_sign import EarlySigns

Order = NDArray[np.intp]


def shuffle_bits(graph: Graph) -> None:
    """Rewrite in place, last shuffle first."""
    signs = EarlySigns(graph)
    for position in reversed(range(len(graph.nodes))):
        node = graph.nodes[position]
        adds = any(isinstance(stage, Add) for stage in node.stages)
        bits_alone = node.float_out is None and node.bits_affine is None
        if node.op != "shuffle" or not bits_alone or adds:
            continue
        (value,) = node.inputs
        stages = tuple(_reordered(stage, np.argsort(_order(node))) for stage in node.stages)
        if signs.can_take(value, stages, beside=True):
            packed = signs.take(value, stages)
            graph.nodes[position] = renamed(node, op="shuffle_bits", inputs=(packed,), stages=())


def absorb_shuffle(graph: Graph) -> None:
    """Let convolutions without groups read what is shuffled as it was: their weights are."""
    for node in list(graph.nodes):
        plain = node.op in ("shuffle", "shuffle_bits") and not node.stages
        if not plain or len(node.writes) != 1 or node.writes[0] in graph.outputs:
            continue
        (shuffled,), (value,) = node.writes, node.inputs
        if graph.values[shuffled].dtype != graph.values[value].dtype:
            continue
        readers = graph.consumers()[shuffled]
        if not all(_is_dense(reader) and shuffled not in reader.added for reader in readers):
            continue
        back = np.argsort(_order(node))
        for reader in readers:
            assert reader.weights is not None  # noqa: S101 (convolutions have some)
            weights = np.ascontiguousarray(reader.weights[..., back])
            sources = node.sources + reader.sources
            graph.swap(reader, renamed(reader, inputs=(value,), weights=weights, sources=sources))
        graph.nodes.remove(node)
        del graph.values[shuffled]


def _is_dense(node: Node) -> bool:
    return node.op in ("conv", "binary_conv") and node.groups == 1


def _order(node: Node) -> Order:
    """Per channel of the result, the channel it was."""
    return np.arange(node.out_channels).reshape(node.groups, -1).T.reshape(-1)


def _reordered(stage: Stage, order: Order) -> Stage:
    if isinstance(stage, Affine):
        return Affine(stage.scale[order], stage.bias[order])
    return PRelu(stage.slope[order]) if isinstance(stage, PRelu) else stage
