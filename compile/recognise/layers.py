"""Layers with weights, judged one by one: what becomes binary, and why the others stay float."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.nodes import attribute
from binas.compile.recognise.meaning import NoStep, Step, meaning
from binas.compile.recognise.moves import Walk
from binas.compile.recognise.network import Network
from binas.compile.recognise.weights import Bits, as_bits

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Weighted:
    """A Conv, Gemm or MatMul with constant weights, as a convolution.

    Attributes:
        node: The operator.
        w: Weights [K, ...]: [K, C/group, R, S], or [K, F] of a dense layer.
        bias: [K].
        walk: At its data operand.
    """

    node: onnx.NodeProto
    w: Array
    bias: NDArray[np.float64]
    walk: Walk

    @property
    def dense(self) -> bool:
        """Whether it is a Gemm or MatMul."""
        return self.node.op_type != "Conv"


@dataclass(slots=True)
class Judged:
    """A layer and what was found out about it.

    Attributes:
        layer: The layer.
        bits: Of its weights.
        sign: Of its activations; None where they are real.
        reason: Why it, or its activations, stay float.
    """

    layer: Weighted
    bits: Bits | None = None
    sign: Step | None = None
    walk: Walk = field(default_factory=lambda: Walk(""))
    reason: str = ""


def weighted(network: Network) -> list[Weighted]:
    """Every layer with constant weights, in file order."""
    found = []
    for node in network.proto.graph.node:
        if node.domain not in ("", "ai.onnx") or len(node.input) < 2:
            continue
        w = network.constant(node.input[1])
        if w is None or w.dtype != np.float32 or not network.is_float(node.output[0]):
            continue
        if node.op_type == "Conv" and w.ndim == 4 and len(network.shape(node.input[0]) or ()) == 4:
            bias = _bias(network, node, w.shape[0], 1.0)
            walk = Walk(node.input[0])
        elif node.op_type in ("Gemm", "MatMul") and w.ndim == 2 and _is_matrix(network, node):
            alpha = np.float32(attribute(node, "alpha", 1.0))
            if alpha != 1:  # a copy of large weights takes longer than all else that is asked here
                with np.errstate(invalid="ignore", over="ignore"):
                    w = w * alpha
            w = w if attribute(node, "transB", 0) else w.T
            bias = _bias(network, node, w.shape[0], attribute(node, "beta", 1.0))
            walk = Walk(node.input[0], vector=True)
        else:
            continue
        if bias is not None:
            found.append(Weighted(node, w, bias, walk))
    return found


def judge(network: Network, layer: Weighted) -> Judged:
    """What a layer's weights and activations are."""
    found = as_bits(layer.w)
    if isinstance(found, str):
        return Judged(layer, reason=found)
    judged = Judged(layer, bits=found, walk=layer.walk)
    walk: Walk | None = layer.walk
    last = layer.walk.value
    while walk is not None:
        read = meaning(network, walk.value)
        if isinstance(read, Step) and read.is_sign:
            return _walk_on(network, _signed(judged, walk, read))
        judged.reason = judged.reason or _why_not(read)
        last, walk = walk.value, walk.back(network)
    judged.reason = judged.reason or _no_sign(network, last)
    return judged


def _signed(judged: Judged, walk: Walk, sign: Step) -> Judged:
    """The layer with the sign that was found, its walk at the sign's operand."""
    at = Walk(sign.root, walk.axes, dict(walk.pads), walk.pad, walk.vector)
    return Judged(judged.layer, judged.bits, sign, at)


def _why_not(read: Step | NoStep) -> str:
    if isinstance(read, NoStep):
        return read.reason
    values = f"{read.below:.4g} and {read.above:.4g}"
    return f"its activations take the values {values}; only -s and +s make a bit"


def _no_sign(network: Network, value: str) -> str:
    """What a layer reads instead of bits."""
    node = network.producers.get(value)
    source = "the network's input" if node is None else f"of {node.op_type} {node.name!r}"
    return f"its activations are {source}, not quantized; a sign before it makes them bits"


def _walk_on(network: Network, judged: Judged) -> Judged:
    """Past the sign over further moves, as far as the sign of what they pad is known."""
    sign = judged.sign
    assert sign is not None  # noqa: S101 (the caller found it)
    alike = sign.border is None or sign.border.size == 1
    while True:
        further = judged.walk.back(network)
        if further is None or not (alike or _is_in_place(further, judged.walk)):
            return judged
        padded = further.pads != judged.walk.pads
        if padded and judged.layer.dense:
            return judged
        if padded:
            node = network.producers[judged.walk.value]
            value = network.constant(node.input[2]) if len(node.input) > 2 else None
            own = sign.of(0.0 if value is None else float(value.item()))
            if own is None or (judged.walk.pad is not None and judged.walk.pad != own):
                return judged
            further.pad = own
        judged.walk = further


def _is_in_place(further: Walk, walk: Walk) -> bool:
    """Whether a border per channel broadcasts to a value as it did."""
    return further.axes == walk.axes and further.vector == walk.vector


def _is_matrix(network: Network, node: onnx.NodeProto) -> bool:
    shape = network.shape(node.input[0])
    return shape is not None and len(shape) == 2 and not attribute(node, "transA", 0)


def _bias(
    network: Network, node: onnx.NodeProto, K: int, beta: float
) -> NDArray[np.float64] | None:
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(K)
    bias = network.constant(node.input[2])
    if bias is None or bias.size not in (1, K) or (bias.ndim == 2 and bias.shape[0] != 1):
        return None
    return np.broadcast_to(bias.astype(np.float64).reshape(-1) * beta, (K,))
