"""ONNX model → Graph: one node per operator, NCHW becomes NHWC, nothing is fused yet.

Each operator has one small method named after it. What has no method is an UnsupportedOpError that
names the node. Constants are initialisers and `Constant` nodes; nothing else is folded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from binas.compile import functions
from binas.compile.graph import Add, Affine, Graph, Node, PRelu, Relu, Shape, Sign, Stage, Value
from binas.compile.model import BinaryModel
from binas.core import bits
from binas.core.errors import CompileError, UnsupportedOpError

Array = NDArray[Any]


def import_model(model: BinaryModel) -> Graph:
    """Translate a model.

    Raises:
        UnsupportedOpError: An operator, or a form of one, that we have no kernel for.
        CompileError: Shapes that are not static.
    """
    return _Importer(model).graph()


@dataclass(slots=True)
class _Importer:
    model: BinaryModel
    _graph: Graph = field(init=False)
    _constants: dict[str, Array] = field(default_factory=dict)
    _alias: dict[str, str] = field(default_factory=dict)  # ONNX name → value that holds it
    _flattened: dict[str, str] = field(default_factory=dict)  # ONNX name → the image behind it
    _quantized: dict[str, str] = field(default_factory=dict)  # BinaryQuantize output → its input

    def graph(self) -> Graph:
        proto = self.model.proto.graph
        self._constants = {t.name: numpy_helper.to_array(t) for t in proto.initializer}
        inputs = [value for value in proto.input if value.name not in self._constants]
        self._graph = Graph([value.name for value in inputs], [])
        for value in inputs:
            if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                raise UnsupportedOpError(f"input {value.name!r} is not float32")
            self._value(value.name, _nhwc(_static_shape(value)))
        for node in proto.node:
            method = self._methods().get((node.domain, node.op_type))
            if method is None:
                raise UnsupportedOpError(
                    f"{_label(node)}: no kernel for {node.domain or 'ai.onnx'}.{node.op_type}",
                    hint="known: " + ", ".join(sorted(op for _, op in self._methods())),
                )
            method(node)
        for output in proto.output:
            self._graph.outputs.append(self._output(output))
        self._graph.check()
        return self._graph

    def _methods(self) -> dict[tuple[str, str], Any]:
        ours = functions.DOMAIN
        return {
            ("", "Add"): self._add,
            ("", "AveragePool"): self._average_pool,
            ("", "BatchNormalization"): self._batch_normalization,
            ("", "Concat"): self._concat,
            ("", "Constant"): self._constant,
            ("", "Conv"): self._conv,
            ("", "Div"): self._scale_or_shift,
            ("", "Dropout"): self._identity,
            ("", "Flatten"): self._flatten,
            ("", "Gemm"): self._gemm,
            ("", "GlobalAveragePool"): self._global_average_pool,
            ("", "Identity"): self._identity,
            ("", "LeakyRelu"): self._leaky_relu,
            ("", "MatMul"): self._matmul,
            ("", "MaxPool"): self._max_pool,
            ("", "Mul"): self._scale_or_shift,
            ("", "PRelu"): self._prelu,
            ("", "Pad"): self._pad,
            ("", "ReduceMean"): self._reduce_mean,
            ("", "Relu"): self._relu,
            ("", "Reshape"): self._reshape,
            ("", "Slice"): self._slice,
            ("", "Sub"): self._scale_or_shift,
            (ours, "BinaryConv2d"): self._binary_conv2d,
            (ours, "BinaryQuantize"): self._binary_quantize,
        }

    # ── elementwise ──────────────────────────────────────────────────────────────────────────────

    def _add(self, node: onnx.NodeProto) -> None:
        if any(name in self._constants for name in node.input):
            self._scale_or_shift(node)
            return
        x, y = (self._read(name, node) for name in node.input)
        if self._shape(x) != self._shape(y):
            raise UnsupportedOpError(f"{_label(node)}: adds {self._shape(x)} and {self._shape(y)}")
        self._elementwise(node, x, (Add(y),))

    def _scale_or_shift(self, node: onnx.NodeProto) -> None:
        """Add, Sub, Mul, Div with a constant per channel or a scalar."""
        constants = [name in self._constants for name in node.input]
        if constants.count(True) != 1 or (node.op_type == "Div" and constants[0]):
            raise UnsupportedOpError(f"{_label(node)}: {node.op_type} of two computed values")
        x = self._read(node.input[constants.index(False)], node)
        c = self._per_channel(self._constants[node.input[constants.index(True)]], x, node)
        one, zero = np.ones_like(c), np.zeros_like(c)
        stage = {
            "Add": Affine(one, c),
            "Mul": Affine(c, zero),
            "Div": Affine(1 / np.where(c == 0, np.nan, c), zero),
            "Sub": Affine(-one, c) if constants[0] else Affine(one, -c),
        }[node.op_type]
        self._elementwise(node, x, (stage,))

    def _batch_normalization(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        names = node.input[1:5]
        gamma, beta, mean, variance = (self._constant_of(n, node).astype(np.float64) for n in names)
        scale = gamma / np.sqrt(variance + _attribute(node, "epsilon", 1e-5))
        self._elementwise(node, x, (Affine(scale, beta - mean * scale),))

    def _relu(self, node: onnx.NodeProto) -> None:
        self._elementwise(node, self._read(node.input[0], node), (Relu(),))

    def _prelu(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        slope = self._per_channel(self._constant_of(node.input[1], node), x, node)
        self._elementwise(node, x, (PRelu(slope),))

    def _leaky_relu(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        slope = np.full(self._shape(x)[3], _attribute(node, "alpha", 0.01))
        self._elementwise(node, x, (PRelu(slope),))

    def _binary_quantize(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        self._quantized[node.output[0]] = x
        shape = self._shape(x)
        self._value(node.output[0], shape, "bits")
        self._graph.nodes.append(
            Node(
                name=node.name,
                sources=(node.name,),
                op="elementwise",
                inputs=(x,),
                in_shape=shape,
                out_channels=shape[3],
                bits_out=node.output[0],
            )
        )

    def _identity(self, node: onnx.NodeProto) -> None:
        self._alias[node.output[0]] = self._read(node.input[0], node)

    # ── convolution and dense ────────────────────────────────────────────────────────────────────

    def _conv(self, node: onnx.NodeProto) -> None:
        w = self._constant_of(node.input[1], node)
        if w.ndim != 4:
            raise UnsupportedOpError(f"{_label(node)}: {w.ndim - 2}-dimensional convolution")
        x = self._read(node.input[0], node)
        stages: tuple[Stage, ...] = ()
        if len(node.input) > 2 and node.input[2]:
            bias = self._constant_of(node.input[2], node).astype(np.float64)
            stages = (Affine(np.ones_like(bias), bias),)
        self._graph.kinds[node.name] = ("float", "its weights are real")
        self._convolution(node, x, w.transpose(0, 2, 3, 1), 32, stages)

    def _binary_conv2d(self, node: onnx.NodeProto) -> None:
        channels = _attribute(node, "in_channels", [0])[0]
        group = _attribute(node, "group", 1)
        packed, scale, bias = (self._constant_of(name, node) for name in node.input[1:4])
        if packed.dtype != np.uint8 or packed.ndim != 4 or packed.shape[3] != -(-channels // 8):
            raise CompileError(
                f"{_label(node)}: w_packed is {packed.dtype} {packed.shape}, expected uint8 "
                f"[K, R, S, {-(-channels // 8)}] for in_channels {channels}"
            )
        w = bits.unpack_bytes(packed, channels)
        stages = (Affine(scale.astype(np.float64), bias.astype(np.float64)),)
        name = node.input[0]
        if name not in self._quantized:
            self._graph.kinds[node.name] = ("weight-binary", "its activations are not quantized")
            self._convolution(node, self._read(name, node), w, 1, stages)
        elif group > 1 and channels % bits.WORD_BITS:
            reason = f"groups of {channels} channels do not fill words of {bits.WORD_BITS}"
            self._graph.kinds[node.name] = ("float", reason)
            self._convolution(node, self._read(name, node), w, 32, stages)
        else:
            self._graph.kinds[node.name] = ("binary", "both operands are one bit")
            self._convolution(node, name, w, 1, stages)

    def _convolution(
        self, node: onnx.NodeProto, x: str, w: Array, weight_bits: int, stages: tuple[Stage, ...]
    ) -> None:
        binary = self._graph.values[x].dtype == "bits"
        pad_value = int(_attribute(node, "pad_value", 0.0))
        padding = _pads(node, w.shape[1:3], self._shape(x))
        if pad_value and not binary and any(padding):
            raise UnsupportedOpError(
                f"{_label(node)}: pads a float convolution with {pad_value}",
                hint="pad with 0, or make it a binary convolution with dense channels",
            )
        self._node(
            node,
            "binary_conv" if binary else "conv",
            (x,),
            w.shape[0],
            kernel=(w.shape[1], w.shape[2]),
            stride=tuple(_attribute(node, "strides", [1, 1])),
            padding=padding,
            dilation=tuple(_attribute(node, "dilations", [1, 1])),
            groups=_attribute(node, "group", 1),
            pad_value=pad_value if binary else 0,
            weights=np.ascontiguousarray(w, dtype=np.float32),
            weight_bits=weight_bits,
            stages=stages,
        )

    def _gemm(self, node: onnx.NodeProto) -> None:
        if _attribute(node, "transA", 0):
            raise UnsupportedOpError(f"{_label(node)}: Gemm with a transposed input")
        w = self._constant_of(node.input[1], node) * _attribute(node, "alpha", 1.0)
        w = w if _attribute(node, "transB", 0) else w.T
        stages: tuple[Stage, ...] = ()
        if len(node.input) > 2 and node.input[2]:
            bias = self._constant_of(node.input[2], node).astype(np.float64).reshape(-1)
            bias = np.broadcast_to(bias * _attribute(node, "beta", 1.0), (w.shape[0],))
            stages = (Affine(np.ones(w.shape[0]), bias),)
        self._dense(node, w, stages)

    def _matmul(self, node: onnx.NodeProto) -> None:
        self._dense(node, self._constant_of(node.input[1], node).T, ())

    def _dense(self, node: onnx.NodeProto, w: Array, stages: tuple[Stage, ...]) -> None:
        name = node.input[0]
        x = self._flattened.get(name) or self._read(name, node)
        _, H, W, C = self._shape(x)
        if w.ndim != 2 or w.shape[1] != C * H * W or (H * W > 1 and name not in self._flattened):
            raise UnsupportedOpError(f"{_label(node)}: weights {w.shape} on an image {(C, H, W)}")
        # A dense layer on an image is a convolution as large as the image; ONNX flattens C, H, W.
        w = w.reshape(w.shape[0], C, H, W).transpose(0, 2, 3, 1)
        self._graph.kinds[node.name] = ("float", "its weights are real")
        self._node(
            node,
            "conv",
            (x,),
            w.shape[0],
            kernel=(H, W),
            weights=np.ascontiguousarray(w, dtype=np.float32),
            weight_bits=32,
            stages=stages,
        )

    # ── pools ────────────────────────────────────────────────────────────────────────────────────

    def _max_pool(self, node: onnx.NodeProto) -> None:
        self._pool(node, "pool_max")

    def _average_pool(self, node: onnx.NodeProto) -> None:
        self._pool(node, "pool_avg")

    def _pool(self, node: onnx.NodeProto, op: Any) -> None:
        x = self._read(node.input[0], node)
        if _attribute(node, "ceil_mode", 0):
            raise UnsupportedOpError(f"{_label(node)}: ceil_mode", hint="pad explicitly")
        kernel = tuple(_attribute(node, "kernel_shape", []))
        if len(kernel) != 2:
            raise UnsupportedOpError(f"{_label(node)}: {len(kernel)}-dimensional pool")
        self._node(
            node,
            op,
            (x,),
            self._shape(x)[3],
            kernel=kernel,
            stride=tuple(_attribute(node, "strides", [1, 1])),
            padding=_pads(node, kernel, self._shape(x)),
            dilation=tuple(_attribute(node, "dilations", [1, 1])),
            pads_count=bool(_attribute(node, "count_include_pad", 0)),
        )

    def _global_average_pool(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        _, H, W, C = self._shape(x)
        self._node(node, "pool_avg", (x,), C, kernel=(H, W))

    def _reduce_mean(self, node: onnx.NodeProto) -> None:
        axes = _attribute(node, "axes", None)
        if axes is None and len(node.input) > 1:
            axes = self._constant_of(node.input[1], node).tolist()
        rank = len(_static_shape(self._info(node.input[0])))
        if rank != 4 or sorted(axis % rank for axis in axes or []) != [2, 3]:
            raise UnsupportedOpError(
                f"{_label(node)}: mean over axes {axes}, expected rows, columns"
            )
        self._global_average_pool(node)

    # ── channels and shapes ──────────────────────────────────────────────────────────────────────

    def _concat(self, node: onnx.NodeProto) -> None:
        rank = len(_static_shape(self._info(node.input[0])))
        if _attribute(node, "axis", 0) % rank != 1:
            raise UnsupportedOpError(f"{_label(node)}: concat along another axis than channels")
        values = tuple(self._read(name, node) for name in node.input)
        parts = tuple(self._shape(value)[3] for value in values)
        self._node(node, "concat", values, sum(parts), in_channels=sum(parts), parts=parts)

    def _slice(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        given = [self._constant_of(name, node).tolist() for name in node.input[1:] if name]
        starts, ends = given[0], given[1]
        axes = given[2] if len(given) > 2 else list(range(len(starts)))
        steps = given[3] if len(given) > 3 else [1] * len(starts)
        if axes != [1] or starts != [0] or steps != [1]:
            raise UnsupportedOpError(f"{_label(node)}: only leading channels can be sliced")
        channels = min(ends[0], self._shape(x)[3])
        self._node(node, "concat", (x,), channels, parts=(channels,))

    def _pad(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        pads = self._constant_of(node.input[1], node).tolist()
        value = self._constant_of(node.input[2], node).item() if len(node.input) > 2 else 0
        axes = (
            self._constant_of(node.input[3], node).tolist() if len(node.input) > 3 else [0, 1, 2, 3]
        )
        before, after = pads[: len(axes)], pads[len(axes) :]
        added = {axis: (b, a) for axis, b, a in zip(axes, before, after, strict=True) if b or a}
        if value != 0 or any(axis != 1 or b for axis, (b, _) in added.items()):
            raise UnsupportedOpError(
                f"{_label(node)}: Pad other than zeros after the channels",
                hint="give the padding to the convolution or pool instead",
            )
        C = self._shape(x)[3]
        self._node(node, "concat", (x,), C + added.get(1, (0, 0))[1], parts=(C,))

    def _flatten(self, node: onnx.NodeProto) -> None:
        if _attribute(node, "axis", 1) != 1:
            raise UnsupportedOpError(f"{_label(node)}: Flatten along axis other than 1")
        self._to_vector(node)

    def _reshape(self, node: onnx.NodeProto) -> None:
        target = _static_shape(self._info(node.output[0]))
        x = self._read(node.input[0], node)
        N, H, W, C = self._shape(x)
        if len(target) == 2 and target == (N, H * W * C):
            self._to_vector(node)
        elif H * W == 1 and target == (N, C, 1, 1):
            self._alias[node.output[0]] = x
        else:
            raise UnsupportedOpError(f"{_label(node)}: Reshape of {(N, C, H, W)} to {target}")

    def _to_vector(self, node: onnx.NodeProto) -> None:
        x = self._read(node.input[0], node)
        _, H, W, _ = self._shape(x)
        (self._alias if H * W == 1 else self._flattened)[node.output[0]] = x

    def _constant(self, node: onnx.NodeProto) -> None:
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        dtype = np.float32 if attribute.name.startswith("value_float") else None
        self._constants[node.output[0]] = np.asarray(value, dtype=dtype)

    # ── bookkeeping ──────────────────────────────────────────────────────────────────────────────

    def _elementwise(self, node: onnx.NodeProto, x: str, stages: tuple[Stage, ...]) -> None:
        self._node(node, "elementwise", (x,), self._shape(x)[3], stages=stages)

    def _node(
        self,
        node: onnx.NodeProto,
        op: Any,
        inputs: tuple[str, ...],
        out_channels: int,
        *,
        in_channels: int | None = None,
        out: str | None = None,
        **fields: Any,
    ) -> None:
        N, H, W, C = self._shape(inputs[0])
        made = Node(
            name=node.name,
            sources=(node.name,),
            op=op,
            inputs=inputs,
            in_shape=(N, H, W, in_channels or C),
            out_channels=out_channels,
            float_out=out or node.output[0],
            **fields,
        )
        self._value(out or node.output[0], made.layer.out_shape)
        self._graph.nodes.append(made)

    def _value(self, name: str, shape: Shape, dtype: Any = "float32") -> None:
        self._graph.values[name] = Value(name, shape, dtype)

    def _shape(self, value: str) -> Shape:
        return self._graph.values[value].shape

    def _read(self, name: str, node: onnx.NodeProto) -> str:
        """The float value behind an ONNX name; the sign of a quantized one is made on demand."""
        name = self._alias.get(name, name)
        if name in self._quantized:
            twin = f"{name}#float"
            if twin not in self._graph.values:
                x = self._quantized[name]
                self._value(twin, self._shape(x))
                self._graph.nodes.append(
                    Node(
                        name=twin,
                        sources=(),
                        op="elementwise",
                        inputs=(x,),
                        in_shape=self._shape(x),
                        out_channels=self._shape(x)[3],
                        stages=(Sign(),),
                        float_out=twin,
                    )
                )
            return twin
        if name in self._flattened:
            raise UnsupportedOpError(
                f"{_label(node)}: {node.op_type} of a flattened image",
                hint="only a dense layer can read a flattened image",
            )
        if name not in self._graph.values:
            raise UnsupportedOpError(f"{_label(node)}: {name!r} is a constant, expected data")
        return name

    def _output(self, output: onnx.ValueInfoProto) -> str:
        node = helper.make_node("Identity", [output.name], ["out"], name="output")
        return self._read(output.name, node)

    def _constant_of(self, name: str, node: onnx.NodeProto) -> Array:
        if name not in self._constants:
            raise UnsupportedOpError(
                f"{_label(node)}: {name!r} is computed, expected a constant",
                hint="fold constants before (onnxruntime or onnxslim do it)",
            )
        return self._constants[name]

    def _per_channel(self, c: Array, x: str, node: onnx.NodeProto) -> Array:
        """A constant as one float64 per channel of `x`."""
        C = self._shape(x)[3]
        values = c.astype(np.float64)
        if values.size == 1:
            return np.full(C, values.item())
        rank = len(_static_shape(self._info(node.output[0])))
        shape = (1,) * (rank - values.ndim) + values.shape
        if values.size != C or shape[1] != C:
            raise UnsupportedOpError(
                f"{_label(node)}: constant of shape {c.shape}, expected one number per {C} channels"
            )
        return values.reshape(C)

    def _info(self, name: str) -> onnx.ValueInfoProto:
        graph = self.model.proto.graph
        value: onnx.ValueInfoProto
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.name == name:
                return value
        raise CompileError(f"the shape of {name!r} is not known", hint="export with static shapes")


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def _pads(node: onnx.NodeProto, kernel: Any, shape: Shape) -> tuple[int, int, int, int]:
    auto = _attribute(node, "auto_pad", b"NOTSET").decode()
    if auto in ("NOTSET", ""):
        top, left, bottom, right = _attribute(node, "pads", [0, 0, 0, 0])
        return top, left, bottom, right
    if auto == "VALID":
        return 0, 0, 0, 0
    strides = _attribute(node, "strides", [1, 1])
    dilations = _attribute(node, "dilations", [1, 1])
    before, after = [], []
    for size, k, s, d in zip(shape[1:3], kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before[0], before[1], after[0], after[1]


def _static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dims = value.type.tensor_type.shape.dim
    if any(not dim.HasField("dim_value") or dim.dim_value < 1 for dim in dims):
        shown = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise CompileError(
            f"{value.name!r} has shape {shown}, expected static sizes",
            hint="export the model with a fixed batch and image size",
        )
    return tuple(dim.dim_value for dim in dims)


def _nhwc(shape: tuple[int, ...]) -> Shape:
    if len(shape) == 4:
        N, C, H, W = shape
        return N, H, W, C
    if len(shape) == 2:
        return shape[0], 1, 1, shape[1]
    raise UnsupportedOpError(f"a value of shape {shape}, expected [N, C, H, W] or [N, C]")


def _label(node: onnx.NodeProto) -> str:
    return f"node {node.name or node.output[0]!r}"
