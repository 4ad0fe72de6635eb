"""Windows must fit: the kernel of a convolution or pool into its padded image, and its channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import onnx

from binas.compile import functions
from binas.compile.nodes import attribute, binary_channels, label, pads
from binas.core.errors import CompileError

Shapes = Mapping[str, tuple[int, ...]]


class Window(NamedTuple):
    """What slides over an image.

    Attributes:
        kernel: R, S.
        channels: That it reads, those of all groups together; None where it reads what there is.
    """

    kernel: tuple[int, ...]
    channels: int | None


def check_windows(proto: onnx.ModelProto, where: str) -> None:
    """Refuse layers that no image of theirs feeds: shape inference lets many of them pass.

    Images whose size is not known are left to the import, which wants static shapes.

    Raises:
        CompileError: A kernel is larger than its padded image, or reads other channels.
    """
    shapes = _shapes(proto.graph)
    for node in proto.graph.node:
        window = _window(node, shapes)
        image = shapes.get(node.input[0], ()) if node.input else ()
        if window is None or len(window.kernel) != 2 or len(image) != 4 or min(image) < 1:
            continue
        _check_channels(node, window, image, where)
        _check_size(node, window, image, where)


def _shapes(graph: onnx.GraphProto) -> Shapes:
    """The shape of every value; 0 or less where a size is not known."""
    infos = (*graph.input, *graph.output, *graph.value_info)
    found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in infos}
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _window(node: onnx.NodeProto, shapes: Shapes) -> Window | None:
    """Of a convolution or pool; None of others, and where weights are not known."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if domain == "" and node.op_type in ("MaxPool", "AveragePool"):
        if attribute(node, "ceil_mode", 0):
            return None  # the import has no kernel for these at all
        return Window(tuple(attribute(node, "kernel_shape", [])), None)
    weights = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if len(weights) != 4 or min(weights) < 1:
        return None
    if (domain, node.op_type) == ("", "Conv"):
        return Window(weights[2:], weights[1] * attribute(node, "group", 1))
    if (domain, node.op_type) == (functions.DOMAIN, "BinaryConv2d"):
        return Window(weights[1:3], math.prod(binary_channels(node)))
    return None


def _check_channels(
    node: onnx.NodeProto, window: Window, image: tuple[int, ...], where: str
) -> None:
    if window.channels in (None, image[1]):
        return
    raise CompileError(
        f"{where}: {label(node)}: its weights are for {window.channels} input channels "
        f"(group {attribute(node, 'group', 1)}), {node.input[0]!r} has {image[1]}: "
        f"{list(image)} (N, C, H, W)",
        hint="export the model again, from a network that runs",
    )


def _check_size(node: onnx.NodeProto, window: Window, image: tuple[int, ...], where: str) -> None:
    top, left, bottom, right = pads(node, window.kernel, image[2:])
    padded = image[2] + top + bottom, image[3] + left + right
    dilations = attribute(node, "dilations", [1, 1])
    reach = [d * (k - 1) + 1 for k, d in zip(window.kernel, dilations, strict=True)]
    if all(size >= r for size, r in zip(padded, reach, strict=True)):
        return
    spread = "" if reach == list(window.kernel) else f" that dilation spreads to {_by(reach)}"
    around = "" if padded == image[2:] else f", {_by(padded)} with padding"
    raise CompileError(
        f"{where}: {label(node)}: a kernel of {_by(window.kernel)}{spread} on {node.input[0]!r}, "
        f"an image of {_by(image[2:])}{around}; expected an image at least as large as the kernel",
        hint="export the model for a larger image (torch.onnx.export takes an example of it), or "
        "with more padding in this layer",
    )


def _by(sizes: tuple[int, ...] | list[int]) -> str:
    return "x".join(map(str, sizes))
