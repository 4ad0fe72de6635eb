"""The channel shuffle: Reshape to groups, Transpose groups and channels, Reshape back."""

from __future__ import annotations

import onnx

from binas.compile.importer import Build, Grouped, static_shape
from binas.compile.nodes import label
from binas.core.errors import UnsupportedOpError

SWAP = [0, 2, 1, 3, 4]


def split(build: Build, node: onnx.NodeProto) -> bool:
    """Reshape [N, C, H, W] → [N, groups, C / groups, H, W], if that is what a node does."""
    name = build.alias.get(node.input[0], node.input[0])
    target = static_shape(build.info(node.output[0]))
    if name not in build.graph.values or len(target) != 5 or node.input[0] in build.channels_last:
        return False
    N, H, W, C = build.shape(name)
    groups = target[1]
    if target != (N, groups, C // groups, H, W):
        return False
    build.grouped[node.output[0]] = Grouped(name, groups)
    return True


def swap(build: Build, node: onnx.NodeProto) -> None:
    """Transpose groups and their channels."""
    found = build.grouped[node.input[0]]
    build.grouped[node.output[0]] = Grouped(found.image, found.groups, swapped=not found.swapped)


def join(build: Build, node: onnx.NodeProto) -> None:
    """Reshape back: a shuffle, or nothing where there is nothing to shuffle."""
    found = build.grouped[node.input[0]]
    N, H, W, C = build.shape(found.image)
    if static_shape(build.info(node.output[0])) != (N, C, H, W):
        raise UnsupportedOpError(f"{label(node)}: {node.op_type} of channels in groups")
    if not found.swapped or found.groups in (1, C):
        build.alias[node.output[0]] = found.image
        return
    made = build.made(node, "shuffle", (found.image,), C, groups=found.groups)
    if build.is_bits(found.image):
        build.move_bits(made, "shuffle_bits")
    else:
        build.add(made)
