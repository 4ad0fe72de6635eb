"""Operators with weights: convolutions, binary or not, and dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.graph import Affine, Stage
from binas.compile.importer import Build, static_shape
from binas.compile.nodes import attribute, binary_channels, label, pads
from binas.compile.recognise.weights import REAL
from binas.core import bits
from binas.core.errors import CompileError, UnsupportedOpError

Array = NDArray[Any]


def conv(build: Build, node: onnx.NodeProto) -> None:
    """Conv with real weights."""
    w = build.constant_of(node.input[1], node)
    if w.ndim != 4:
        raise UnsupportedOpError(f"{label(node)}: {w.ndim - 2}-dimensional convolution")
    name = build.resolve(node.input[0], node)
    image, around, _ = build.padded.get(name, (name, (0, 0, 0, 0), ""))
    x = build.read_any(image, node)
    stages: tuple[Stage, ...] = ()
    if len(node.input) > 2 and node.input[2]:
        bias = build.constant_of(node.input[2], node).astype(np.float64)
        stages = (Affine(np.ones_like(bias), bias),)
    build.graph.kinds[node.name] = ("float", build.reason(node, REAL))
    _convolution(build, node, x, w.transpose(0, 2, 3, 1), 32, stages, around)


def binary_conv2d(build: Build, node: onnx.NodeProto) -> None:
    """BinaryConv2d: binary, or weight-binary where its input is real."""
    channels, _ = binary_channels(node)
    packed, scale, bias = (build.constant_of(name, node) for name in node.input[1:4])
    if packed.dtype != np.uint8 or packed.ndim != 4 or packed.shape[3] != -(-channels // 8):
        raise CompileError(
            f"{label(node)}: w_packed is {packed.dtype} {packed.shape}, expected uint8 "
            f"[K, R, S, {-(-channels // 8)}] for in_channels {channels}"
        )
    w = bits.unpack_bytes(packed, channels)
    stages = (Affine(scale.astype(np.float64), bias.astype(np.float64)),)
    name, w = _operand(build, node, w)
    if not build.is_bits(name):
        reason = build.reason(
            node, "its activations are not quantized; a sign before it makes them bits"
        )
        build.graph.kinds[node.name] = ("weight-binary", reason)
        _convolution(build, node, build.read_any(name, node), w, 1, stages)
    else:
        build.graph.kinds[node.name] = ("binary", "both operands are one bit")
        _convolution(build, node, name, w, 1, stages)


def _operand(build: Build, node: onnx.NodeProto, w: Array) -> tuple[str, Array]:
    """The value that a binary layer reads, and its weights [K, R, S, C] as the value's axes lie.

    A dense layer is a convolution as large as its image, so it can read an image whose channels
    are its last axis, too: what the node takes for C, R, S are H, W, C.
    """
    name = build.alias.get(node.input[0], node.input[0])
    image = static_shape(build.info(node.input[0]))
    if node.input[0] in build.channels_last and len(image) == 4:
        if w.shape[1:] == (*image[2:], image[1]) and not any(attribute(node, "pads", [])):
            return name, w.transpose(0, 3, 1, 2)
    else:
        return name, w
    return build.resolve(node.input[0], node), w


def _convolution(
    build: Build,
    node: onnx.NodeProto,
    x: str,
    w: Array,
    weight_bits: int,
    stages: tuple[Stage, ...],
    around: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> None:
    binary = build.graph.values[x].dtype == "bits"
    pad_value = attribute(node, "pad_value", 0.0)
    if pad_value not in (0, 1, -1):
        raise UnsupportedOpError(f"{label(node)}: pad_value is {pad_value}, expected 0, +1 or -1")
    _, H, W, _ = build.shape(x)
    image = (H + around[0] + around[2], W + around[1] + around[3])
    own = pads(node, w.shape[1:3], image)
    padding = tuple(a + b for a, b in zip(own, around, strict=True))
    if pad_value and not binary and any(padding):
        raise UnsupportedOpError(
            f"{label(node)}: pads a float convolution with {pad_value}",
            hint="pad with 0, or quantize its input",
        )
    build.node(
        node,
        "binary_conv" if binary else "conv",
        (x,),
        w.shape[0],
        kernel=(w.shape[1], w.shape[2]),
        stride=tuple(attribute(node, "strides", [1, 1])),
        padding=padding,
        dilation=tuple(attribute(node, "dilations", [1, 1])),
        groups=attribute(node, "group", 1),
        pad_value=int(pad_value) if binary else 0,
        weights=np.ascontiguousarray(w, dtype=np.float32),
        weight_bits=weight_bits,
        stages=stages,
    )


def gemm(build: Build, node: onnx.NodeProto) -> None:
    """Gemm with constant weights."""
    if attribute(node, "transA", 0):
        raise UnsupportedOpError(f"{label(node)}: Gemm with a transposed input")
    w = build.constant_of(node.input[1], node) * attribute(node, "alpha", 1.0)
    w = w if attribute(node, "transB", 0) else w.T
    stages: tuple[Stage, ...] = ()
    if len(node.input) > 2 and node.input[2]:
        bias = build.constant_of(node.input[2], node).astype(np.float64)
        if bias.size not in (1, bias.shape[-1] if bias.ndim else 1):
            raise UnsupportedOpError(f"{label(node)}: bias of shape {bias.shape}, expected a row")
        bias = bias.reshape(-1) * attribute(node, "beta", 1.0)
        bias = np.broadcast_to(bias, (w.shape[0],))
        stages = (Affine(np.ones(w.shape[0]), bias),)
    _dense(build, node, w, stages)


def matmul(build: Build, node: onnx.NodeProto) -> None:
    """MatMul with constant weights."""
    _dense(build, node, build.constant_of(node.input[1], node).T, ())


def _dense(build: Build, node: onnx.NodeProto, w: Array, stages: tuple[Stage, ...]) -> None:
    name = build.alias.get(node.input[0], node.input[0])
    x = build.flattened.get(name) or build.read(name, node)
    last = node.input[0] in build.channels_last or name in build.channels_last
    _, H, W, C = build.shape(x)
    if w.ndim != 2 or w.shape[1] != C * H * W or (H * W > 1 and name not in build.flattened):
        raise UnsupportedOpError(f"{label(node)}: weights {w.shape} on an image {(C, H, W)}")
    # A dense layer on an image is a convolution as large as the image, flattened as its axes lie.
    K = w.shape[0]
    w = w.reshape(K, H, W, C) if last else w.reshape(K, C, H, W).transpose(0, 2, 3, 1)
    build.graph.kinds[node.name] = ("float", build.reason(node, REAL))
    build.node(
        node,
        "conv",
        (x,),
        w.shape[0],
        kernel=(H, W),
        weights=np.ascontiguousarray(w, dtype=np.float32),
        weight_bits=32,
        stages=stages,
    )
