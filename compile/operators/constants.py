"""Constant operands: a number per channel, or one for every element."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.graph import Add, Node, Stage
from binas.compile.importer import Build, static_shape
from binas.compile.nodes import label
from binas.core.errors import UnsupportedOpError

Array = NDArray[Any]


def is_per_channel(build: Build, c: Array, x: str, node: onnx.NodeProto) -> bool:
    """Whether a constant has one number for each channel of `x`, or one for all."""
    rank = len(static_shape(build.info(node.output[0])))
    shape = (1,) * (rank - c.ndim) + c.shape
    channels = rank - 1 if node.output[0] in build.channels_last else 1
    return c.size == 1 or (c.size == build.shape(x)[3] == shape[channels])


def per_channel(build: Build, c: Array, x: str, node: onnx.NodeProto) -> Array:
    """A constant as one float64 per channel of `x`."""
    C = build.shape(x)[3]
    values = c.astype(np.float64)
    if values.size == 1:
        return np.full(C, values.item())
    rank = len(static_shape(build.info(node.output[0])))
    shape = (1,) * (rank - values.ndim) + values.shape
    channels = rank - 1 if node.output[0] in build.channels_last else 1
    if values.size != C or len(shape) <= channels or shape[channels] != C:
        raise UnsupportedOpError(
            f"{label(node)}: constant of shape {c.shape}, expected one number per {C} channels"
        )
    return values.reshape(C)


def shift(build: Build, node: onnx.NodeProto, x: str, c: Array, stages: tuple[Stage, ...]) -> None:
    """Add a step that is x + c, a number for every element, such as the grid of a detector."""
    N, H, W, C = build.shape(x)
    rank = len(static_shape(build.info(node.output[0])))
    last = node.output[0] in build.channels_last
    try:
        if last:
            whole = np.broadcast_to(c, (N, H, W, C))
        else:
            whole = np.broadcast_to(c, (N, C, H, W) if rank == 4 else (N, C))
            whole = whole.reshape(N, C, H, W).transpose(0, 2, 3, 1)
    except ValueError:
        raise UnsupportedOpError(
            f"{label(node)}: constant of shape {c.shape}, expected one that fits "
            f"{C} channels of {H}x{W}"
        ) from None
    build.value(node.output[0], (N, H, W, C))
    build.graph.nodes.append(
        Node(
            name=node.name,
            sources=(node.name,),
            op="constant",
            inputs=(),
            in_shape=(N, H, W, C),
            out_channels=C,
            weights=whole.astype(np.float32),
            stages=(Add(x), *stages),
            float_out=node.output[0],
        )
    )
