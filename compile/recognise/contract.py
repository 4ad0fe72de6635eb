"""A layer that was recognised, written as the contract has it, and proved before it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile import functions
from binas.compile.nodes import attribute, pads
from binas.compile.recognise import proof
from binas.compile.recognise.layers import Judged, Weighted
from binas.compile.recognise.meaning import Step
from binas.compile.recognise.moves import Walk
from binas.compile.recognise.network import Network
from binas.compile.recognise.weights import Bits
from binas.core import bits
from binas.core.errors import CompileError

Array = NDArray[Any]


def rewrite(network: Network, judged: Judged, quantized: dict[Any, str]) -> str:
    """Make the layer a BinaryConv2d if that changes nothing; else why not.

    Args:
        network: Edited.
        judged: The layer; its weights are bits.
        quantized: Signs that are made already, by operand and kind.
    """
    layer, found = judged.layer, judged.bits
    assert found is not None  # noqa: S101 (the caller looked)
    try:
        made, signs = _nodes(network, judged, found, dict(quantized))
    except CompileError as error:
        return str(error)
    root = judged.walk.value
    before = proof.between(network, layer.node.output[0], root)
    shape = network.shape(root)
    if before is None or shape is None:
        return "its shapes are not static"
    if not _affordable(network, layer, shape):
        return "it is too large for its rewrite to be proved"
    sign = judged.sign
    border = None if sign is None else sign.border
    zeros = sign is None or sign.is_exact
    feeds = {root: proof.samples(shape, border, zeros=zeros)}
    output = layer.node.output[0]
    # Signs of earlier layers are made anew in the proof: it starts at the same root.
    after = [*_makers(network, made, root), *made]
    renamed = [_with_output(node, output, output + "#proof") for node in after]
    old = proof.run_nodes(network, before, feeds, [output])[output]
    new = proof.run_nodes(network, renamed, feeds, [output + "#proof"])[output + "#proof"]
    off = proof.difference(old, new)
    if off > proof.TOLERANCE:
        return f"as one bit it would differ by {off:.2g} of its largest value"
    network.replace(layer.node, made)
    quantized.update(signs)
    return ""


MAX_MACS = 20e9


def _affordable(network: Network, layer: Weighted, shape: tuple[int, ...]) -> bool:
    """Whether a layer can be run for its proof: a declared shape costs its author nothing."""
    out = network.shape(layer.node.output[0]) or ()
    macs = prod(out) * prod(layer.w.shape[1:])
    return prod(shape) + prod(out) <= proof.MAX_ELEMENTS and macs <= MAX_MACS


def _makers(network: Network, made: Sequence[onnx.NodeProto], root: str) -> list[onnx.NodeProto]:
    """New nodes of earlier layers that these ones read."""
    inside = {name for node in made for name in node.output}
    found: list[onnx.NodeProto] = []
    pending = [name for node in made for name in node.input if name not in inside]
    while pending:
        name = pending.pop()
        node = network.producers.get(name)
        if name == root or not name or name in network.tensors or node is None or node in found:
            continue
        found.insert(0, node)
        pending.extend(node.input)
    return found


def _with_output(node: onnx.NodeProto, old: str, new: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.output[:] = [new if name == old else name for name in copy.output]
    return copy


def _nodes(
    network: Network, judged: Judged, found: Bits, signs: dict[Any, str]
) -> tuple[list[onnx.NodeProto], dict[Any, str]]:
    """The nodes of the contract, the last of which writes the layer's output."""
    layer, sign = judged.layer, judged.sign
    if sign is None:
        judged.walk = _to_image(network, layer)  # other moves only a sign can be taken before
    if layer.dense and judged.walk.pads:
        raise CompileError("it reads a padded image")
    walk, stem, output = judged.walk, layer.node.name, layer.node.output[0]
    made = _Maker(network, stem)
    factor = 1.0
    if sign is None:
        x = made.image(walk.value) if walk.vector else walk.value
    else:
        factor = sign.below if sign.zero_is_below else sign.above
        border = None if sign.border is None else (sign.border.shape, sign.border.tobytes())
        axes = (0, 1, 2, 3) if layer.dense else walk.axes
        key = (walk.value, sign.zero_is_below, axes, border)
        if key not in signs:
            signs[key] = made.sign(walk, sign, axes)
        x = signs[key]
    shape = network.shape(x)
    if shape is None:
        raise CompileError("its shapes are not static")
    w = _image_weights(found.signs, walk, shape) if layer.dense else found.signs
    inputs = [
        x,
        network.new_constant(bits.pack_bytes(w.transpose(0, 2, 3, 1)), f"{stem}/w_packed"),
        network.new_constant((found.scale * factor).astype(np.float32), f"{stem}/scale"),
        network.new_constant(layer.bias.astype(np.float32), f"{stem}/bias"),
    ]
    target = network.fresh(f"{stem}/image_out") if layer.dense else output
    facts = _geometry(network, layer, walk, sign, w)
    node = onnx.helper.make_node(
        "BinaryConv2d", inputs, [target], name=stem, domain=functions.DOMAIN, **facts
    )
    made.nodes.append(node)
    if layer.dense:
        sizes = network.new_constant(np.array([shape[0], w.shape[0]]), f"{stem}/vector_shape")
        made.nodes.append(
            onnx.helper.make_node("Reshape", [target, sizes], [output], name=f"{stem}/vector")
        )
    return made.nodes, signs


def _to_image(network: Network, layer: Weighted) -> Walk:
    """The operand of a layer, or the image that was flattened to it."""
    walk = layer.walk
    while walk.vector:
        further = walk.back(network)
        if further is None:
            break
        walk = further
    return walk


class _Maker:
    """Collects the nodes of one layer."""

    def __init__(self, network: Network, stem: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._network, self._stem = network, stem

    def sign(self, walk: Walk, sign: Step, axes: tuple[int, ...]) -> str:
        """The bits of a sign's operand, its axes as the layer wants them."""
        x = walk.value
        if sign.zero_is_below:  # x > 0 is not(-x >= 0)
            x = self._add("Neg", [x], self._shape(x), "negative")
        if sign.border is not None:
            above = self._network.new_constant(sign.border, f"{self._stem}/border")
            x = self._add("Sub", [x, above], self._shape(x), "above")
        if axes != (0, 1, 2, 3):
            shape = tuple(self._shape(x)[axis] for axis in axes)
            x = self._add("Transpose", [x], shape, "nchw", perm=list(axes))
        if walk.vector:
            x = self.image(x)
        return self._add("BinaryQuantize", [x], self._shape(x), "sign", domain=functions.DOMAIN)

    def image(self, x: str) -> str:
        """A vector as an image of one pixel."""
        shape = (*self._shape(x), 1, 1)
        sizes = self._network.new_constant(np.array(shape), f"{self._stem}/image_shape")
        return self._add("Reshape", [x, sizes], shape, "image")

    def _add(self, op: str, inputs: list[str], shape: Sequence[int], what: str, **rest: Any) -> str:
        node, name = self._network.new_node(op, inputs, shape, stem=f"{self._stem}/{what}", **rest)
        self.nodes.append(node)
        return name

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._network.shape(name)
        if shape is None:
            raise CompileError("its shapes are not static")
        return shape


def _image_weights(w: Array, walk: Walk, shape: tuple[int, ...]) -> Array:
    """Weights [K, F] of a dense layer as [K, C, H, W] of the image its walk has come to."""
    if walk.vector:
        return w.reshape(*w.shape, 1, 1)
    sizes = [shape[axis] for axis in walk.axes[1:]]
    back = [walk.axes.index(axis) for axis in range(4)]
    return w.reshape(w.shape[0], *sizes).transpose(back)


def _geometry(
    network: Network, layer: Weighted, walk: Walk, sign: Step | None, w: Array
) -> dict[str, Any]:
    """Attributes of the BinaryConv2d: pads of the node and of the walk, as one."""
    node = layer.node
    if layer.dense:
        own = [0, 0, 0, 0]
    else:
        own = list(pads(node, w.shape[2:], (network.shape(node.input[0]) or ())[2:]))
    number = walk.pad or 0.0
    padded = any(low or high for low, high in walk.pads.values())
    if padded and number and any(own):
        raise CompileError(f"it pads with 0 around what is padded with {number}")
    top, bottom = walk.pads.get(2, (0, 0))
    left, right = walk.pads.get(3, (0, 0))
    both = [a + b for a, b in zip(own, (top, left, bottom, right), strict=True)]
    pad_value = 0.0
    if padded and number:
        if sign is None:
            raise CompileError(f"it pads real activations with {number}")
        up = sign.below if sign.zero_is_below else sign.above
        pad_value = float(np.round(number / up))
        if abs(number / up - pad_value) > 1e-5 or pad_value not in (-1, 1):
            raise CompileError(
                f"it pads its bits with {number:.4g}, expected 0, {-abs(up):.4g} or {abs(up):.4g}"
            )
    return {
        "strides": list(attribute(node, "strides", [1, 1])),
        "pads": both,
        "dilations": list(attribute(node, "dilations", [1, 1])),
        "group": attribute(node, "group", 1),
        "in_channels": [w.shape[1]],
        "pad_value": pad_value,
    }
