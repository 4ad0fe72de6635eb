"""Elementwise operators: sums, per-channel scales and shifts, activations, the sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.graph import Add, Affine, Node, PRelu, Relu, Stage, folded
from binas.compile.importer import Build, static_shape
from binas.compile.nodes import attribute, label
from binas.compile.operators import constants
from binas.core.errors import UnsupportedOpError

Array = NDArray[Any]


def add(build: Build, node: onnx.NodeProto) -> None:
    """Add of two values, or of a value and a constant."""
    if any(name in build.constants for name in node.input):
        scale_or_shift(build, node)
        return
    x, y = (build.read_any(name, node) for name in node.input)
    if build.shape(x) != build.shape(y):
        raise UnsupportedOpError(f"{label(node)}: adds {build.shape(x)} and {build.shape(y)}")
    if len(build.channels_last.intersection(node.input)) == 1 and node.input[0] != node.input[1]:
        raise UnsupportedOpError(f"{label(node)}: adds images whose axes lie differently")
    build.elementwise(node, x, (Add(y),))


def scale_or_shift(build: Build, node: onnx.NodeProto) -> None:
    """Add, Sub, Mul, Div with a constant per channel or a scalar."""
    known = [name in build.constants for name in node.input]
    if known.count(True) != 1 or (node.op_type == "Div" and known[0]):
        raise UnsupportedOpError(f"{label(node)}: {node.op_type} of two computed values")
    like = node.input[known.index(False)]
    x = build.read_any(like, node)
    build.like(like, node)
    constant = build.constants[node.input[known.index(True)]]
    if node.op_type in ("Add", "Sub") and not constants.is_per_channel(build, constant, x, node):
        if node.op_type == "Sub" and known[0]:  # c - x = -(x - c)
            minus = -np.ones(build.shape(x)[3])
            constants.shift(build, node, x, -constant, (Affine(minus, np.zeros_like(minus)),))
        else:
            constants.shift(build, node, x, constant if node.op_type == "Add" else -constant, ())
        return
    c = constants.per_channel(build, constant, x, node)
    one, zero = np.ones_like(c), np.zeros_like(c)
    stage = {
        "Add": Affine(one, c),
        "Mul": Affine(c, zero),
        "Div": Affine(1 / np.where(c == 0, np.nan, c), zero),
        "Sub": Affine(-one, c) if known[0] else Affine(one, -c),
    }[node.op_type]
    build.elementwise(node, x, (stage,))


def batch_normalization(build: Build, node: onnx.NodeProto) -> None:
    """BatchNormalization, folded to an affine in float64."""
    if attribute(node, "training_mode", 0):
        raise UnsupportedOpError(f"{label(node)}: training_mode", hint="export in eval mode")
    x = build.read(node.input[0], node)
    names = node.input[1:5]
    with np.errstate(divide="ignore", invalid="ignore"):  # the plan refuses what is not finite
        arrays = [build.constant_of(name, node).astype(np.float64) for name in names]
        gamma, beta, mean, variance = arrays
        scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        bias = beta - mean * scale
    build.elementwise(node, x, (Affine(scale, bias),))


def relu(build: Build, node: onnx.NodeProto) -> None:
    """Relu."""
    build.elementwise(node, build.read_any(node.input[0], node), (Relu(),))


def negative(build: Build, node: onnx.NodeProto) -> None:
    """Neg."""
    x = build.read_any(node.input[0], node)
    one = np.ones(build.shape(x)[3])
    build.elementwise(node, x, (Affine(-one, np.zeros_like(one)),))


def clip(build: Build, node: onnx.NodeProto) -> None:
    """Clip to constants, such as ReLU6: max(x, low) = relu(x - low) + low, and min likewise."""
    x = build.read_any(node.input[0], node)
    bounds = [build.constant_of(name, node) if name else None for name in node.input[1:3]]
    low, high = (*bounds, None, None)[:2]
    one = np.ones(build.shape(x)[3])
    stages: list[Stage] = []
    if low is not None and np.isfinite(low):
        shift = one * float(low.item())
        stages += [Affine(one, -shift), Relu(), Affine(one, shift)]
    if high is not None and np.isfinite(high):
        shift = one * float(high.item())
        stages += [Affine(-one, shift), Relu(), Affine(-one, shift)]
    if low is not None and high is not None and low > high:
        raise UnsupportedOpError(f"{label(node)}: clips to at least {low} and at most {high}")
    build.elementwise(node, x, tuple(folded(tuple(stages))))


def prelu(build: Build, node: onnx.NodeProto) -> None:
    """PRelu with a slope per channel."""
    x = build.read_any(node.input[0], node)
    build.like(node.input[0], node)
    slope = constants.per_channel(build, build.constant_of(node.input[1], node), x, node)
    build.elementwise(node, x, (PRelu(slope),))


def leaky_relu(build: Build, node: onnx.NodeProto) -> None:
    """LeakyRelu."""
    x = build.read_any(node.input[0], node)
    slope = np.full(build.shape(x)[3], attribute(node, "alpha", 0.01))
    build.elementwise(node, x, (PRelu(slope),))


def softmax(build: Build, node: onnx.NodeProto) -> None:
    """Softmax over the channels."""
    rank = len(static_shape(build.info(node.input[0])))
    channels = rank - 1 if node.input[0] in build.channels_last else 1
    if attribute(node, "axis", -1) % rank != channels:
        raise UnsupportedOpError(f"{label(node)}: Softmax over another axis than channels")
    x = build.read_any(node.input[0], node)
    build.like(node.input[0], node)
    build.node(node, "softmax", (x,), build.shape(x)[3])


def binary_quantize(build: Build, node: onnx.NodeProto) -> None:
    """BinaryQuantize: the packed sign; of what is ±1 another name."""
    if build.is_bits(build.alias.get(node.input[0], node.input[0])):
        identity(build, node)
        return
    x = build.read_any(node.input[0], node)
    build.like(node.input[0], node)
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
    build.like(node.input[0], node)
    if name in build.constants:
        build.constants[node.output[0]] = build.constants[name]
    elif build.is_bits(name) or name in build.flattened or name in build.padded:
        build.alias[node.output[0]] = name
    else:
        build.alias[node.output[0]] = build.read_any(name, node)


def dropout(build: Build, node: onnx.NodeProto) -> None:
    """Dropout of a trained model: nothing."""
    if len(node.input) > 2 and node.input[2] and build.constant_of(node.input[2], node).any():
        raise UnsupportedOpError(f"{label(node)}: training_mode", hint="export in eval mode")
    identity(build, node)
