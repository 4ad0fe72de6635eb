"""A thin layer over TVM's IR builder: Python loops unroll, `with loop(...)` loops in the kernel.

Every vector register is a tiny buffer that LLVM promotes; a vector is an expression of dtype
`float32x16` and so on. All buffers are flat. Nothing here knows what is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx.script.builder import ir as builder

Expr = Any  # a TIR expression; TVM ships no types


def lanes(dtype: str, n: int) -> str:
    """The dtype of `n` lanes."""
    return dtype if n == 1 else f"{dtype}x{n}"


def const(value: float, dtype: str = "int32") -> Expr:
    """A scalar constant."""
    return tirx.const(value, dtype)


def splat(value: Expr, n: int, dtype: str = "int32") -> Expr:
    """A scalar (a number, or an expression) in every lane."""
    scalar = value if isinstance(value, tvm.ir.Expr) else const(value, dtype)
    return scalar if n == 1 else tirx.Broadcast(scalar, n)


def load(buffer: Expr, index: Expr, n: int = 1) -> Expr:
    """`n` neighbouring elements."""
    return tirx.BufferLoad(buffer, [_at(index, n)])


def store(buffer: Expr, index: Expr, value: Expr, n: int = 1) -> None:
    """Store `n` neighbouring elements."""
    builder.buffer_store(buffer, value, [_at(index, n)])


def _at(index: Expr, n: int) -> Expr:
    index = index if isinstance(index, tvm.ir.Expr) else const(index)
    return index if n == 1 else tirx.Ramp(index, 1, n)


@contextmanager
def loop(start: Expr, stop: Expr) -> Iterator[Expr]:
    """A serial loop of the kernel over [start, stop).

    The loop itself starts at 0: TVM 0.27's CanonicalizeLoop forgets to shift the bounds of inner
    loops when it does that (`tests/integration/test_codegen.py` shows it).
    """
    with builder.serial(0, stop - start) as index:
        yield index if isinstance(start, int) and start == 0 else index + start


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """What is inside happens if the condition holds."""
    with builder.If(condition), builder.Then():
        yield


def array(dtype: str, n: int) -> Expr:
    """An array on the stack: 112 KiB of them at most, since threads have little (musl: 128)."""
    return builder.alloc_buffer((n,), dtype, scope="global")


class Register:
    """One vector register: a buffer in scope "global" becomes an alloca, then SSA."""

    def __init__(self, dtype: str, n: int, value: Expr = None) -> None:
        """Allocate, and set if a value is given."""
        self.dtype, self.n = dtype, n
        self.buffer = array(dtype, n)
        if value is not None:
            self.set(value)

    def get(self) -> Expr:
        """The value."""
        return load(self.buffer, 0, self.n)

    def set(self, value: Expr) -> None:
        """Change the value."""
        store(self.buffer, 0, value, self.n)

    def add(self, value: Expr) -> None:
        """Add to the value."""
        self.set(self.get() + value)


def intrinsic(dtype: str, name: str, *args: Expr) -> Expr:
    """A pure LLVM intrinsic."""
    return tirx.call_llvm_pure_intrin(dtype, name, *args)


def fma(x: Expr, y: Expr, z: Expr, n: int, *, fused: bool) -> Expr:
    """Multiply and add, x * y + z: in one rounding where the CPU can (`Isa.fused`)."""
    if not fused:
        return x * y + z
    return intrinsic(lanes("float32", n), "llvm.fma", x, y, z)


def reinterpret(dtype: str, x: Expr) -> Expr:
    """The same bits as another dtype."""
    return tirx.reinterpret(dtype, x)


def low(x: Expr, dtype: str) -> Expr:
    """The lower half of a vector."""
    return tirx.call_intrin(dtype, tvm.ir.Op.get("tirx.vectorlow"), x)


def high(x: Expr, dtype: str) -> Expr:
    """The upper half of a vector."""
    return tirx.call_intrin(dtype, tvm.ir.Op.get("tirx.vectorhigh"), x)


def minimum(x: Expr, y: Expr) -> Expr:
    """The smaller; folded when both are Python numbers."""
    return min(x, y) if isinstance(x, int) and isinstance(y, int) else tirx.Min(*_exprs(x, y))


def maximum(x: Expr, y: Expr) -> Expr:
    """The larger; folded when both are Python numbers."""
    return max(x, y) if isinstance(x, int) and isinstance(y, int) else tirx.Max(*_exprs(x, y))


def _exprs(*values: Expr) -> tuple[Expr, ...]:
    return tuple(v if isinstance(v, tvm.ir.Expr) else const(v) for v in values)
