"""Neighbouring affines of an epilogue become one.

needs       nothing
guarantees  no two affines stand side by side; values are equal up to float64 rounding
"""

from __future__ import annotations

from binas.compile.graph import Graph, folded, renamed


def fold_affine(graph: Graph) -> None:
    """Fold in place: a batch norm after a convolution's scale and bias, for example."""
    graph.nodes = [renamed(node, stages=tuple(folded(node.stages))) for node in graph.nodes]
