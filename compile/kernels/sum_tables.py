"""Tables of signed sums in registers: their entries, and which one the bits of weights say.

A register of sixteen lanes holds all sums of four activations, one of eight those in which the last
is added: the others are these with every sign turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx
from tvm.tirx.script.builder import ir as builder

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v

GROUP = 4  # activations of a table
HALF = 8  # their signed sums in which the last has the same sign


def halved(isa: Isa) -> bool:
    """Whether a register holds half a table, and signs are put on what is looked up."""
    return isa.lanes == HALF


def encoded(words: NDArray[np.int32], isa: Isa) -> NDArray[np.int32]:
    """Weights of one bit as the indices of a table; of half a table: how far, and the sign.

    The other half is the same sums with every sign turned: -T[~i], where the last weight is -1.
    """
    if not halved(isa):
        return words
    last = words.view(np.uint32) & np.uint32(0x88888888)
    negative = last ^ np.uint32(0x88888888)
    others = words.view(np.uint32) & np.uint32(0x77777777)
    turned = negative - (negative >> np.uint32(3))  # 8 - 1 in each nibble whose sign is turned
    return ((others ^ turned) | negative).view(np.int32)


def signs(j: int) -> Any:
    """For each entry of half a table, the sign of the table's activation `j`."""
    V = HALF
    bit = tirx.bitwise_and(
        tirx.shift_right(tirx.Ramp(v.const(0), v.const(1), V), v.splat(j, V)), v.splat(1, V)
    )
    one = partial(v.splat, n=V, dtype="float32")
    return tirx.Select(tirx.EQ(bit, v.splat(1, V)), one(1.0), one(-1.0))


def looked_up(table: Any, index: Any, V: int) -> Any:
    """The entries that the lowest bits of each lane of `index` say (vpermps): four, or three."""
    if V == HALF:
        return v.intrinsic("float32x8", "llvm.x86.avx2.permps", table, index)
    return v.intrinsic("float32x16", "llvm.x86.avx512.permvar.sf.512", table, index)


def to_line(buffer: Any, index: Any) -> Any:
    """How many floats behind an element a line of cache begins, of 64 bytes: 0 to 15."""
    address = tirx.address_of(v.load(buffer, index))
    return tirx.call_pure_extern("int32", "binas_to_line", address)


def next_index(index: Any, V: int) -> Any:
    """Indices shifted to their next nibble, of which LLVM does not know what they were before.

    It would shift each from the first ones, and keep those as well, in registers that sums need.
    """
    return tirx.call_pure_extern(f"int32x{V}", f"binas_next_nibble{V}", index)


def loaded(buffer: Any, place: Any) -> Any:
    """A half table, loaded again for each vector, and before it is looked into.

    LLVM would load it once and spill sums; Zen 3 takes twice as long to look up in memory. (Where
    addresses of many elements are taken, TVM needs half a minute to find what region they span.)
    """
    first = tirx.address_of(v.load(buffer, 0))
    return tirx.call_extern(v.lanes("float32", HALF), "binas_half_table", first, place)


@contextmanager
def imported(isa: Isa) -> Iterator[None]:
    """A function in which sums are looked up, or `to_line` called."""
    text = _LINE + _LOOKED_UP if isa.looks_up else _LINE
    with builder.attr(v.const(0), "pragma_import_llvm", text):
        yield


_SHIFTS = "".join(
    f"""
define <{V} x i32> @binas_next_nibble{V}(<{V} x i32> %x) {{
  %y = lshr <{V} x i32> %x, <{", ".join([f"i32 {GROUP}"] * V)}>
  %z = call <{V} x i32> asm "", "={kind},0"(<{V} x i32> %y)
  ret <{V} x i32> %z
}}
"""
    for V, kind in ((8, "x"), (16, "v"))
)
_LOOKED_UP = (
    _SHIFTS
    + """
define <8 x float> @binas_half_table(ptr %x, i32 %place) {
  %wide = sext i32 %place to i64
  %at = getelementptr inbounds float, ptr %x, i64 %wide
  %y = call <8 x float> asm sideeffect "vmovups $1, $0", "=x,*m"(ptr elementtype(<8 x float>) %at)
  ret <8 x float> %y
}
"""
)
_LINE = """
define i32 @binas_to_line(ptr %x) {
  %address = ptrtoint ptr %x to i64
  %below = sub i64 0, %address
  %bytes = and i64 %below, 63
  %floats = lshr i64 %bytes, 2
  %found = trunc i64 %floats to i32
  ret i32 %found
}
"""
