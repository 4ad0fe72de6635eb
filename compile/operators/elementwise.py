"""Elementwise operators: sums, per-channel scales and shifts, activations, the sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.graph import Add, Affine, Node, PRelu, Relu
from binas.compile.importer import Build, attribute, label
from binas.core.errors import UnsupportedOpError

Array = NDArray[Any]


def add(build: Build, node: onnx.NodeProto) -> None:
    """Add of two values, or of a value and a constant."""
    if any(name in build.constants for name in node.input):
        scale_or_shift(build, node)
        return
    x, y = (build.read(name, node) for name in node.input)
    if build.shape(x) != build.shape(y):
        raise UnsupportedOpError(f"{label(node)}: adds {build.shape(x)} and {build.shape(y)}")
    build.elementwise(node, x, (Add(y),))


def scale_or_shift(build: Build, node: onnx.NodeProto) -> None:
    """Add, Sub, Mul, Div with a constant per channel or a scalar."""
    constants = [name in build.constants for name in node.input]
    if constants.count(True) != 1 or (node.op_type == "Div" and constants[0]):
        raise UnsupportedOpError(f"{label(node)}: {node.op_type} of two computed values")
    x = build.read(node.input[constants.index(False)], node)
    constant = build.constants[node.input[constants.index(True)]]
    if node.op_type in ("Add", "Sub") and not build.is_per_channel(constant, x, node):
        if node.op_type == "Sub" and constants[0]:  # c - x = -(x - c)
            minus = -np.ones(build.shape(x)[3])
            build.shift(node, x, -constant, (Affine(minus, np.zeros_like(minus)),))
        else:
            build.shift(node, x, constant if node.op_type == "Add" else -constant, ())
        return
    c = build.per_channel(constant, x, node)
    one, zero = np.ones_like(c), np.zeros_like(c)
    stage = {
        "Add": Affine(one, c),
        "Mul": Affine(c, zero),
        "Div": Affine(1 / np.where(c == 0, np.nan, c), zero),
        "Sub": Affine(-one, c) if constants[0] else Affine(one, -c),
    }[node.op_type]
    build.elementwise(node, x, (stage,))


def batch_normalization(build: Build, node: onnx.NodeProto) -> None:
    """BatchNormalization, folded to an affine in float64."""
    if attribute(node, "training_mode", 0):
        raise UnsupportedOpError(f"{label(node)}: training_mode", hint="export in eval mode")
    x = build.read(node.input[0], node)
    names = node.input[1:5]
    gamma, beta, mean, variance = (build.constant_of(n, node).astype(np.float64) for n in names)
    with np.errstate(divide="ignore", invalid="ignore"):  # the plan refuses what is not finite
        scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        bias = beta - mean * scale
    build.elementwise(node, x, (Affine(scale, bias),))


def relu(build: Build, node: onnx.NodeProto) -> None:
    """Relu."""
    build.elementwise(node, build.read(node.input[0], node), (Relu(),))


def prelu(build: Build, node: onnx.NodeProto) -> None:
    """PRelu with a slope per channel."""
    x = build.read(node.input[0], node)
    slope = build.per_channel(build.constant_of(node.input[1], node), x, node)
    build.elementwise(node, x, (PRelu(slope),))


def leaky_relu(build: Build, node: onnx.NodeProto) -> None:
    """LeakyRelu."""
    x = build.read(node.input[0], node)
    slope = np.full(build.shape(x)[3], attribute(node, "alpha", 0.01))
    build.elementwise(node, x, (PRelu(slope),))


def binary_quantize(build: Build, node: onnx.NodeProto) -> None:
    """BinaryQuantize: the packed sign."""
    x = build.read(node.input[0], node)
    build.quantized[node.output[0]] = x
    shape = build.shape(x)
    build.value(node.output[0], shape, "bits")
    build.graph.nodes.append(
        Node(
            name=node.name,
            sources=(node.name,),
            op="elementwise",
            inputs=(x,),
            in_shape=shape,
            out_channels=shape[3],
            bits_out=node.output[0],
        )
    )


def identity(build: Build, node: onnx.NodeProto) -> None:
    """Identity: another name for bits, floats, a flattened image or a constant."""
    name = build.alias.get(node.input[0], node.input[0])
    if name in build.constants:
        build.constants[node.output[0]] = build.constants[name]
    elif name in build.quantized or name in build.flattened:
        build.alias[node.output[0]] = name
    else:
        build.alias[node.output[0]] = build.read(name, node)


def dropout(build: Build, node: onnx.NodeProto) -> None:
    """Dropout of a trained model: nothing."""
    if len(node.input) > 2 and node.input[2] and build.constant_of(node.input[2], node).any():
        raise UnsupportedOpError(f"{label(node)}: training_mode", hint="export in eval mode")
    identity(build, node)
