"""Operators that move values or only rename them: channels, shapes, constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from binas.compile.importer import Build, static_shape
from binas.compile.nodes import attribute, label
from binas.compile.operators import shuffle
from binas.core.errors import UnsupportedOpError

Array = NDArray[Any]


def concat(build: Build, node: onnx.NodeProto) -> None:
    """Concat along the channels."""
    rank = len(static_shape(build.info(node.input[0])))
    last = [name in build.channels_last for name in node.input]
    if attribute(node, "axis", 0) % rank != (rank - 1 if all(last) else 1) or any(last) != all(
        last
    ):
        raise UnsupportedOpError(f"{label(node)}: concat along another axis than channels")
    build.like(node.input[0], node)
    values = tuple(build.alias.get(name, name) for name in node.input)
    packed = all(build.is_bits(name) for name in values) and len(values) > 1
    if not packed:
        values = tuple(build.read_any(name, node) for name in node.input)
    parts = tuple(build.shape(value)[3] for value in values)
    C = sum(parts)
    if packed:
        build.move_bits(
            build.made(node, "concat", values, C, in_channels=C, parts=parts), "concat_bits"
        )
        return
    build.node(node, "concat", values, C, in_channels=C, parts=parts)


def slice_channels(build: Build, node: onnx.NodeProto) -> None:
    """Slice of neighbouring channels."""
    x = build.read(node.input[0], node)
    given = [build.constant_of(name, node).tolist() for name in node.input[1:] if name]
    starts, ends = given[0], given[1]
    axes = given[2] if len(given) > 2 else list(range(len(starts)))
    steps = given[3] if len(given) > 3 else [1] * len(starts)
    rank = len(static_shape(build.info(node.input[0])))
    if [axis % rank for axis in axes] != [1] or steps != [1]:
        raise UnsupportedOpError(f"{label(node)}: only neighbouring channels can be sliced")
    C = build.shape(x)[3]
    first, end = (min(at, C) if at >= 0 else max(C + at, 0) for at in (starts[0], ends[0]))
    _take(build, node, x, first, end)


def split(build: Build, node: onnx.NodeProto) -> None:
    """Split of the channels: every output is what a Slice of its channels would be."""
    x = build.read(node.input[0], node)
    axis, rank = attribute(node, "axis", 0), len(static_shape(build.info(node.input[0])))
    if axis % rank != 1:
        raise UnsupportedOpError(
            f"{label(node)}: Split along axis {axis}, expected 1, the channels"
        )
    # Shape inference has read `split` or `num_outputs`, whichever the opset has.
    widths = [build.image(output)[3] for output in node.output]
    C = build.shape(x)[3]
    if sum(widths) != C:
        raise UnsupportedOpError(
            f"{label(node)}: Split of {C} channels into {widths}, expected {C} in all"
        )
    for i, output in enumerate(node.output):
        _take(build, node, x, sum(widths[:i]), sum(widths[: i + 1]), output)


def _take(
    build: Build, node: onnx.NodeProto, x: str, first: int, end: int, output: str = ""
) -> None:
    """Channels `first` to `end` of a value; of a concat, its parts are there already."""
    parts = _parts(build, x, first, end)
    if len(parts) == 1:
        build.alias[output or node.output[0]] = parts[0]
    elif first == 0:
        build.node(node, "concat", (x,), end, parts=(end,), output=output)
    elif parts:
        widths = tuple(build.shape(part)[3] for part in parts)
        C = sum(widths)
        build.node(node, "concat", parts, C, in_channels=C, parts=widths, output=output)
    else:
        build.node(node, "slice", (x,), end - first, parts=(first,), output=output)


def _parts(build: Build, x: str, first: int, end: int) -> tuple[str, ...]:
    """The operands of the concat that makes `x`, from channel `first` to `end`; else none."""
    maker = next((n for n in build.graph.nodes if n.float_out == x and n.op == "concat"), None)
    if maker is None or len(maker.parts) < 2:
        return ()
    edges = [0, *np.cumsum(maker.parts).tolist()]
    if first not in edges or end not in edges:
        return ()
    return maker.inputs[edges.index(first) : edges.index(end)]


def pad(build: Build, node: onnx.NodeProto) -> None:
    """Pad with zeros: channels behind, or the image around, for a convolution that reads it."""
    rank = len(static_shape(build.info(node.input[0])))
    optional = [build.constant_of(name, node) if name else None for name in node.input[1:]]
    pads, value, axes = (*optional, None, None)[:3]
    assert pads is not None  # noqa: S101 (ONNX has it)
    places = range(rank) if axes is None else [axis % rank for axis in axes.tolist()]
    before, after = np.split(pads, 2)
    added = {a: (int(b), int(e)) for a, b, e in zip(places, before, after, strict=True) if b or e}
    zeros = attribute(node, "mode", b"constant") == b"constant" and (value is None or not value)
    last = node.input[0] in build.channels_last
    channels, rows, columns = (3, 1, 2) if last else (1, 2, 3)
    if zeros and set(added) <= {rows, columns} and all(min(p) >= 0 for p in added.values()):
        top, bottom = added.get(rows, (0, 0))
        left, right = added.get(columns, (0, 0))
        build.like(node.input[0], node)
        name = build.alias.get(node.input[0], node.input[0])
        build.padded[node.output[0]] = (name, (top, left, bottom, right), node.name)
        return
    if not zeros or any(axis != channels or b or e < 0 for axis, (b, e) in added.items()):
        raise UnsupportedOpError(
            f"{label(node)}: Pad other than zeros around the image or after the channels",
            hint="give the padding to the convolution or pool instead",
        )
    x = build.read_any(node.input[0], node)
    build.like(node.input[0], node)
    C = build.shape(x)[3]
    build.node(node, "concat", (x,), C + added.get(channels, (0, 0))[1], parts=(C,))


def transpose(build: Build, node: onnx.NodeProto) -> None:
    """Transpose between N, C, H, W and N, H, W, C: another name for the same image."""
    order = list(attribute(node, "perm", []))
    if node.input[0] in build.grouped and order == shuffle.SWAP:
        shuffle.swap(build, node)
        return
    name = build.alias.get(node.input[0], node.input[0])
    last = node.input[0] in build.channels_last
    if order == [0, 2, 3, 1] and not last:
        build.channels_last.add(node.output[0])
    elif order != sorted(order) and (order != [0, 3, 1, 2] or not last):
        raise UnsupportedOpError(f"{label(node)}: Transpose to {order}")
    elif order == sorted(order):
        build.like(node.input[0], node)
    if not build.is_bits(name) and name not in build.padded:
        name = build.read_any(name, node)
    build.alias[node.output[0]] = name


def flatten(build: Build, node: onnx.NodeProto) -> None:
    """Flatten to a vector per image."""
    if attribute(node, "axis", 1) != 1:
        raise UnsupportedOpError(f"{label(node)}: Flatten along axis other than 1")
    _to_vector(build, node)


def reshape(build: Build, node: onnx.NodeProto) -> None:
    """Reshape, Squeeze, Unsqueeze: an image to a vector, or a vector to one pixel."""
    if node.input[0] in build.grouped:
        shuffle.join(build, node)
        return
    if shuffle.split(build, node):
        return
    target = static_shape(build.info(node.output[0]))
    x = build.read_any(node.input[0], node)
    N, H, W, C = build.shape(x)
    if len(target) == 2 and target == (N, H * W * C):
        _to_vector(build, node)
    elif H * W == 1 and target == (N, C, 1, 1):
        build.alias[node.output[0]] = x
    elif H * W == 1 and target == (N, 1, 1, C):
        build.alias[node.output[0]] = x
        build.channels_last.add(node.output[0])
    else:
        raise UnsupportedOpError(f"{label(node)}: {node.op_type} of {(N, C, H, W)} to {target}")


def _to_vector(build: Build, node: onnx.NodeProto) -> None:
    x = build.read_any(node.input[0], node)
    _, H, W, _ = build.shape(x)
    if H * W == 1:
        build.alias[node.output[0]] = x
    else:
        build.like(node.input[0], node)
        build.flattened[node.output[0]] = x


def constant(build: Build, node: onnx.NodeProto) -> None:
    """Constant."""
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    dtype = np.float32 if attribute.name.startswith("value_float") else None
    build.constants[node.output[0]] = np.asarray(value, dtype=dtype)
