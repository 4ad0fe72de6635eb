"""Right answers without a board: qemu-user runs the harness, Unicorn calls the kernels in process.

Neither says anything about time. What they count are executed instructions, and those have a type
of their own: they never become a Measurement.
"""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from binas.core.errors import DeviceError, MeasureError, UsageError
from binas.devices import elf
from binas.devices.device import Device
from binas.devices.host import HostLink

if TYPE_CHECKING:
    from binas.devices.device import Arch

QEMU: dict[Arch, str] = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm"}

# Where things lie in the emulated machine: a static executable of zig is linked low.
_DATA, _STACK, _RETURN = 0x40_0000_0000, 0x30_0000_0000, 0x20_0000_0000
_STACK_BYTES, _PAGE = 8 << 20, 0x1000
_ALIGN = 64  # as the arena is aligned on a board
_CALLS = ("binas_context_bytes", "binas_arena_bytes", "binas_create", "binas_run", "binas_step")


class QemuLink(HostLink):
    """Runs a device's programs on this machine under qemu-user.

    Raises:
        DeviceError: No emulator for the architecture, or qemu is not installed.
    """

    def __init__(self, device: Device) -> None:
        """Find qemu and make the directory."""
        name = QEMU.get(device.arch)
        if name is None:
            raise DeviceError(
                f"{device.name} is {device.arch}, qemu is only used for {', '.join(QEMU)}",
                hint="run it on this machine: --device host",
            )
        program = _find_qemu(name)
        if program is None:
            raise DeviceError(f"{name} is not installed", hint="apt install qemu-user")
        super().__init__(device, wrapper=[program, "-cpu", "max"])


def has_qemu(arch: Arch) -> bool:
    """Whether qemu-user is installed here for an architecture."""
    return _find_qemu(QEMU[arch]) is not None if arch in QEMU else False


def _find_qemu(name: str) -> str | None:
    return shutil.which(name) or shutil.which(f"{name}-static")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionCounts:
    """Executed instructions, an estimate of work and not of time.

    Attributes:
        cpu: LLVM's name of the CPU that the code was made for.
        steps: Instructions of each step, in plan order, in one run.
    """

    cpu: str
    steps: tuple[int, ...]

    @property
    def total(self) -> int:
        """Instructions of all steps."""
        return sum(self.steps)


class Write(NamedTuple):
    """Bytes to lay into the arena before a step."""

    offset: int
    data: bytes


class Read(NamedTuple):
    """Bytes to take from the arena after a step."""

    offset: int
    size_bytes: int


class UnicornModel:
    """A compiled network inside an emulated aarch64 CPU, one context, one thread.

    With one thread the C ABI makes no system call, allocates nothing and uses no thread-local
    storage, so that no operating system has to be emulated.

    Args:
        bench: The artifact's static executable.
        weights: The artifact's weights.
        where: Name of the artifact, for messages.

    Raises:
        DeviceError: unicorn is not installed.
        UsageError: The executable is not one of ours for aarch64.
        MeasureError: The network refused its weights or its memory.
    """

    def __init__(self, bench: bytes, weights: bytes, *, where: str) -> None:
        """Load the executable and create a context."""
        try:
            # By name: it has no types, and a measuring host does not have it.
            unicorn: Any = import_module("unicorn")
            registers: Any = import_module("unicorn.arm64_const")
        except ImportError:
            raise DeviceError("unicorn is not installed", hint="pip install unicorn") from None
        program = elf.read(bench, where=f"{where}: bench")
        missing = [name for name in _CALLS if name not in program.symbols]
        if program.arch != "aarch64" or missing:
            why = f"it lacks {', '.join(missing)}" if missing else f"it is for {program.arch}"
            raise UsageError(
                f"{where}: bench cannot be emulated in process: {why}",
                hint="compile for an aarch64 device with this version of binas",
            )
        self._where, self._symbols = where, program.symbols
        self._unicorn, self._registers = unicorn, registers
        self._machine: Any = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self._machine.ctl_set_cpu_model(registers.UC_CPU_ARM64_MAX)
        self._next = _DATA
        self._executed = 0
        self._blocks: Counter[tuple[int, int]] = Counter()
        self._order: list[tuple[int, int]] | None = None
        self._load(program)
        self._registers_on()
        # Before the first run: blocks that are translated without a hook never get one.
        self._machine.hook_add(unicorn.UC_HOOK_BLOCK, self._count)
        self._create(weights)

    def run(self, inputs: Sequence[bytes], output_bytes: Sequence[int]) -> list[bytes]:
        """One inference.

        Args:
            inputs: Raw float32 of each input port.
            output_bytes: Size of each output port.
        """
        given = [self._hold(data) for data in inputs]
        wanted = [self._reserve(size) for size in output_bytes]
        self._checked("binas_run", self._context, self._pointers(given), self._pointers(wanted))
        return [
            bytes(self._machine.mem_read(at, size))
            for at, size in zip(wanted, output_bytes, strict=True)
        ]

    def step(self, index: int, writes: Sequence[Write], reads: Sequence[Read]) -> list[bytes]:
        """One step alone, on the given contents of the arena."""
        for write in writes:
            self._machine.mem_write(self._arena + write.offset, write.data)
        self._checked("binas_step", self._context, index)
        return [
            bytes(self._machine.mem_read(self._arena + read.offset, read.size_bytes))
            for read in reads
        ]

    def trace(self, index: int) -> list[tuple[int, int]]:
        """(Address, bytes) of every block that one step executes, in order; of its kernel and more.

        It is long: a MiB for every 10 000 blocks or so.
        """
        found: list[tuple[int, int]] = []
        self._order = found
        try:
            self._checked("binas_step", self._context, index)
        finally:
            self._order = None
        return found

    @property
    def executed(self) -> int:
        """Instructions of the last call."""
        return self._executed

    @property
    def blocks(self) -> Mapping[tuple[int, int], int]:
        """(Address, bytes) of every block of the last call → how often it was executed."""
        return self._blocks

    def _create(self, weights: bytes) -> None:
        context_bytes = self._call("binas_context_bytes")
        arena_bytes = self._call("binas_arena_bytes")
        self._context = self._reserve(context_bytes)
        self._arena = self._reserve(arena_bytes)
        self._checked(
            "binas_create",
            *(self._context, context_bytes, self._arena, arena_bytes),
            *(self._hold(weights), len(weights), 1),
        )

    def _checked(self, name: str, *arguments: int) -> None:
        status = self._call(name, *arguments) & 0xFFFFFFFF
        if status:
            raise MeasureError(
                f"{self._where}: {name} returned status {status} under emulation, expected 0",
                hint="make the artifact again with binas-compile",
            )

    def _call(self, name: str, *arguments: int) -> int:
        registers = self._registers
        for i, value in enumerate(arguments):
            self._machine.reg_write(getattr(registers, f"UC_ARM64_REG_X{i}"), value)
        self._machine.reg_write(registers.UC_ARM64_REG_SP, _STACK + _STACK_BYTES - _PAGE)
        self._machine.reg_write(registers.UC_ARM64_REG_LR, _RETURN)
        self._executed = 0
        self._blocks.clear()
        try:
            self._machine.emu_start(self._symbols[name], _RETURN)
        except self._unicorn.UcError as error:
            at = self._machine.reg_read(registers.UC_ARM64_REG_PC)
            raise MeasureError(f"{self._where}: {name} broke off at {at:#x}: {error}") from None
        return int(self._machine.reg_read(registers.UC_ARM64_REG_X0))

    def _count(self, machine: Any, address: int, size: int, data: Any) -> None:
        self._blocks[address, size] += 1
        self._executed += size >> 2  # every instruction of aarch64 has four bytes
        if self._order is not None:
            self._order.append((address, size))

    def _load(self, program: elf.Executable) -> None:
        pages = {
            page
            for s in program.segments
            for page in range(s.address // _PAGE, -(-(s.address + s.size_bytes) // _PAGE))
        }
        for page in sorted(pages):
            self._machine.mem_map(page * _PAGE, _PAGE)
        for segment in program.segments:
            self._machine.mem_write(segment.address, segment.data)
        self._machine.mem_map(_STACK, _STACK_BYTES)
        self._machine.mem_map(_RETURN, _PAGE)

    def _registers_on(self) -> None:
        # Floating point and NEON trap until this register allows them.
        self._machine.reg_write(self._registers.UC_ARM64_REG_CPACR_EL1, 3 << 20)

    def _reserve(self, size_bytes: int) -> int:
        at = self._next
        room = -(-(size_bytes + _ALIGN) // _PAGE) * _PAGE
        self._machine.mem_map(at, room)
        self._next += room + _PAGE  # an unmapped page between: overruns are caught
        return at

    def _hold(self, data: bytes) -> int:
        at = self._reserve(len(data))
        self._machine.mem_write(at, data)
        return at

    def _pointers(self, addresses: Sequence[int]) -> int:
        return self._hold(struct.pack(f"<{len(addresses)}Q", *addresses))
