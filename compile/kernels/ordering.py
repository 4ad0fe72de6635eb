"""The order of instructions, where LLVM's own is worse: by empty pieces of assembler, at no cost.

LLVM's scheduler knows how long a result takes, but not that a CPU which waits for each operand also
finishes in order: whatever stands behind a long instruction waits for it. `gated` keeps kinds of
instructions apart: its assembler returns its first operand, and LLVM believes that it needs the
others. A CPU that reorders still gives each instruction a unit as it comes in: what is `pinned` is
computed where it stands in the kernel, after what was pinned before it; what is `held_back`, after
what was stored before it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx.script.builder import ir as builder

from binas.compile.kernels import vector as v


def in_turn(rounds: Sequence[Iterator[None]]) -> None:
    """Emit rounds of up to six stages, each some stages behind the one before it.

    A stage of a round needs what its last stage computes; there is always another's in between.
    """
    nobody: Iterator[None] = iter(())
    padded = [*rounds, nobody, nobody]
    for place, now in enumerate(padded):
        last = padded[place - 1] if place >= 1 else nobody
        first = padded[place - 2] if place >= 2 else nobody
        for one in (now, first, now, last, now, first):
            next(one, None)


def bound(x: Any) -> Any:
    """A value that is computed here, and need not be kept in a register that changes."""
    return builder.Bind(x)


def gated(values: Sequence[v.Register], done: Sequence[v.Register]) -> None:
    """Let nobody use `values` before all of `done` are computed; these may contain all those."""
    if not values or not done:
        return
    first, *rest = values
    # Nobody else may still need a register that waits, or it is copied: the first waits for all,
    # the others for the first.
    for one in done:
        if one is not first:
            first.set(_after(first, one))
    for register in rest:
        register.set(_after(register, first))


def hidden(x: Any) -> Any:
    """An int32 of which LLVM does not know what it is made of; to be kept in a register."""
    return tirx.call_pure_extern("int32", "binas_hidden", x)


@contextmanager
def imported() -> Iterator[None]:
    """A function in which `gated` and `hidden` are called."""
    with builder.attr(v.const(0), "pragma_import_llvm", _IMPORTED):
        yield


@contextmanager
def pins() -> Iterator[None]:
    """A function in which `pinned` and `held_back` are called, for x86."""
    with builder.attr(v.const(0), "pragma_import_llvm", _PINS):
        yield


def pinned(octets: Any, n: int) -> v.Register:
    """`n` bytes that are computed here, in a register."""
    name = f"binas_pin{n}"
    return v.Register("uint8", n, tirx.call_extern(v.lanes("uint8", n), name, octets))


def held_back(x: v.Register) -> None:
    """Nothing is computed of a register of 16, 32 or 64 bytes before what is stored before this."""
    octets = x.n * (tvm.DataType(x.dtype).bits // 8)
    dtype = v.lanes("uint8", octets)
    held = tirx.call_extern(dtype, f"binas_hold{octets}", v.reinterpret(dtype, x.get()))
    x.set(v.reinterpret(v.lanes(x.dtype, x.n), held))


def _after(x: v.Register, y: v.Register) -> Any:
    x32, y32 = (v.reinterpret("int32x4", one.get()) for one in (x, y))
    found = tirx.call_pure_extern("int32x4", "binas_after", x32, y32)
    return v.reinterpret(v.lanes(x.dtype, x.n), found)


_IMPORTED = """
define <4 x i32> @binas_after(<4 x i32> %x, <4 x i32> %y) {
  %z = call <4 x i32> asm "", "=w,0,w"(<4 x i32> %x, <4 x i32> %y)
  ret <4 x i32> %z
}
define i32 @binas_hidden(i32 %x) {
  %y = call i32 asm "", "=r,0"(i32 %x)
  ret i32 %y
}
"""

_PINS = "\n".join(
    f"""
define <{n} x i8> @binas_pin{n}(<{n} x i8> %x) {{
  %y = call <{n} x i8> asm sideeffect "", "=x,0"(<{n} x i8> %x)
  ret <{n} x i8> %y
}}
define <{n} x i8> @binas_hold{n}(<{n} x i8> %x) {{
  %y = call <{n} x i8> asm sideeffect "", "=x,0,~{{memory}}"(<{n} x i8> %x)
  ret <{n} x i8> %y
}}
"""
    for n in (16, 32, 64)
)
