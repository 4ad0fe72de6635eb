"""What the import of an ONNX model keeps track of: values, constants, aliases; NCHW becomes NHWC.

`operators/` holds a function per operator that works on a `Build`; `plan.py` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from binas.compile import ondemand
from binas.compile.graph import Graph, Node, Shape, Stage, Value, renamed
from binas.compile.model import BinaryModel
from binas.compile.nodes import attribute, label
from binas.core.errors import CompileError, UnsupportedOpError, UsageError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Grouped:
    """An image whose channels an ONNX value has as two axes.

    Attributes:
        image: The value.
        groups: How many.
        swapped: Whether the groups are the second of the two.
    """

    image: str
    groups: int
    swapped: bool = False


@dataclass(slots=True)
class Build:
    """A graph under construction.

    Attributes:
        model: What is imported.
        graph: What it becomes.
        constants: Values of initialisers and Constant nodes.
        alias: ONNX name → the value that holds it.
        flattened: ONNX name of a flattened image → the image.
        padded: ONNX name of a zero-padded image → the image's own name; top, left, bottom, right;
            the name of the node that pads.
        grouped: ONNX name of an image with its channels in groups → what it is.
        quantized: Output of a BinaryQuantize → its input.
        moved: Packed value that is made of packed values → the step that makes it of floats.
        channels_last: ONNX names whose axes are N, H, W, C, or that were flattened from those.
        infos: What shape inference found, by value.
    """

    model: BinaryModel
    graph: Graph = field(default_factory=lambda: Graph([], []))
    constants: dict[str, Array] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    flattened: dict[str, str] = field(default_factory=dict)
    padded: dict[str, tuple[str, tuple[int, int, int, int], str]] = field(default_factory=dict)
    grouped: dict[str, Grouped] = field(default_factory=dict)
    quantized: dict[str, str] = field(default_factory=dict)
    moved: dict[str, Node] = field(default_factory=dict)
    channels_last: set[str] = field(default_factory=set)
    infos: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)

    def begin(self) -> None:
        """Take the model's constants and inputs."""
        proto = self.model.proto.graph
        self.infos = {v.name: v for v in (*proto.output, *proto.input, *proto.value_info)}
        self.constants = {t.name: numpy_helper.to_array(t) for t in proto.initializer}
        for value in proto.input:
            if value.name in self.constants:
                continue
            if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                raise UnsupportedOpError(f"input {value.name!r} is not float32")
            if self._read_as_channels_last(value.name):
                self.channels_last.add(value.name)
            self.graph.inputs.append(value.name)
            self.value(value.name, self.image(value.name))

    def like(self, name: str, node: onnx.NodeProto) -> None:
        """The axes of a node's output lie as those of an input."""
        if name in self.channels_last:
            self.channels_last.add(node.output[0])

    def elementwise(self, node: onnx.NodeProto, x: str, stages: tuple[Stage, ...]) -> None:
        """Add a step that is nothing but an epilogue."""
        self.like(node.input[0], node)
        self.node(node, "elementwise", (x,), self.shape(x)[3], stages=stages)

    def node(
        self, node: onnx.NodeProto, op: Any, inputs: tuple[str, ...], channels: int, **fields: Any
    ) -> None:
        """Add what `made` makes for an ONNX node; its value has the name of its output."""
        self.add(self.made(node, op, inputs, channels, **fields))

    def add(self, made: Node) -> None:
        """Add a step that writes floats, and declare them."""
        self.value(made.writes[0], made.layer.out_shape)
        self.graph.nodes.append(made)

    def made(
        self,
        node: onnx.NodeProto,
        op: Any,
        inputs: tuple[str, ...],
        out_channels: int,
        *,
        in_channels: int | None = None,
        output: str = "",
        **fields: Any,
    ) -> Node:
        """The step of an ONNX node, not added yet.

        Args:
            node: The node.
            op: What the step is.
            inputs: Values it reads.
            out_channels: K.
            in_channels: C of all inputs together, where that is not C of the first.
            output: Which of the node's outputs, where every one has a step of its own.
            fields: More of `graph.Node`.

        Raises:
            UnsupportedOpError: The node's output has another shape, or no layer is like it.
        """
        N, H, W, C = self.shape(inputs[0])
        made = Node(
            name=f"{node.name}/{output}" if output else node.name,
            sources=(node.name,),
            op=op,
            inputs=inputs,
            in_shape=(N, H, W, in_channels or C),
            out_channels=out_channels,
            float_out=output or node.output[0],
            **fields,
        )
        expected = self.image(made.writes[0])
        try:
            found = made.layer.out_shape
        except UsageError as error:
            raise UnsupportedOpError(f"{label(node)}: {error}") from None
        if found != expected:
            raise UnsupportedOpError(
                f"{label(node)}: {node.op_type} to shape {expected} (batch, rows, columns, "
                f"channels) is a form of it we have no kernel for"
            )
        return made

    def value(self, name: str, shape: Shape, dtype: Any = "float32") -> None:
        """Declare a value."""
        self.graph.values[name] = Value(name, shape, dtype, name in self.channels_last)

    def shape(self, value: str) -> Shape:
        """N, H, W, C of a value."""
        return self.graph.values[value].shape

    def image(self, name: str) -> Shape:
        """N, H, W, C of an ONNX value as its axes lie."""
        shape = static_shape(self.info(name))
        if name in self.channels_last and len(shape) == 4:
            N, H, W, C = shape
            return N, H, W, C
        return nhwc(shape)

    def resolve(self, name: str, node: onnx.NodeProto) -> str:
        """What an ONNX name is another name for, where the reader needs channels first.

        Raises:
            UnsupportedOpError: The axes lie otherwise.
        """
        if name in self.channels_last:
            raise UnsupportedOpError(
                f"{label(node)}: {node.op_type} of an image whose channels are its last axis",
                hint="export the model with channels first (NCHW)",
            )
        return self.alias.get(name, name)

    def is_bits(self, name: str) -> bool:
        """Whether a value is ±1 and packed."""
        return name in self.quantized or name in self.moved

    def move_bits(self, made: Node, op: Any, **fields: Any) -> None:
        """Add a step that makes packed values of packed values.

        `made` is the step as if they were floats; `op` and `fields` are what it is for bits.
        """
        name = made.writes[0]
        self.value(name, made.layer.out_shape, "bits")
        self.graph.nodes.append(renamed(made, op=op, float_out=None, bits_out=name, **fields))
        self.moved[name] = renamed(made, name=f"{name}#float", sources=())

    def read(self, name: str, node: onnx.NodeProto) -> str:
        """The float value behind an ONNX name whose axes are N, C, H, W."""
        return self.read_any(self.resolve(name, node), node)

    def read_any(self, name: str, node: onnx.NodeProto) -> str:
        """The float value behind an ONNX name, however its axes lie.

        The sign of a quantized value, and a padded image, are made on demand.
        """
        name = self.alias.get(name, name)
        if name in self.moved:
            return ondemand.moved(self, name, node)
        if name in self.quantized:
            return ondemand.signed(self, name)
        if name in self.padded:
            return ondemand.padded(self, name, node)
        for names, what, reader in (
            (self.grouped, "channels in groups", "only Transpose and Reshape can: a shuffle"),
            (self.flattened, "a flattened image", "only a dense layer can read it"),
        ):
            if name in names:
                raise UnsupportedOpError(f"{label(node)}: {node.op_type} of {what}", hint=reader)
        if name not in self.graph.values:
            raise UnsupportedOpError(f"{label(node)}: {name!r} is a constant, expected data")
        return name

    def output(self, output: onnx.ValueInfoProto) -> str:
        """The value behind an output of the model."""
        name = self.alias.get(output.name, output.name)
        if output.name in self.channels_last:
            self.graph.outputs_last.add(len(self.graph.outputs))
        if name in self.flattened:
            return self.flattened[name]  # a port is C, H, W: flattened already
        node = helper.make_node("Identity", [name], ["out"], name="output")
        return self.read_any(name, node)

    def constant_of(self, name: str, node: onnx.NodeProto) -> Array:
        """A constant operand of a node."""
        if name not in self.constants:
            raise UnsupportedOpError(
                f"{label(node)}: {name!r} is computed, expected a constant",
                hint="fold constants before (onnxruntime or onnxslim do it)",
            )
        return self.constants[name]

    def _read_as_channels_last(self, name: str) -> bool:
        """Whether an input goes, if not at once then element by element, into NHWC → NCHW."""
        nodes, names = self.model.proto.graph.node, {name}
        if len(static_shape(self.info(name))) != 4:
            return False
        for node in nodes:
            if not names.intersection(node.input):
                continue
            if node.op_type == "Transpose":
                return list(attribute(node, "perm", [])) == [0, 3, 1, 2]
            if node.op_type not in _IN_PLACE:
                return False
            names.update(node.output)
        return False

    def reason(self, node: onnx.NodeProto, otherwise: str) -> str:
        """Why a layer stays float: what recognition found out, or else."""
        return self.model.reasons.get(node.name, otherwise)

    def info(self, name: str) -> onnx.ValueInfoProto:
        """What shape inference found for a value."""
        if name in self.infos:
            return self.infos[name]
        raise CompileError(f"the shape of {name!r} is not known", hint="export with static shapes")


# Before an image whose channels are its last axis is transposed: they do not care how axes lie.
_IN_PLACE = {"Add", "BinaryQuantize", "Cast", "Clip", "Div", "Identity", "LeakyRelu", "Mul", "Neg"}
_IN_PLACE |= {"PRelu", "Pad", "Relu", "Sub"}


def static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The shape of a value, which must be known."""
    dims = value.type.tensor_type.shape.dim
    if all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims):
        return tuple(dim.dim_value for dim in dims)
    known = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]
    raise CompileError(
        f"{value.name!r} has shape [{', '.join(map(str, known))}], expected static sizes of at "
        "least 1",
        hint="export the model with a fixed batch and image size, a batch of 1 for example: "
        "torch.onnx.export(model, torch.zeros(1, 3, 224, 224), ...) without dynamic shapes",
    )


def nhwc(shape: tuple[int, ...]) -> Shape:
    """The shape as we keep it; a vector is one pixel."""
    if len(shape) == 4:
        N, C, H, W = shape
        return N, H, W, C
    if len(shape) == 2:
        return shape[0], 1, 1, shape[1]
    raise UnsupportedOpError(f"a value of shape {shape}, expected [N, C, H, W] or [N, C]")
