"""Neighbouring affines of an epilogue become one.

needs       nothing
guarantees  no two affines stand side by side; values are equal up to float64 rounding
"""

from __future__ import annotations

from binas.compile.graph import Graph, Node, folded, renamed


def fold_affine(graph: Graph) -> None:
    """Fold in place: a batch norm after a convolution's scale and bias, for example."""
    graph.nodes = [_folded(node) for node in graph.nodes]


def _folded(node: Node) -> Node:
    stages = tuple(folded(node.stages))
    return node if len(stages) == len(node.stages) else renamed(node, stages=stages)
