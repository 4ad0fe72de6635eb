"""Just enough of ELF64: a static executable's segments and symbols, and a file without debugging.

Linkers that drop debugging sections often drop the symbols with them, which the emulator needs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from binas.core.errors import UsageError

_PT_LOAD = 1
_SHT_SYMTAB = 2
_SHF_ALLOC = 2
_SHN_LORESERVE = 0xFF00  # from here on a symbol's section number means something else
_SYMBOL_BYTES = 24
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


def without_debug(data: bytes) -> bytes:
    """The same executable without the sections that are neither loaded nor symbols.

    Args:
        data: A little-endian ELF64 file; anything else comes back as it is.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        return data
    sections = _sections(data)
    phoff, shstrndx = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 62)[0]
    phentsize, phnum = struct.unpack_from("<HH", data, 54)
    ends = [phoff + phnum * phentsize]
    for i in range(phnum):
        offset, filesz = struct.unpack_from("<8xQ16xQ", data, phoff + i * phentsize)
        ends.append(offset + filesz)
    kept = [
        number
        for number, section in enumerate(sections)
        if number in (0, shstrndx)
        or section.flags & _SHF_ALLOC
        or section.kind == _SHT_SYMTAB
        or any(s.kind == _SHT_SYMTAB and s.link == number for s in sections)
    ]
    renumbered = {old: new for new, old in enumerate(kept)}
    body, headers = bytearray(data[: max(ends)]), bytearray()
    for number in kept:
        section = sections[number]
        header = bytearray(section.header)
        if number and not section.flags & _SHF_ALLOC:
            body += bytes(-len(body) % 8)
            content = data[section.offset : section.offset + section.size]
            if section.kind == _SHT_SYMTAB:
                content = _renumber(content, renumbered)
            struct.pack_into("<Q", header, 24, len(body))
            body += content
        struct.pack_into("<I", header, 40, renumbered.get(section.link, 0))
        headers += header
    body += bytes(-len(body) % 8)
    struct.pack_into("<Q", body, 40, len(body))
    struct.pack_into("<HH", body, 60, len(kept), renumbered[shstrndx])
    return bytes(body + headers)


class _Section(NamedTuple):
    header: bytes
    kind: int
    flags: int
    offset: int
    size: int
    link: int


def _sections(data: bytes) -> list[_Section]:
    (shoff,) = struct.unpack_from("<Q", data, 40)
    shentsize, shnum = struct.unpack_from("<HH", data, 58)
    found = []
    for i in range(shnum):
        header = data[shoff + i * shentsize : shoff + (i + 1) * shentsize]
        kind, flags, offset, size, link = struct.unpack_from("<4xIQ8xQQI", header)
        found.append(_Section(header, kind, flags, offset, size, link))
    return found


def _renumber(table: bytes, renumbered: dict[int, int]) -> bytes:
    """A symbol table whose symbols point at the kept sections; special numbers stay.

    A symbol of a section that is gone keeps no place in it: debug information holds the paths of
    its sources, so such places would depend on the folder of the compilation.
    """
    changed = bytearray(table)
    for at in range(0, len(changed), _SYMBOL_BYTES):
        (section,) = struct.unpack_from("<H", changed, at + 6)
        if section < _SHN_LORESERVE:
            struct.pack_into("<H", changed, at + 6, renumbered.get(section, 0))
            if section not in renumbered:
                changed[at + 8 : at + 24] = bytes(16)
    return bytes(changed)


def _read(data: bytes, where: str) -> Executable:
    kind, machine = struct.unpack_from("<HH", data, 16)
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phentsize, phnum, shentsize = struct.unpack_from("<HHH", data, 54)
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
    for section in _sections(data):
        if section.kind == _SHT_SYMTAB:
            (strings,) = struct.unpack_from("<Q", data, shoff + section.link * shentsize + 24)
            symbols |= _symbols(data[section.offset : section.offset + section.size], data, strings)
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
