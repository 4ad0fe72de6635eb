"""How ONNX nodes are read: attributes, names for messages, paddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

from binas.core.errors import CompileError


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def label(node: onnx.NodeProto) -> str:
    """How messages name a node."""
    return f"node {node.name or node.output[0]!r}"


def binary_channels(node: onnx.NodeProto) -> tuple[int, int]:
    """Input channels per group of a BinaryConv2d, and its groups; nobody else checks their types.

    Raises:
        CompileError: They are no whole numbers.
    """
    found, groups = attribute(node, "in_channels", None), attribute(node, "group", 1)
    whole = isinstance(groups, int) and isinstance(found, list) and len(found) == 1
    if whole and isinstance(found[0], int):
        return found[0], groups
    raise CompileError(
        f"{label(node)}: in_channels is {found!r:.60} and group {groups!r:.60}, expected a list of "
        "one whole number, and a whole number",
        hint="export the model again with binas-search export",
    )


def pads(
    node: onnx.NodeProto, kernel: Sequence[int], image: Sequence[int]
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a node, auto_pad worked out.

    Args:
        node: A convolution or pool.
        kernel: R, S.
        image: H, W of its input.
    """
    auto = attribute(node, "auto_pad", b"NOTSET").decode()
    if auto in ("NOTSET", ""):
        top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
        return top, left, bottom, right
    if auto == "VALID":
        return 0, 0, 0, 0
    strides = attribute(node, "strides", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    before, after = [], []
    for size, k, s, d in zip(image, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before[0], before[1], after[0], after[1]
