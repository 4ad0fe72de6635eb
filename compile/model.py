"""The ONNX contract: what a model file holds so that binas compiles it and others can run it.

Domain `ai.binas` version 1 (`compile/functions.py`), everything else plain ONNX of opset 21, IR 10,
static shapes, NCHW. `ModelWriter` makes such files; `BinaryModel.load` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from binas.compile import checks, functions
from binas.compile.external import load_external
from binas.compile.recognise import foreign
from binas.compile.recognise.constants import fold_shapes
from binas.compile.recognise.rewrite import recognise
from binas.compile.windows import check_windows
from binas.core import bits, record
from binas.core.errors import CompileError, UsageError
from binas.runtime.artifact import Normalisation, Port

Array = NDArray[Any]

SOURCE_SUFFIX = "_digest"  # of metadata that an artifact's manifest repeats
MAX_MODEL_BYTES = 1 << 30  # protobuf itself ends at twice this


class ModelWriter:
    """Writes a model node by node; every method returns the name of the value it adds.

    Args:
        name: Name of the graph.

    Example:
        >>> writer = ModelWriter("toy")
        >>> x = writer.input("x", (1, 32, 4, 4))
        >>> y = writer.binary_conv2d(
        ...     writer.binary_quantize(x), np.ones((8, 3, 3, 32)), scale=np.ones(8),
        ...     bias=np.zeros(8), pads=(1, 1, 1, 1), name="conv")
        >>> len(writer.finish([y]).graph.node)
        2
    """

    def __init__(self, name: str) -> None:
        """Start an empty graph."""
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Declare a float32 input of static shape."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return name

    def constant(self, values: Array, name: str = "") -> str:
        """Add an initialiser; float64 becomes float32."""
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = name or self._fresh("const")
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(
        self, op: str, inputs: Sequence[str], *, name: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output.

        Args:
            op: ONNX operator.
            inputs: Value names.
            name: Node name, which reports and error messages use; made up when empty.
            domain: Operator domain.
            attributes: ONNX attributes.
        """
        name = name or self._fresh(op.lower())
        output = f"{name}:0"
        self._nodes.append(
            helper.make_node(op, list(inputs), [output], name=name, domain=domain, **attributes)
        )
        return output

    def binary_quantize(self, x: str, *, name: str = "") -> str:
        """Sign of `x`: +1 where x >= 0, else -1."""
        return self.node("BinaryQuantize", [x], name=name, domain=functions.DOMAIN)

    def binary_conv2d(
        self,
        x: str,
        w: Array,
        *,
        scale: Array,
        bias: Array,
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] = (0, 0, 0, 0),
        dilations: Sequence[int] = (1, 1),
        group: int = 1,
        pad_value: float = 0.0,
        name: str = "",
    ) -> str:
        """Binary convolution: y[k] = scale[k] * Σ x·w + bias[k].

        Args:
            x: Value name, [N, C, H, W]; ±1 from `binary_quantize`, or real.
            w: ±1 weights [K, R, S, C/group].
            scale: Per output channel [K]; folded in float64 by the caller, rounded here.
            bias: Per output channel [K].
            strides: Rows, columns.
            pads: Top, left, bottom, right.
            dilations: Rows, columns.
            group: Convolution groups.
            pad_value: What padded taps hold: 0, +1 or -1.
            name: Node name.
        """
        name = name or self._fresh("binaryconv2d")
        inputs = [
            x,
            self.constant(bits.pack_bytes(w), f"{name}.w_packed"),
            self.constant(np.asarray(scale, np.float32), f"{name}.scale"),
            self.constant(np.asarray(bias, np.float32), f"{name}.bias"),
        ]
        return self.node(
            "BinaryConv2d",
            inputs,
            name=name,
            domain=functions.DOMAIN,
            strides=list(strides),
            pads=list(pads),
            dilations=list(dilations),
            group=group,
            in_channels=[w.shape[3]],
            pad_value=float(pad_value),
        )

    def finish(
        self, outputs: Sequence[str], *, metadata: dict[str, str] | None = None
    ) -> onnx.ModelProto:
        """The finished, checked model with inferred shapes.

        Args:
            outputs: Value names that the model returns.
            metadata: Key-value strings kept in the file, such as `labels`.
        """
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            [onnx.ValueInfoProto(name=name) for name in outputs],
            self._initializers,
        )
        opsets = [
            helper.make_opsetid("", functions.OPSET),
            helper.make_opsetid(functions.DOMAIN, functions.VERSION),
        ]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=functions.IR_VERSION, producer_name="binas"
        )
        model.functions.extend(functions.functions())
        if metadata:
            helper.set_model_props(model, metadata)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


@dataclass(frozen=True, slots=True)
class BinaryModel:
    """A model that keeps the contract.

    Attributes:
        name: File stem or graph name, for people.
        proto: The model, shapes inferred, bodies of `ai.binas` attached.
        digest: Of the serialised file.
        original: What the file says before recognition, as onnxruntime runs it.
        reasons: Layer → why it, or its activations, stay float, where recognition found out.
        notes: Layer → what is said of a layer that became binary.
    """

    name: str
    proto: onnx.ModelProto
    digest: str
    original: onnx.ModelProto
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What the caller provides."""
        weights = {tensor.name for tensor in self.proto.graph.initializer}
        return tuple(_port(v) for v in self.proto.graph.input if v.name not in weights)

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What the caller gets."""
        return tuple(_port(value) for value in self.proto.graph.output)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names from the file's metadata `labels`, one per line; empty without."""
        found = [p.value for p in self.proto.metadata_props if p.key == "labels"]
        return tuple(found[0].splitlines()) if found else ()

    @property
    def sources(self) -> dict[str, str]:
        """Digests of what the model was made from, from its metadata: `table_digest` → `table`."""
        return {
            prop.key.removesuffix(SOURCE_SUFFIX): prop.value
            for prop in self.proto.metadata_props
            if prop.key.endswith(SOURCE_SUFFIX)
        }

    @property
    def normalisation(self) -> Normalisation | None:
        """How pixels become numbers, from the file's metadata `normalisation`; None without."""
        found = [p.value for p in self.proto.metadata_props if p.key == "normalisation"]
        if not found:
            return None
        known = record.loads(Normalisation, found[0], where=f"{self.name}: normalisation")
        numbers = (*known.mean, *known.std)
        if len(known.mean) != len(known.std) or not np.isfinite(numbers).all() or 0 in known.std:
            raise CompileError(
                f"{self.name}: normalisation by mean {list(known.mean)} and std {list(known.std)}",
                hint="give as many of each as the image has channels, no std of 0",
            )
        return known

    def described(
        self, *, labels: Sequence[str] = (), normalisation: Normalisation | None = None
    ) -> BinaryModel:
        """The model with labels or a normalisation of the caller's in place of its own."""
        props = {p.key: p.value for p in self.proto.metadata_props}
        if labels:
            props["labels"] = "\n".join(labels)
        if normalisation is not None:
            props["normalisation"] = record.dumps(normalisation)
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        helper.set_model_props(proto, props)
        return replace(self, proto=proto)

    @staticmethod
    def load(path: Path) -> BinaryModel:
        """Read and check a file.

        Raises:
            UsageError: The file is missing or not ONNX.
            CompileError: It breaks the contract.
        """
        data = record.read_bytes(path, MAX_MODEL_BYTES)
        return BinaryModel.parse(data, name=path.stem, where=str(path), folder=path.parent)

    @staticmethod
    def of(proto: onnx.ModelProto, name: str) -> BinaryModel:
        """Check a model in memory."""
        return BinaryModel.parse(proto.SerializeToString(deterministic=True), name, where=name)

    @staticmethod
    def parse(data: bytes, name: str, *, where: str, folder: Path | None = None) -> BinaryModel:
        """Check a serialised model; `folder` is where weights may lie beside it."""
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(data)
        except Exception:  # protobuf's DecodeError lives in a private module
            raise UsageError(f"{where} is not an ONNX file", hint="give a .onnx model") from None
        if not proto.graph.node:
            raise UsageError(f"{where} holds no graph", hint="give a .onnx model")
        checks.check_header(proto, where)
        beside = load_external(proto, folder, where, MAX_MODEL_BYTES)
        proto = foreign.inline(proto, where)  # the bodies of `ai.binas` are ours, not the file's
        proto = checks.checked(proto, where)
        checks.check_tensors(proto, where)
        if fold_shapes(proto):
            proto = checks.checked(proto, where)
        checks.name_nodes(proto)
        check_windows(proto, where)  # before recognition, which runs layers to be sure of them
        original = onnx.ModelProto()
        original.CopyFrom(proto)
        found = recognise(proto)
        proto = checks.checked(proto, where)
        checks.name_nodes(proto)
        checks.check_names(proto, where)
        digest = record.digest_bytes(data + beside)
        return BinaryModel(name, proto, digest, original, found.reasons, found.notes)


def _port(value: onnx.ValueInfoProto) -> Port:
    dims = value.type.tensor_type.shape.dim
    return Port(name=value.name, shape=tuple(dim.dim_value for dim in dims))
