"""A stack on which no vector lies across two lines of cache.

LLVM spills vectors where the caller's stack happens to be, aligned to 16 bytes. Of 64 bytes, three
reloads in four then read two lines, and how fast a kernel is depends on who calls it. For an object
that asks for it LLVM aligns the frame, so an empty piece of assembler is shown one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx
from tvm.tirx.script.builder import ir as builder

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v

_ABI_BITS = 128  # what every caller aligns the stack to


@contextmanager
def aligned_stack(isa: Isa) -> Iterator[None]:
    """A function whose frame is aligned to a line of cache, if its vectors need that."""
    if isa.vector_bits <= _ABI_BITS:
        yield
        return
    with builder.attr(v.const(0), "pragma_import_llvm", _IMPORTED):
        builder.evaluate(tirx.call_extern("int32", "binas_align_frame"))
        yield


_IMPORTED = """
define i32 @binas_align_frame() {
  %line = alloca [64 x i8], align 64
  call void asm sideeffect "", "r"(ptr %line)
  ret i32 0
}
"""
