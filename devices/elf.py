"""Just enough of ELF64 to load a static executable: its segments and its symbols."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from binas.core.errors import UsageError

_PT_LOAD = 1
_SHT_SYMTAB = 2
_MACHINES = {62: "x86_64", 183: "aarch64", 40: "armv7"}


class Segment(NamedTuple):
    """What is to be in memory: `data` at `address`, then zeros up to `size_bytes`."""

    address: int
    size_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """A static executable.

    Attributes:
        arch: Which machine it is for.
        segments: What to load.
        symbols: Address of every named symbol that is defined in it.
    """

    arch: str
    segments: tuple[Segment, ...]
    symbols: dict[str, int]


def read(data: bytes, *, where: str) -> Executable:
    """Read a little-endian ELF64 executable.

    Args:
        data: The file.
        where: Its name, for messages.

    Raises:
        UsageError: Not such a file, damaged, or not static.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise UsageError(f"{where} is no little-endian 64-bit ELF file")
    try:
        return _read(data, where)
    except (struct.error, ValueError) as error:
        raise UsageError(f"{where} is a damaged ELF file: {error}") from None


def _read(data: bytes, where: str) -> Executable:
    kind, machine = struct.unpack_from("<HH", data, 16)
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phentsize, phnum, shentsize, shnum = struct.unpack_from("<HHHH", data, 54)
    if kind != 2:  # a position-independent one would have to be relocated first
        raise UsageError(f"{where} is ELF type {kind}, expected 2 (fixed-address executable)")
    segments: list[Segment] = []
    for i in range(phnum):
        p_type, _, offset, address, _, filesz, memsz = struct.unpack_from(
            "<IIQQQQQ", data, phoff + i * phentsize
        )
        if p_type == _PT_LOAD:
            segments.append(Segment(address, memsz, data[offset : offset + filesz]))
    symbols: dict[str, int] = {}
    for i in range(shnum):
        _, sh_type, _, _, offset, size, link = struct.unpack_from(
            "<IIQQQQI", data, shoff + i * shentsize
        )
        if sh_type == _SHT_SYMTAB:
            (strings,) = struct.unpack_from("<Q", data, shoff + link * shentsize + 24)
            symbols |= _symbols(data[offset : offset + size], data, strings)
    return Executable(
        arch=_MACHINES.get(machine, f"machine {machine}"),
        segments=tuple(segments),
        symbols=symbols,
    )


def _symbols(table: bytes, data: bytes, strings: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, _, _, section, value, _ in struct.iter_unpack("<IBBHQQ", table):
        if name and section:
            start = strings + name
            found[data[start : data.index(b"\0", start)].decode(errors="replace")] = value
    return found
