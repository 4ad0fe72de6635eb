"""Operators that move elements and compute nothing: a sign can be taken before them or after.

Going back from the operand of a layer, a `Walk` remembers how its axes lie in the value it has
reached, and what was padded on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx

from binas.compile.nodes import attribute
from binas.compile.recognise.network import Network


@dataclass(slots=True)
class Walk:
    """From the operand of a layer back to a value.

    Attributes:
        value: Where it has come to.
        axes: Axis i of the operand (as an image) is axis axes[i] of the value.
        pads: Zeroes or others added per axis of the operand: before, after.
        pad: What was padded, as the operand's own number; None where nothing was.
        vector: Whether the operand is [N, F] and no image has been met yet.
    """

    value: str
    axes: tuple[int, ...] = (0, 1, 2, 3)
    pads: dict[int, tuple[int, int]] = field(default_factory=dict)
    pad: float | None = None
    vector: bool = False

    def back(self, network: Network) -> Walk | None:
        """One operator further back; None where something else than a move made the value."""
        node = network.producers.get(self.value)
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Identity" or (node.op_type == "Dropout" and len(node.input) < 3):
            return Walk(node.input[0], self.axes, dict(self.pads), self.pad, self.vector)
        if node.op_type == "Transpose" and not self.vector:
            return self._transpose(node)
        if node.op_type == "Pad" and not self.vector:
            return self._pad(network, node)
        if node.op_type in ("Flatten", "Reshape", "Squeeze") and self.vector:
            return self._flatten(network, node)
        return None

    def _transpose(self, node: onnx.NodeProto) -> Walk | None:
        order = attribute(node, "perm", [3, 2, 1, 0])
        if len(order) != 4:
            return None
        axes = tuple(order[axis] for axis in self.axes)
        return Walk(node.input[0], axes, dict(self.pads), self.pad)

    def _pad(self, network: Network, node: onnx.NodeProto) -> Walk | None:
        rank = len(network.shape(node.input[0]) or ())
        given = [network.constant(name) if name else None for name in node.input[1:]]
        sizes, value, axes = (*given, None, None, None)[:3]
        if sizes is None or attribute(node, "mode", b"constant") != b"constant" or rank != 4:
            return None
        if len(node.input) > 2 and node.input[2] and value is None:
            return None
        number = 0.0 if value is None else float(value.item())
        if self.pad is not None and self.pad != number:
            return None
        places = range(rank) if axes is None else [axis % rank for axis in axes.tolist()]
        before, after = np.split(sizes, 2)
        added = dict(zip(places, zip(before.tolist(), after.tolist(), strict=True), strict=True))
        pads = dict(self.pads)
        for mine, theirs in enumerate(self.axes):
            low, high = added.get(theirs, (0, 0))
            if low < 0 or high < 0 or (mine < 2 and (low or high)):
                return None
            if mine >= 2:
                old = pads.get(mine, (0, 0))
                pads[mine] = (old[0] + low, old[1] + high)
        return Walk(node.input[0], self.axes, pads, self.pad if pads == self.pads else number)

    def _flatten(self, network: Network, node: onnx.NodeProto) -> Walk | None:
        """A vector was an image: from here on its axes are walked."""
        before, after = network.shape(node.input[0]), network.shape(node.output[0])
        if before is None or after is None or len(after) != 2 or before[0] != after[0]:
            return None
        if prod(before) != prod(after):  # a broken model: shape inference lets a Reshape say so
            return None
        if len(before) == 2:
            return Walk(node.input[0], vector=True) if before == after else None
        return Walk(node.input[0]) if len(before) == 4 else None
