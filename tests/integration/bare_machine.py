"""A computer in which nothing but kernels runs: code for CPUs that are not here, emulated by Bochs.

Emulators of programs stop at AVX2; Bochs, which emulates whole computers, knows AVX-512. This one
has neither firmware nor operating system: `bare_machine.S` takes their place. It copies the disk
into memory, which was laid out here, page tables included, and makes one call after the other.
Then Bochs's debugger writes into files what is wanted of memory.

Addresses are physical ones; the page tables map each to itself, or not at all.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from binas.devices import elf, zig
from tests.integration.gather_erratum import worked_around

PAGE = 0x1000
STACK_BYTES = 0x20000  # what musl gives a thread

# What lies where, from the first byte that comes from the disk.
_MEMORY = 0x100000
_CALL, _SECTORS, _FAULT, _FAULT_TABLE, _GATES = (_MEMORY + at for at in (0, 8, 16, 48, 64))
_TABLES, _OPEN_TABLES, _OPEN_GIGABYTES = 0x101000, 0x102000, 0x103000
_STACK = 0x105000  # below it is no page
_PROGRAM = 0x200000  # behind it what calls read and write, the calls, and more page tables
_ROM, _ROM_BYTES = 0xFFFF0000, 0x10000

_ARGUMENTS = 32
_CALL_BYTES = 8 * (1 + _ARGUMENTS + 1)  # function, arguments, what it returned
_READ_BYTES = 256 * 512  # of the disk at once
_PRESENT, _WRITABLE, _HUGE = 1, 2, 0x80
_FINISHED = 0xFFFFFFFF  # where a fault's number would be

_SETTINGS = """config_interface: textconfig
display_library: term
cpu: model={model}, count=1, ips=50000000, reset_on_triple_fault=0
memory: guest={megabytes}, host={megabytes}
romimage: file=rom
vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest
ata0: enabled=1
ata0-master: type=disk, path=disk, mode=flat
magic_break: enabled=1
log: log
panic: action=fatal
error: action=report
clock: sync=none
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """What ended a run before its last call.

    Attributes:
        call: Number of the call.
        vector: Number of the exception: 6 no such instruction, 14 a page not to be used so.
        instruction: Address of the instruction.
        touched: The address that it used, where the vector is 14.
    """

    call: int
    vector: int
    instruction: int
    touched: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A machine that has stopped.

    Attributes:
        returned: What each call that was made returned, an int32.
        fault: What ended the run, if it was no end.
        found: The bytes that were asked for.
    """

    returned: list[int]
    fault: Fault | None
    found: list[bytes]


class BareMachine:
    """Memory that is filled, calls, and one run.

    Args:
        objects: Object file of the functions; they may call memcpy and memset, and nothing else.
        folder: For the files of the run.
    """

    def __init__(self, objects: Path, folder: Path) -> None:
        """Link the functions and load them."""
        self._folder = folder
        self._memory = bytearray()
        self._pages: dict[int, bool] = {}  # page → whether it may be written
        self._calls: list[bytes] = []
        self._allow(_MEMORY, PAGE, writable=True)
        self._allow(_STACK, STACK_BYTES, writable=True)
        program = _linked([str(objects)], _PROGRAM, folder / "program")
        self._symbols = program.symbols
        aside = _page_up(max(s.address + s.size_bytes for s in program.segments)) + PAGE
        for segment in program.segments:
            code, extra = worked_around(segment.data, segment.address, aside)
            self._fill(segment.address, code.ljust(segment.size_bytes, b"\0"))
            self._allow(segment.address, segment.size_bytes, writable=False)
            self._fill(aside, extra)
            self._allow(aside, len(extra), writable=True)
            aside += len(extra)

    def reserve(self, contents: bytes, *, writable: bool) -> int:
        """Address of new pages that hold this; around them are none."""
        at = _page_up(_MEMORY + len(self._memory)) + PAGE
        self._fill(at, contents)
        self._allow(at, len(contents), writable=writable)
        return at

    def call(self, symbol: str, *arguments: int) -> None:
        """Call a function after all calls before."""
        assert len(arguments) <= _ARGUMENTS
        row = struct.pack(f"<{1 + len(arguments)}Q", self._symbols[symbol], *arguments)
        self._calls.append(row.ljust(_CALL_BYTES, b"\0"))

    def run(self, model: str, wanted: Sequence[tuple[int, int]]) -> Ended:
        """Make all calls, or those up to the first fault.

        Args:
            model: Bochs's name of the CPU.
            wanted: (Address, bytes) of what to read afterwards.
        """
        calls = self.reserve(b"".join([*self._calls, bytes(8)]), writable=True)
        firmware = _firmware(self._folder)
        self._fill(_CALL, struct.pack("<QQQ", calls, 0, _FINISHED))
        self._fill_faults(firmware.symbols["faults"])
        self._fill_tables()
        self._write_files(model, firmware)
        table = calls, len(self._calls) * _CALL_BYTES
        head, rows, *found = _bochs(self._folder, [(_MEMORY, PAGE), table, *wanted])
        (call,) = struct.unpack_from("<Q", head, _CALL - _MEMORY)
        made = (call - calls) // _CALL_BYTES
        vector, instruction, touched = struct.unpack_from("<QQQ", head, _FAULT - _MEMORY)
        fault = None if vector == _FINISHED else Fault(made, vector, instruction, touched)
        assert fault is not None or made == len(self._calls), f"stopped at call {made}"
        returned = [row[0] for row in struct.iter_unpack(f"<{_CALL_BYTES - 8}xi4x", rows)]
        return Ended(returned[:made], fault, found)

    def _fill(self, at: int, contents: bytes) -> None:
        start, end = at - _MEMORY, at - _MEMORY + len(contents)
        if end > len(self._memory):
            self._memory.extend(bytes(end - len(self._memory)))
        self._memory[start:end] = contents

    def _allow(self, at: int, size_bytes: int, *, writable: bool) -> None:
        for page in range(at // PAGE, _page_up(at + size_bytes) // PAGE):
            self._pages[page] = writable

    def _fill_faults(self, first: int) -> None:
        """A gate for each number, to handlers that lie 16 bytes apart."""
        self._fill(_FAULT_TABLE, struct.pack("<HQ", 32 * 16 - 1, _GATES))
        self._fill(_GATES, b"".join(_gate(first + 16 * vector) for vector in range(32)))

    def _fill_tables(self) -> None:
        """Four levels of tables of the pages that exist; and of everything, 2 MiB an entry."""
        pages = self._pages | dict.fromkeys(range(_ROM // PAGE, (_ROM + _ROM_BYTES) // PAGE), False)
        base = _page_up(_MEMORY + len(self._memory))
        tables: dict[tuple[int, int], int] = {}  # (level, what it is a table of) → where it lies
        for page, writable in pages.items():
            above = _TABLES
            for shift in (27, 18, 9):
                key = (shift, page >> shift)
                if key not in tables:
                    tables[key] = base + len(tables) * PAGE
                    self._set_entry(above, page >> shift, tables[key] | _WRITABLE)
                above = tables[key]
            self._set_entry(above, page, page * PAGE | (_WRITABLE if writable else 0))
        self._set_entry(_OPEN_TABLES, 0, _OPEN_GIGABYTES | _WRITABLE)
        for gigabyte in range(4):
            directory = base + (len(tables) + gigabyte) * PAGE
            self._set_entry(_OPEN_GIGABYTES, gigabyte, directory | _WRITABLE)
            for number in range(512):
                self._set_entry(directory, number, gigabyte << 30 | number << 21 | _HUGE)

    def _write_files(self, model: str, firmware: elf.Executable) -> None:
        sectors = -(-len(self._memory) // _READ_BYTES) * (_READ_BYTES // 512)
        self._fill(_SECTORS, struct.pack("<Q", sectors))
        disk = self._memory.ljust(sectors * 512, b"\0")
        (self._folder / "disk").write_bytes(disk)
        (self._folder / "rom").write_bytes(_rom(firmware))
        megabytes = -(-(_MEMORY + len(disk)) // (4 << 20)) * 4
        (self._folder / "settings").write_text(_SETTINGS.format(model=model, megabytes=megabytes))

    def _set_entry(self, table: int, number: int, entry: int) -> None:
        self._fill(table + number % 512 * 8, struct.pack("<Q", entry | _PRESENT))


def _page_up(address: int) -> int:
    return -(-address // PAGE) * PAGE


def _gate(handler: int) -> bytes:
    """An entry of the table of faults: 64-bit code, interrupts off."""
    return struct.pack("<HHBBHII", handler & 0xFFFF, 0x10, 0, 0x8E, handler >> 16 & 0xFFFF, 0, 0)


def _firmware(folder: Path) -> elf.Executable:
    known = {
        "MEMORY": _MEMORY,
        "CALL": _CALL,
        "SECTORS": _SECTORS,
        "FAULT": _FAULT,
        "FAULT_TABLE": _FAULT_TABLE,
        "TABLES": _TABLES,
        "OPEN_TABLES": _OPEN_TABLES,
        "STACK_END": _STACK + STACK_BYTES,
        "ARGUMENTS": _ARGUMENTS,
    }
    source = Path(__file__).with_suffix(".S")
    defined = [f"-D{name}={value}" for name, value in known.items()]
    return _linked([*defined, "-Wl,--entry=reset", str(source)], _ROM, folder / "firmware")


def _linked(arguments: list[str], address: int, output: Path) -> elf.Executable:
    target = ["-target", "x86_64-freestanding", "-static", f"-Wl,--image-base={address:#x}"]
    zig.cc([*target, *arguments, "-o", str(output)])
    return elf.read(output.read_bytes(), where=output.name)


def _rom(firmware: elf.Executable) -> bytes:
    """The last 64 KiB below 4 GiB; a CPU begins 16 bytes before their end."""
    rom = bytearray(_ROM_BYTES)
    for segment in firmware.segments:
        at = segment.address - _ROM
        rom[at : at + len(segment.data)] = segment.data
    begin = _ROM_BYTES - 16
    jump = firmware.symbols["reset"] - _ROM - (begin + 3)
    rom[begin : begin + 3] = struct.pack("<BH", 0xE9, jump % _ROM_BYTES)
    return bytes(rom)


def _bochs(folder: Path, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
    """Run the machine of a folder until it stops; pieces of its memory."""
    pieces = [folder / f"piece{i}" for i in range(len(wanted))]
    for piece in pieces:
        piece.unlink(missing_ok=True)
    dumps = [f'writemem "piece{i}" {at:#x} {size}' for i, (at, size) in enumerate(wanted)]
    (folder / "commands").write_text("\n".join(["continue", *dumps, "quit", ""]))
    done = subprocess.run(
        # Its screen must be a terminal.
        ["script", "-qefc", "bochs -q -f settings -rc commands", "/dev/null"],
        cwd=folder,
        env={**os.environ, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=600,
    )
    found = [piece.read_bytes() for piece in pieces if piece.exists()]
    assert [len(piece) for piece in found] == [size for _, size in wanted], done.stdout[-1500:]
    return found
