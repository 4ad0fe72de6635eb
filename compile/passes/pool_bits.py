"""A max pool that only its sign is read of pools bits: the sign is taken before it.

needs       fuse_epilogue, fold_affine, fuse_pack
guarantees  a max pool that writes bits alone after stages that never turn back reads floats only
            where these have another reader, are a model's input, or where their producer has
            already packed another sign of them, or cannot

The sign of a rising function of a maximum is the maximum of its signs, that of a falling one the
minimum: the OR of bits, and the AND. Rounding keeps the order of numbers, so not a bit changes.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Affine, Graph, Node, PRelu, Relu, Sign, Staged, renamed


def pool_bits(graph: Graph) -> None:
    """Rewrite in place, last pool first: what a pool is given may be made by a pool."""
    readers = Counter(name for node in graph.nodes for name in node.reads)
    readers.update(graph.outputs)
    made = graph.producers()
    for position in reversed(range(len(graph.nodes))):
        pool = graph.nodes[position]
        rising = _rising(pool)
        if rising is None or readers[pool.inputs[0]] != 1 or made[pool.inputs[0]] < 0:
            continue
        producer = graph.nodes[made[pool.inputs[0]]]
        if not producer.can_pack(pool.inputs[0]):
            continue
        packed = graph.packed(pool.inputs[0], Staged(pool.inputs[0], pool.stages))
        graph.nodes[made[pool.inputs[0]]] = renamed(
            producer, stages=producer.stages + pool.stages, float_out=None, bits_out=packed
        )
        graph.nodes[position] = renamed(
            pool, op="pool_bits", inputs=(packed,), weights=rising, stages=()
        )
        del graph.values[pool.inputs[0]]


def _rising(node: Node) -> NDArray[np.float32] | None:
    """Per channel, 1 where the packed sign rises with what is pooled, -1 where it falls.

    None where it does neither, or where more is read of the pool than its sign.
    """
    if node.op != "pool_max" or node.float_out is not None or node.bits_affine is not None:
        return None
    found = np.ones(node.out_channels, np.float32)
    for stage in node.stages:
        if isinstance(stage, Affine):
            found *= np.where(stage.scale.astype(np.float32) < 0, np.float32(-1), np.float32(1))
        elif isinstance(stage, PRelu):
            if (stage.slope < 0).any():
                return None
        elif not isinstance(stage, Relu | Sign):
            return None
    return found
