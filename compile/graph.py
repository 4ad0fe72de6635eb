"""The network between the ONNX file and the kernels: fused steps over NHWC values.

A `Node` is an accumulator (a convolution, a pool, a copy) followed by an epilogue of `Stage`s in
registers and up to two outputs: the float value and the packed sign of it. Passes rewrite the list
of nodes; nothing here knows ONNX or TVM. Nodes stand in an order in which they can run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from binas.core import bits
from binas.core.layer import READS_BITS, Layer, Op
from binas.core.layer import Stage as StageName

Doubles = NDArray[np.float64]
Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = scale[k] * x + bias[k]; kept in float64 until a kernel's parameters are written."""

    scale: Doubles
    bias: Doubles
    name: StageName = "affine"


@dataclass(frozen=True, slots=True, eq=False)
class Relu:
    """y = max(x, 0)."""

    name: StageName = "relu"


@dataclass(frozen=True, slots=True, eq=False)
class PRelu:
    """y = x where x >= 0, else slope[k] * x."""

    slope: Doubles
    name: StageName = "prelu"


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """y = x + another value of the same shape."""

    value: str
    name: StageName = "add"


@dataclass(frozen=True, slots=True, eq=False)
class Sign:
    """y = +1 where x >= 0, else -1."""

    name: StageName = "sign"


Stage = Affine | Relu | PRelu | Add | Sign


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """A float value of the ONNX model after some stages, no sum among them."""

    value: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor between nodes: N, H, W, C and how it is stored.

    Attributes:
        name: The ONNX name of the value.
        shape: N, H, W, C.
        dtype: How it is stored.
        channels_last: Whether the axes of the ONNX value are N, H, W, C, too.
        sign_of: Of what a packed value is the sign that the ONNX model does not have.
    """

    name: str
    shape: Shape
    dtype: Literal["float32", "bits"]
    channels_last: bool = False
    sign_of: Staged | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes in memory, without padding."""
        N, H, W, C = self.shape
        return 4 * N * H * W * (C if self.dtype == "float32" else bits.words(C))


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One step, see the module's docstring; field meanings as in `core.layer.Layer`.

    Attributes:
        name: Name of the main ONNX node.
        sources: Names of all ONNX nodes it stands for.
        op: Kernel family.
        inputs: Operand values; the values of "add" stages are not repeated here.
        in_shape: N, H, W, C of the operand.
        out_channels: K.
        weights: [K, R, S, C/groups]; ±1 where weight_bits is 1. Of a constant: [N, H, W, C]. Of
            pool_bits: [K], -1 where the minimum is taken and 1 elsewhere.
        stages: The epilogue.
        float_out: Name of the float value it writes, if any.
        bits_out: Name of the packed value it writes, if any.
        bits_affine: An affine for the bits alone, before their sign.
        in_affine: An affine of the operand's C channels, first of all; what pads it stays 0.
    """

    name: str
    sources: tuple[str, ...]
    op: Op
    inputs: tuple[str, ...]
    in_shape: Shape
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0
    pads_count: bool = False
    parts: tuple[int, ...] = ()
    weights: NDArray[Any] | None = None
    weight_bits: int = 0
    stages: tuple[Stage, ...] = ()
    float_out: str | None = None
    bits_out: str | None = None
    bits_affine: Affine | None = None
    in_affine: Affine | None = None

    @cached_property
    def layer(self) -> Layer:
        """What of this node decides its latency."""
        return Layer(
            op=self.op,
            in_shape=self.in_shape,
            out_channels=self.out_channels,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            pad_value=self.pad_value,
            pads_count=self.pads_count,
            parts=self.parts,
            in_bits=1 if self.op in READS_BITS else 32,
            weight_bits=self.weight_bits,
            stages=tuple(stage.name for stage in self.stages),
            float_out=self.float_out is not None,
            bits_out=self.bits_out is not None,
            bits_affine=self.bits_affine is not None,
            in_affine=self.in_affine is not None,
        )

    def can_pack(self, value: str) -> bool:
        """Whether the packed sign of a value can leave together with it, or in its place."""
        return self.float_out == value and self.bits_out is None

    @property
    def added(self) -> tuple[str, ...]:
        """Values the epilogue reads, in order."""
        return tuple(stage.value for stage in self.stages if isinstance(stage, Add))

    @property
    def reads(self) -> tuple[str, ...]:
        """All values read: operands first, then the epilogue's."""
        return self.inputs + self.added

    @property
    def writes(self) -> tuple[str, ...]:
        """Values written: float first, then bits."""
        return tuple(name for name in (self.float_out, self.bits_out) if name is not None)


@dataclass(slots=True)
class Graph:
    """A network.

    Attributes:
        inputs: Float values that the caller provides.
        outputs: Float values that the caller gets.
        nodes: Steps in an order in which they can run.
        values: Every value by name.
        kinds: Per weighted ONNX node, what became of it and why, in file order.
        outputs_last: Positions of the outputs whose axes the caller gets as N, H, W, C.
    """

    inputs: list[str]
    outputs: list[str]
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    kinds: dict[str, tuple[Literal["binary", "weight-binary", "float"], str]] = field(
        default_factory=dict
    )
    outputs_last: set[int] = field(default_factory=set)

    def consumers(self) -> dict[str, list[Node]]:
        """Nodes that read each value; a node that reads it twice stands twice."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in node.reads:
                found[name].append(node)
        return found

    def producers(self) -> dict[str, int]:
        """Position of the node that writes each value; model inputs are written at -1."""
        found = dict.fromkeys(self.inputs, -1)
        for position, node in enumerate(self.nodes):
            found.update(dict.fromkeys(node.writes, position))
        return found

    def packed(self, like: str, sign_of: Staged) -> str:
        """Declare bits that the ONNX model has not, of a value's shape; returns their name."""
        value, name = self.values[like], f"{like}#bits"
        while name in self.values:
            name += "+"
        self.values[name] = replace(value, name=name, dtype="bits", sign_of=sign_of)
        return name

    def swap(self, old: Node, new: Node) -> None:
        """Put `new` in the place of `old`."""
        self.nodes[self.nodes.index(old)] = new

    def check(self) -> None:
        """Raise AssertionError if the graph is not well formed; run after every pass."""
        written = set(self.inputs)
        for node in self.nodes:
            assert node.writes, f"{node.name} writes nothing"  # noqa: S101
            for name in node.reads:
                assert name in written, f"{node.name} reads {name} before it is written"  # noqa: S101
            wants_bits = node.op in READS_BITS
            for name in node.inputs:
                assert (self.values[name].dtype == "bits") == wants_bits, f"{node.name}: {name}"  # noqa: S101
            for name in node.writes:
                assert name not in written, f"{name} is written twice"  # noqa: S101
                assert self.values[name].shape == node.layer.out_shape, f"{name}: shape"  # noqa: S101
            written.update(node.writes)
        assert set(self.outputs) <= written, "an output is never written"  # noqa: S101


def sliced(layer: Layer) -> bool:
    """Whether a binary convolution is depthwise and counted in bit slices, a word at a time.

    Its sums have to fit a byte, and the slices of a pixel a small array.
    """
    R, S = layer.kernel
    small = R * S <= 127 and layer.out_channels <= 127 * bits.WORD_BITS
    return layer.op == "binary_conv" and layer.depthwise and small


def renamed(node: Node, **changes: Any) -> Node:
    """A copy of a node with some fields changed."""
    return replace(node, **changes)


def fold(first: Affine, then: Affine) -> Affine:
    """The affine that does `first`, then `then`."""
    return Affine(then.scale * first.scale, then.scale * first.bias + then.bias)


def folded(stages: tuple[Stage, ...]) -> Iterator[Stage]:
    """The same epilogue with neighbouring affines made one."""
    pending: Affine | None = None
    for stage in stages:
        if isinstance(stage, Affine):
            pending = stage if pending is None else fold(pending, stage)
            continue
        if pending is not None:
            yield pending
            pending = None
        yield stage
    if pending is not None:
        yield pending
