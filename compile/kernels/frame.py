"""What every kernel shares: C signature, parameters, and which part of the work a call does.

A kernel is `int32 f(reads..., parameters..., writes..., int32 begin, int32 end)`; it does units
[begin, end) of its `units`. Units are independent, so any split over threads gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as builder

from binas.compile.kernels import vector as v
from binas.core import bits
from binas.core.layer import READS_BITS, Layer


class Parameter(NamedTuple):
    """A constant array that a kernel reads, such as packed weights or thresholds."""

    name: str
    size: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """A generated function.

    Attributes:
        function: The PrimFunc; buffers flat, no TVM calling convention yet.
        units: How many independent units it does.
        tile: Family, ISA and tile for people.
        sweeps: The units are so many equal runs down the output rows, and threads share each run:
            two that did some of the channels each would write into the same cache lines.
    """

    function: Any
    units: int
    tile: str
    sweeps: int = 1


@dataclass(slots=True)
class Frame:
    """The buffers of a kernel under construction."""

    layer: Layer
    operands: list[Any] = field(default_factory=list)
    added: list[Any] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    float_out: Any = None
    bits_out: Any = None
    bits_unit: int = bits.WORD_BITS
    begin: Any = None
    end: Any = None
    function: Any = None

    @property
    def zero(self) -> Any:
        """0, of which LLVM does not know that it is: `begin` is never negative."""
        return tirx.shift_right(self.begin, v.const(31))

    @contextmanager
    def units(self, start: int, stop: int) -> Iterator[Any]:
        """A loop over the called part of units [start, stop)."""
        with v.loop(v.maximum(self.begin, start), v.minimum(self.end, stop)) as unit:
            yield unit


@contextmanager
def frame(
    symbol: str,
    layer: Layer,
    parameters: list[Parameter],
    *,
    bits_in: str = "int32",
    bits_unit: int = bits.WORD_BITS,
) -> Iterator[Frame]:
    """Open a function; after the block, `frame.function` is the PrimFunc.

    Args:
        symbol: Its name.
        layer: What it computes.
        parameters: The constant arrays it reads.
        bits_in: How packed operands are read: "int32", or "uint8" for the bytes of the words.
        bits_unit: Output bits stored at once, 32, 16 or 8; memory looks the same (little endian).
    """
    made = Frame(layer, bits_unit=bits_unit)
    dtype, per_element = "float32", 1
    if layer.op in READS_BITS:
        dtype, per_element = bits_in, 4 if bits_in == "uint8" else 1
    with IRBuilder() as ir, builder.prim_func(s_tir=True):
        builder.func_name(symbol)
        for i, size in enumerate(operand_sizes(layer)):
            made.operands.append(_buffer(f"x{i}", size * per_element, dtype))
        N, P, Q, K = layer.out_shape
        for i in range(layer.adds):
            made.added.append(_buffer(f"r{i}", N * P * Q * K, "float32"))
        for parameter in parameters:
            made.parameters[parameter.name] = _buffer(*parameter)
        if layer.float_out:
            made.float_out = _buffer("y", N * P * Q * K, "float32")
        if layer.bits_out:
            size = N * P * Q * bits.words(K) * (bits.WORD_BITS // bits_unit)
            made.bits_out = _buffer("b", size, f"int{bits_unit}")
        made.begin = builder.arg("begin", builder.int32())
        made.end = builder.arg("end", builder.int32())
        builder.func_attr({"tirx.noalias": True, "global_symbol": symbol})
        yield made
    made.function = ir.get()


def operand_sizes(layer: Layer) -> list[int]:
    """Elements of each operand buffer (32-bit words or floats)."""
    N, H, W, C = layer.in_shape
    if layer.op == "constant":
        return []
    if layer.op == "concat_bits":
        return [N * H * W * bits.words(part) for part in layer.parts]
    if layer.op in READS_BITS:
        return [N * H * W * bits.words(C)]
    if layer.op == "concat" and len(layer.parts) > 1:
        return [N * H * W * part for part in layer.parts]
    return [N * H * W * C]


def _buffer(name: str, size: int, dtype: str) -> Any:
    return builder.arg(name, builder.buffer((max(size, 1),), dtype))


def padded(values: NDArray[Any], size: int, dtype: Any = np.float32) -> NDArray[Any]:
    """A per-channel array with zeros up to `size`, so that whole vectors can be loaded."""
    out = np.zeros(size, dtype=dtype)
    out[: values.size] = values
    return out


def floordiv(x: Any, y: int) -> Any:
    """Floor division of an index."""
    return x if y == 1 else tirx.floordiv(x, v.const(y))


def floormod(x: Any, y: int) -> Any:
    """Remainder of an index."""
    return v.const(0) if y == 1 else tirx.floormod(x, v.const(y))
