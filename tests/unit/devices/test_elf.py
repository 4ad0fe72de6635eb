"""Executables: what the emulator needs stays when the debugging sections go."""

from __future__ import annotations

import struct
from pathlib import Path

from binas.devices import elf
from binas.devices.emulator import UnicornModel

TINY = (Path(__file__).parents[2] / "data" / "tiny_aarch64.elf").read_bytes()


def bloated(payload: int) -> bytes:
    """The tiny executable with one more section that is neither loaded nor symbols."""
    (shoff,) = struct.unpack_from("<Q", TINY, 40)
    shentsize, shnum = struct.unpack_from("<HH", TINY, 58)
    headers = TINY[shoff : shoff + shentsize * shnum]
    start = len(TINY)
    extra = struct.pack("<IIQQQQIIQQ", 0, 1, 0, 0, start, payload, 0, 0, 1, 0)
    made = bytearray(TINY + bytes(payload) + headers + extra)
    struct.pack_into("<Q", made, 40, start + payload)
    struct.pack_into("<H", made, 60, shnum + 1)
    return bytes(made)


def test_debugging_goes_and_symbols_stay() -> None:
    fat = bloated(100_000)
    lean = elf.without_debug(fat)
    assert len(fat) > 100_000 and len(lean) <= len(TINY) + 8
    before, after = elf.read(fat, where="fat"), elf.read(lean, where="lean")
    assert {s for s in before.symbols if s.startswith("binas_")} <= set(after.symbols)
    assert all(after.symbols[name] == before.symbols[name] for name in after.symbols)
    assert after.segments[1:] == before.segments[1:]  # the first holds the file's header


def test_a_lean_executable_still_runs() -> None:
    model = UnicornModel(elf.without_debug(bloated(1000)), bytes(16), where="lean")
    assert model.run([bytes(16)], [16]) == [struct.pack("<4f", 1, 1, 1, 1)]


def test_lean_twice_is_lean_once() -> None:
    once = elf.without_debug(bloated(1000))
    assert elf.without_debug(once) == once


def test_what_is_no_64_bit_elf_comes_back_as_it_is() -> None:
    for data in (b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + TINY[6:]):
        assert elf.without_debug(data) == data
