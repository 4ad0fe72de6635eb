"""Nodes made from bare layers: random weights, so that a layer can be measured without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from binas.compile.graph import Add, Affine, Graph, Node, PRelu, Relu, Shape, Sign, Stage, Value
from binas.core.errors import UsageError
from binas.core.layer import READS_BITS, Layer


def sample_graph(layers: Sequence[Layer]) -> Graph:
    """One independent node per layer, with its own operands; there are no inputs or outputs.

    Operands are written by nobody: the harness fills the arena with sane numbers beforehand.
    """
    if not layers:
        raise UsageError("no layers to compile", hint="give at least one")
    graph = Graph([], [])
    generator = np.random.default_rng(0)
    for index, layer in enumerate(layers):
        graph.nodes.append(sample_node(layer, f"layer{index}", generator))
        _declare(graph, graph.nodes[-1])
    return graph


def sample_node(layer: Layer, name: str, generator: np.random.Generator) -> Node:
    """A node of this layer whose parameters are random and harmless (no overflow, no denormals)."""
    K = layer.out_channels
    N, H, W, C = layer.in_shape
    parts = max(1, len(layer.parts))

    def affine(channels: int = K) -> Affine:
        scale, bias = generator.uniform(0.5, 1.5, channels), generator.uniform(-0.5, 0.5, channels)
        return Affine(scale * 0.01, bias)

    stages: list[Stage] = []
    for i, stage in enumerate(layer.stages):
        made: dict[str, Stage] = {
            "affine": affine(),
            "relu": Relu(),
            "prelu": PRelu(generator.uniform(0.1, 0.3, K)),
            "add": Add(f"{name}.r{i}"),
            "sign": Sign(),
        }
        stages.append(made[stage])
    weights = None
    if layer.op in ("binary_conv", "conv"):
        shape = (K, *layer.kernel, C // layer.groups)
        weights = generator.uniform(-1, 1, shape).astype(np.float32)
        if layer.weight_bits == 1:
            weights = np.where(weights >= 0, np.float32(1), np.float32(-1))
    if layer.op == "pool_bits":
        weights = np.where(generator.uniform(-1, 1, K) >= 0, np.float32(1), np.float32(-1))
    if layer.op == "constant":
        parts, weights = 0, generator.uniform(-1, 1, layer.in_shape).astype(np.float32)
    return Node(
        name=name,
        sources=(),
        op=layer.op,
        inputs=tuple(f"{name}.x{i}" for i in range(parts)),
        in_shape=(N, H, W, C),
        out_channels=K,
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        pad_value=layer.pad_value,
        pads_count=layer.pads_count,
        parts=layer.parts,
        weights=weights,
        weight_bits=layer.weight_bits,
        stages=tuple(stages),
        float_out=f"{name}.y" if layer.float_out else None,
        bits_out=f"{name}.b" if layer.bits_out else None,
        bits_affine=affine() if layer.bits_affine else None,
        in_affine=affine(C) if layer.in_affine else None,
    )


def _declare(graph: Graph, node: Node) -> None:
    """Values of a node, all alive during it and during no other."""
    N, H, W, C = node.in_shape
    for i, name in enumerate(node.inputs):
        channels = node.parts[i] if len(node.parts) > 1 else C
        _value(graph, name, (N, H, W, channels), "bits" if node.op in READS_BITS else "float32")
    for name in node.added:
        _value(graph, name, node.layer.out_shape, "float32")
    if node.float_out:
        _value(graph, node.float_out, node.layer.out_shape, "float32")
    if node.bits_out:
        _value(graph, node.bits_out, node.layer.out_shape, "bits")


def _value(graph: Graph, name: str, shape: Shape, dtype: str) -> None:
    graph.values[name] = Value(name, shape, "bits" if dtype == "bits" else "float32")
