"""Bochs 2.7 refuses gathers and scatters whose index is one of zmm16 to zmm31, which no CPU does.

Where code has such a one, it jumps aside instead; there a low register holds the index for one
instruction. All else runs as it was compiled.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_LONGEST = 64  # code of one instruction, and of what surrounds it
_REGISTER_BYTES = 64


def worked_around(code: bytes, address: int, aside: int) -> tuple[bytes, bytes]:
    """Machine code without gathers that Bochs refuses, and what it jumps to.

    Args:
        code: Machine code.
        address: Where it lies.
        aside: Where the second part will lie; it is executed and written.
    """
    changed, extra = bytearray(code), bytearray()
    for at, size in _refused(code):
        here = aside + len(extra)
        changed[at : at + size] = _jump(address + at, here).ljust(size, b"\x90")
        lent = _lent(code[at : at + size], here + _LONGEST)
        extra += lent + _jump(here + len(lent), address + at + size)
        extra += bytes(-len(extra) % _LONGEST + _REGISTER_BYTES)
    return bytes(changed), bytes(extra)


def _refused(code: bytes) -> Iterator[tuple[int, int]]:
    """Where such a gather lies, and how many bytes it has."""
    at = code.find(b"\x62")
    while at >= 0:
        _, p0, p1, p2, opcode, modrm, sib = code[at : at + 7].ljust(7, b"\0")
        gathers = p0 & 0x0F == 2 and p1 & 0x7F == 0x7D and opcode & 0xFC in (0x90, 0xA0)
        if gathers and modrm & 7 == 4 and modrm < 0xC0 and not p2 & 8:
            absolute = modrm < 0x40 and sib & 7 == 5
            yield at, 7 + (1 if modrm >> 6 == 1 else 4 if modrm >> 6 == 2 or absolute else 0)
        at = code.find(b"\x62", at + 1)


def _lent(gather: bytes, saved: int) -> bytes:
    """The gather with its index in zmm0 or zmm1, which is saved before and restored after."""
    _, p0, p1, p2, opcode, modrm, sib, *rest = gather
    index = 16 | (~p0 >> 6 & 1) << 3 | sib >> 3 & 7
    target = (~p0 >> 4 & 1) << 4 | (~p0 >> 7 & 1) << 3 | modrm >> 3 & 7
    low = 1 if target == 0 else 0
    place = struct.pack("<BBI", 4 | low << 3, 0x25, saved)
    copied = bytes(
        [0x62, 0x91 | (~index >> 3 & 1) << 5, 0xFD, 0x48, 0x6F, 0xC0 | low << 3 | index & 7]
    )
    changed = bytes([0x62, p0 | 0x40, p1, p2 | 8, opcode, modrm, sib & 0xC7 | low << 3, *rest])
    store, load = (bytes([0x62, 0xF1, 0xFE, 0x48, move]) + place for move in (0x7F, 0x6F))
    return store + copied + changed + load


def _jump(here: int, there: int) -> bytes:
    return struct.pack("<Bi", 0xE9, there - here - 5)
