"""The fused plan as a Relax program, which TVM itself builds and runs: `--emit relax`.

    main(inputs..., weights) -> outputs

Inputs and outputs are those of the artifact, `weights` are the bytes of its member `weights.bin`.
The program calls the kernels that `--emit tir` shows, step by step as the plan has them, each with
all its units. Values are named after the plan's, parameters after the step that reads them.

    program = tvm.script.from_source(text)
    main = relax.VirtualMachine(relax.build(program, target), tvm.cpu())["main"]

The target has to be of the CPU that was compiled for (`codegen.target`): kernels use its
instructions by name.

The program allocates every value itself, with the slack behind it that the arena of an artifact has
(`memory.py`): TVM would allocate no byte more than a value takes. Kernels are called as functions
that write their arguments: an `R.call_tir` has its outputs last, where ours have the units to be
done. Each parameter is copied out of the weights whenever it is read, for what TVM builds takes no
tensor that begins inside another: the times of this program are not those of an artifact.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import tvm
from tvm import relax, tirx

from binas.compile import borders
from binas.compile.graph import Graph, Value
from binas.compile.memory import ALIGN, SLACK
from binas.compile.plan_source import Call
from binas.runtime.artifact import Manifest, Normalisation, Port

# Names that mean something in the text.
_OURS = frozenset({"I", "R", "T", "Module", "cls", "main", "weights", "metadata", "tvm"})


def module(
    functions: Mapping[str, Any], graph: Graph, calls: Sequence[Call], manifest: Manifest
) -> Any:
    """The program.

    Args:
        functions: Symbol → PrimFunc of each kernel.
        graph: The fused steps.
        calls: One per step.
        manifest: Of the artifact.

    Returns:
        An IRModule of `functions`, of those that turn images at the borders, and of `main`.
    """
    inputs = [
        relax.Var(_named(port.name), relax.TensorType(port.shape, port.dtype))
        for port in manifest.inputs
    ]
    weights = relax.Var("weights", relax.TensorType((manifest.weights_bytes,), "uint8"))
    made = relax.BlockBuilder()
    program = _Program(made, weights, {s: made.add_func(f, s) for s, f in functions.items()})
    with made.function("main", [*inputs, weights], pure=False):
        for index, (name, given) in enumerate(zip(graph.inputs, inputs, strict=True)):
            symbol, port = f"binas_enter_{index}", manifest.inputs[index]
            program.enter(symbol, graph.values[name], given, port, manifest.normalisation)
        for call in calls:
            program.step(call, functions[call.symbol].params)
        results = [
            program.leave(f"binas_leave_{index}", graph.values[name], manifest.outputs[index])
            for index, name in enumerate(graph.outputs)
        ]
        made.emit_func_output(results[0] if len(results) == 1 else relax.Tuple(results))
    return made.get()


class _Program:
    """The body of `main` under construction."""

    def __init__(self, made: Any, weights: Any, functions: dict[str, Any]) -> None:
        self._made, self._weights, self._functions = made, weights, functions
        self._tensors: dict[tuple[str, str], Any] = {}

    def enter(
        self,
        symbol: str,
        value: Value,
        given: Any,
        port: Port,
        normalisation: Normalisation | None,
    ) -> None:
        """An input becomes a value: floats, channels last."""
        size, C = prod(port.shape), value.shape[3]
        if port.dtype == "uint8":
            assert normalisation is not None, "bytes that mean nothing"  # noqa: S101
            function = borders.normalised(symbol, value.shape, normalisation)
        else:
            function = _turned(symbol, value, 1 if port.channels_last else C)
        flat = self._view(given, 0, [size], port.dtype, f"{port.name}_flat")
        self._call(self._added(symbol, function), [flat, self._place(value.name, size, "float32")])

    def leave(self, symbol: str, value: Value, port: Port) -> Any:
        """An output as the caller gets it."""
        size, (_, H, W, _) = prod(port.shape), value.shape
        function = _turned(symbol, value, 1 if port.channels_last else H * W)
        flat = self._allocate(f"{port.name}_flat", size, "float32")
        self._call(self._added(symbol, function), [self._read(value.name, size, "float32"), flat])
        return self._view(flat, 0, port.shape, "float32", port.name)

    def step(self, call: Call, parameters: Sequence[Any]) -> None:
        """A kernel does all its units."""
        node = call.node
        wanted = [(prod(map(int, p.ty.shape)), str(p.ty.dtype), p.name) for p in parameters[:-2]]
        first, last = len(node.reads), len(node.reads) + len(call.weights)
        arguments = [
            self._read(name, size, dtype)
            for name, (size, dtype, _) in zip(node.reads, wanted[:first], strict=True)
        ]
        for offset, (size, dtype, name) in zip(call.weights, wanted[first:last], strict=True):
            view = self._view(self._weights, offset, [size], dtype, f"{node.name}_{name}_view")
            copy = relax.op.memory.ensure_zero_offset(view)
            arguments.append(self._emit(copy, f"{node.name}_{name}"))
        arguments += [
            self._place(name, size, dtype)
            for name, (size, dtype, _) in zip(node.writes, wanted[last:], strict=True)
        ]
        units = [tirx.IntImm("int32", 0), tirx.IntImm("int32", call.units)]
        self._call(self._functions[call.symbol], [*arguments, *units])

    def _read(self, name: str, size: int, dtype: str) -> Any:
        """A value as a kernel takes it: packed bits are words for one, bytes for another."""
        key = name, dtype
        if key not in self._tensors:
            written = next(tensor for (other, _), tensor in self._tensors.items() if other == name)
            self._tensors[key] = self._view(written, 0, [size], dtype, f"{name}_{dtype}")
        return self._tensors[key]

    def _place(self, name: str, size: int, dtype: str) -> Any:
        """Memory of a value that is about to be written."""
        self._tensors[name, dtype] = self._allocate(name, size, dtype)
        return self._tensors[name, dtype]

    def _allocate(self, name: str, size: int, dtype: str) -> Any:
        lines = -(-size * tvm.DataType(dtype).bits // 8 // ALIGN)
        room = relax.ShapeExpr([lines * ALIGN + SLACK])
        memory = relax.op.memory.alloc_storage(room, 0, "global", "uint8")
        storage = self._emit(memory, f"{name}_memory")
        tensor = relax.op.memory.alloc_tensor(storage, 0, relax.ShapeExpr([size]), dtype)
        return self._emit(tensor, name)

    def _view(self, tensor: Any, offset: int, shape: Sequence[int], dtype: str, name: str) -> Any:
        sizes = relax.ShapeExpr(list(shape))
        return self._emit(relax.op.memory.view(tensor, sizes, dtype, offset), name)

    def _added(self, symbol: str, function: Any) -> Any:
        self._functions[symbol] = self._made.add_func(function, symbol)
        return self._functions[symbol]

    def _call(self, function: Any, arguments: Sequence[Any]) -> None:
        self._emit(relax.Call(function, arguments), "done")

    def _emit(self, expression: Any, name: str) -> Any:
        return self._made.emit(expression, name_hint=_named(name))


def _turned(symbol: str, value: Value, rows: int) -> Any:
    """Each image of a value as a matrix of so many rows, turned; of one row: copied."""
    N, H, W, C = value.shape
    return borders.turned(symbol, N, rows, H * W * C // rows)


def _named(name: str) -> str:
    """A name of the plan as one of Python's; TVM tells equal ones apart by numbers."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    clear = plain[:1].isalpha() and plain not in _OURS and not keyword.iskeyword(plain)
    return plain if clear else f"v_{plain}"
