"""An ONNX graph as recognition looks at it and edits it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from binas.compile.nodes import attribute

Array = NDArray[Any]

POINTWISE = {
    *("Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Div", "Equal", "Floor", "Greater"),
    *("GreaterOrEqual", "HardSigmoid", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Max"),
    *("Min", "Mul", "Neg", "Not", "Or", "Pow", "PRelu", "Relu", "Round", "Sign", "Sub", "Sum"),
    *("Tanh", "Where", "Xor"),
}
# Without one of these a function is continuous, and no step: Div is for x / |x|.
JUMPS = {"Cast", "CastLike", "Ceil", "Div", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less"}
JUMPS |= {"LessOrEqual", "Round", "Sign", "Where"}


class Network:
    """Who makes and who reads each value, what is constant, and every static shape.

    Args:
        proto: A checked model with inferred shapes; edited in place by `finish`.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Index the graph."""
        graph = proto.graph
        self.proto = proto
        self.inputs = tuple(v.name for v in graph.input)
        self.outputs = tuple(v.name for v in graph.output)
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.positions = {
            name: at for at, node in enumerate(graph.node) for name in node.output if name
        }
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        layers = sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in graph.node)
        self.patience = 200 + 8 * layers  # questions of `meaning.py` that may lead nowhere
        self.jumping = _jumping(graph.node)
        self._infos = {v.name: v for v in (*graph.value_info, *graph.output, *graph.input)}
        self._arrays: dict[str, Array] = {}
        self._before: dict[int, list[onnx.NodeProto]] = {}
        self._replaced: dict[int, list[onnx.NodeProto]] = {}
        self._taken = {*self._infos, *self.tensors, *self.producers}

    def constant(self, name: str) -> Array | None:
        """The value of an initialiser or a Constant node; None for anything else."""
        if name not in self._arrays:
            found = None
            if name in self.tensors:
                found = numpy_helper.to_array(self.tensors[name])
            elif name in self.producers and self.producers[name].op_type == "Constant":
                found = _value(self.producers[name])
            if found is None:
                return None
            self._arrays[name] = found
        return self._arrays[name]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The static shape of a value; None where it is not known."""
        if name in self.tensors:
            return tuple(self.tensors[name].dims)
        info = self._infos.get(name)
        if info is None or not info.type.tensor_type.HasField("shape"):
            return None
        dims = info.type.tensor_type.shape.dim
        sizes = tuple(dim.dim_value for dim in dims)
        return sizes if all(size > 0 for size in sizes) else None

    def size_bytes(self, name: str) -> int | None:
        """Of a value as an array; None where its shape or type is not known."""
        shape, info = self.shape(name), self._infos.get(name)
        if shape is None or info is None:
            return None
        try:
            dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        except KeyError:  # undefined, or newer than this onnx
            return None
        return prod(shape) * max(dtype.itemsize, 1)

    def work(self, nodes: Iterable[onnx.NodeProto]) -> int:
        """Additions, products and comparisons that nodes take, about; 0 for unknown shapes."""
        total = 0
        for node in nodes:
            each = prod(attribute(node, "kernel_shape", [1]))
            if node.op_type in ("Conv", "Gemm", "MatMul", "BinaryConv2d") and len(node.input) > 1:
                w = self.shape(node.input[1]) or (1,)
                each = prod(w) // max(w[-1] if node.op_type == "MatMul" else w[0], 1)
            total += each * sum(prod(self.shape(name) or ()) for name in node.output if name)
        return total

    def is_float(self, name: str) -> bool:
        """Whether a value is known to be float32."""
        info = self._infos.get(name)
        return info is not None and info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT

    def fresh(self, stem: str) -> str:
        """A value name that nobody has."""
        name = stem
        count = 1
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def new_constant(self, array: Array, stem: str) -> str:
        """Add an initialiser."""
        name = self.fresh(stem)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.proto.graph.initializer.append(tensor)
        self.tensors[name] = tensor
        return name

    def new_node(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        *,
        stem: str,
        domain: str = "",
        **attributes: Any,
    ) -> tuple[onnx.NodeProto, str]:
        """A node (not placed yet) and the name of its float output of this shape."""
        output = self.fresh(stem)
        node = helper.make_node(
            op, list(inputs), [output], name=output, domain=domain, **attributes
        )
        self._infos[output] = helper.make_tensor_value_info(
            output, onnx.TensorProto.FLOAT, list(shape)
        )
        self.producers[output] = node
        return node, output

    def declare(self, name: str, like: str, shape: Sequence[int]) -> None:
        """Tell the file what a new value is: of the type of another one, in a shape of its own."""
        info = helper.make_tensor_value_info(
            name, self._infos[like].type.tensor_type.elem_type, list(shape)
        )
        self._infos[name] = info
        self.proto.graph.value_info.append(info)

    def replace(self, node: onnx.NodeProto, by: Iterable[onnx.NodeProto]) -> None:
        """Let other nodes stand where `node` stood; one of them writes its output."""
        self._replaced[self.positions[node.output[0]]] = list(by)

    def untouched_backwards(self) -> Iterator[onnx.NodeProto]:
        """Original nodes that an output still depends on, last first.

        A node that is replaced when its turn has come leaves what only it has read unvisited.
        """
        needed = set(self.outputs)
        for at in range(len(self.proto.graph.node) - 1, -1, -1):
            original = self.proto.graph.node[at]
            if at not in self._replaced and needed.intersection(original.output):
                yield original
            for node in reversed(self._replaced.get(at, [original])):
                if needed.intersection(node.output):
                    needed.update(node.input)

    def finish(self) -> None:
        """Write the edits into the proto and drop what nobody reads any more."""
        nodes: list[onnx.NodeProto] = []
        for at, node in enumerate(self.proto.graph.node):
            nodes.extend(self._replaced.get(at, [node]))
        needed, kept = set(self.outputs), []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        kept.reverse()
        del self.proto.graph.node[:]
        self.proto.graph.node.extend(kept)
        tensors = [t for t in self.proto.graph.initializer if t.name in needed]
        inputs = [
            v for v in self.proto.graph.input if v.name in needed or v.name not in self.tensors
        ]
        written = {name for node in kept for name in node.output}
        infos = [v for v in self.proto.graph.value_info if v.name in written]
        for field, values in (("initializer", tensors), ("input", inputs), ("value_info", infos)):
            self.proto.graph.ClearField(field)
            getattr(self.proto.graph, field).extend(values)


def _jumping(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Values behind which, with nothing but element-wise operators between, something jumps."""
    found: set[str] = set()
    for node in nodes:
        pointwise = node.domain in ("", "ai.onnx") and node.op_type in POINTWISE
        if pointwise and (node.op_type in JUMPS or not found.isdisjoint(node.input)):
            found.update(node.output)
    return found


def has_subgraphs(proto: onnx.ModelProto) -> bool:
    """Whether some node carries a graph of its own (If, Loop, Scan)."""
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return any(a.type in kinds for node in proto.graph.node for a in node.attribute)


def _value(node: onnx.NodeProto) -> Array | None:
    if len(node.attribute) != 1:
        return None
    value = helper.get_attribute_value(node.attribute[0])
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if node.attribute[0].name.startswith("value_float"):
        return np.asarray(value, dtype=np.float32)
    return np.asarray(value) if node.attribute[0].name.startswith("value_int") else None
