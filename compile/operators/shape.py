"""Operators that move values or only rename them: channels, shapes, constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from binas.compile.importer import Build, attribute, label, static_shape
from binas.core.errors import UnsupportedOpError

Array = NDArray[Any]


def concat(build: Build, node: onnx.NodeProto) -> None:
    """Concat along the channels."""
    rank = len(static_shape(build.info(node.input[0])))
    if attribute(node, "axis", 0) % rank != 1:
        raise UnsupportedOpError(f"{label(node)}: concat along another axis than channels")
    values = tuple(build.read(name, node) for name in node.input)
    parts = tuple(build.shape(value)[3] for value in values)
    build.node(node, "concat", values, sum(parts), in_channels=sum(parts), parts=parts)


def leading_channels(build: Build, node: onnx.NodeProto) -> None:
    """Slice of leading channels."""
    x = build.read(node.input[0], node)
    given = [build.constant_of(name, node).tolist() for name in node.input[1:] if name]
    starts, ends = given[0], given[1]
    axes = given[2] if len(given) > 2 else list(range(len(starts)))
    steps = given[3] if len(given) > 3 else [1] * len(starts)
    rank = len(static_shape(build.info(node.input[0])))
    if [axis % rank for axis in axes] != [1] or starts != [0] or steps != [1]:
        raise UnsupportedOpError(f"{label(node)}: only leading channels can be sliced")
    C = build.shape(x)[3]
    channels = min(ends[0], C) if ends[0] >= 0 else max(C + ends[0], 0)
    build.node(node, "concat", (x,), channels, parts=(channels,))


def pad(build: Build, node: onnx.NodeProto) -> None:
    """Pad with zero channels behind."""
    x = build.read(node.input[0], node)
    rank = len(static_shape(build.info(node.input[0])))
    optional = [build.constant_of(name, node) if name else None for name in node.input[1:]]
    pads, value, axes = (*optional, None, None)[:3]
    assert pads is not None  # noqa: S101 (ONNX has it)
    places = range(rank) if axes is None else [axis % rank for axis in axes.tolist()]
    before, after = np.split(pads, 2)
    added = {a: (b, e) for a, b, e in zip(places, before, after, strict=True) if b or e}
    zeros = attribute(node, "mode", b"constant") == b"constant" and (value is None or not value)
    if not zeros or any(axis != 1 or b or e < 0 for axis, (b, e) in added.items()):
        raise UnsupportedOpError(
            f"{label(node)}: Pad other than zeros after the channels",
            hint="give the padding to the convolution or pool instead",
        )
    C = build.shape(x)[3]
    build.node(node, "concat", (x,), C + int(added.get(1, (0, 0))[1]), parts=(C,))


def flatten(build: Build, node: onnx.NodeProto) -> None:
    """Flatten to a vector per image."""
    if attribute(node, "axis", 1) != 1:
        raise UnsupportedOpError(f"{label(node)}: Flatten along axis other than 1")
    _to_vector(build, node)


def reshape(build: Build, node: onnx.NodeProto) -> None:
    """Reshape to a vector, or of a vector to one pixel."""
    target = static_shape(build.info(node.output[0]))
    x = build.read(node.input[0], node)
    N, H, W, C = build.shape(x)
    if len(target) == 2 and target == (N, H * W * C):
        _to_vector(build, node)
    elif H * W == 1 and target == (N, C, 1, 1):
        build.alias[node.output[0]] = x
    else:
        raise UnsupportedOpError(f"{label(node)}: Reshape of {(N, C, H, W)} to {target}")


def _to_vector(build: Build, node: onnx.NodeProto) -> None:
    x = build.read(node.input[0], node)
    _, H, W, _ = build.shape(x)
    (build.alias if H * W == 1 else build.flattened)[node.output[0]] = x


def constant(build: Build, node: onnx.NodeProto) -> None:
    """Constant."""
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    dtype = np.float32 if attribute.name.startswith("value_float") else None
    build.constants[node.output[0]] = np.asarray(value, dtype=dtype)
