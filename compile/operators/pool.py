"""Pools over rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.importer import Build, static_shape
from binas.compile.nodes import attribute, label, pads
from binas.core.errors import UnsupportedOpError

Array = NDArray[Any]


def max_pool(build: Build, node: onnx.NodeProto) -> None:
    """MaxPool."""
    _pool(build, node, "pool_max")


def average_pool(build: Build, node: onnx.NodeProto) -> None:
    """AveragePool."""
    _pool(build, node, "pool_avg")


def _pool(build: Build, node: onnx.NodeProto, op: Any) -> None:
    name = build.resolve(node.input[0], node)
    packed = op == "pool_max" and build.is_bits(name)
    x = name if packed else build.read_any(name, node)
    if attribute(node, "ceil_mode", 0):
        raise UnsupportedOpError(f"{label(node)}: ceil_mode", hint="pad explicitly")
    kernel = tuple(attribute(node, "kernel_shape", []))
    if len(kernel) != 2:
        raise UnsupportedOpError(f"{label(node)}: {len(kernel)}-dimensional pool")
    dilation = tuple(attribute(node, "dilations", [1, 1]))
    padding = pads(node, kernel, build.shape(x)[1:3])
    stride = tuple(attribute(node, "strides", [1, 1]))
    sizes: dict[str, Any] = {
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    C = build.shape(x)[3]
    if packed:
        made = build.made(node, op, (x,), C, **sizes)
        build.move_bits(made, "pool_bits", weights=np.ones(C, np.float32))
        return
    build.node(node, op, (x,), C, pads_count=bool(attribute(node, "count_include_pad", 0)), **sizes)


def global_average_pool(build: Build, node: onnx.NodeProto) -> None:
    """GlobalAveragePool: an average as large as the image."""
    _average(build, node, build.read(node.input[0], node))


def _average(build: Build, node: onnx.NodeProto, x: str) -> None:
    _, H, W, C = build.shape(x)
    build.node(node, "pool_avg", (x,), C, kernel=(H, W))


def reduce_mean(build: Build, node: onnx.NodeProto) -> None:
    """ReduceMean over rows and columns."""
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1:
        axes = build.constant_of(node.input[1], node).tolist()
    rank = len(static_shape(build.info(node.input[0])))
    last = node.input[0] in build.channels_last
    if rank != 4 or sorted(axis % rank for axis in axes or []) != ([1, 2] if last else [2, 3]):
        raise UnsupportedOpError(f"{label(node)}: mean over axes {axes}, expected rows, columns")
    if attribute(node, "keepdims", 1):
        build.like(node.input[0], node)
    _average(build, node, build.read_any(node.input[0], node))
