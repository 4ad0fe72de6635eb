"""Hardware facts, in one place: per CPU the vector width, the registers, how ones are counted.

A kernel generator asks an `Isa` for these and for nothing else. CPU names are LLVM's; TVM itself
only logs an unknown one and goes on as generic, so names are checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from binas.core.errors import CompileError, unknown_name
from binas.devices.device import Arch

Counting = Literal["full_adder", "popcount", "adder_tree", "nibbles", "bytes", "dot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Isa:
    """What a kernel generator may assume.

    Attributes:
        cpu: LLVM's name of the CPU.
        arch: Instruction set.
        triple: LLVM target triple.
        attributes: LLVM target features on top of the CPU's own.
        vector_bits: Width of a vector register.
        registers: Number of vector registers.
        counting: How ones are counted. "full_adder": a 32-bit lane popcount and a three-input logic
            instruction, two words per five instructions. "popcount": the former alone, a word per
            three, where these are through sooner. "adder_tree": the latter without the
            former, eight words per 25. "bytes": a popcount of bytes, summed in
            bytes and widened before they overflow. "nibbles": a byte shuffle that looks nibbles up.
            "dot": a popcount of bytes, summed along the
            reduction by pairwise additions.
        scheduled: CPU whose pipeline instructions are ordered for, where that is not `cpu` itself;
            it may have no instruction that `cpu` lacks.
        in_order: Whether it, or one of the CPUs that a build is for, waits for each operand.
        fused: Whether it multiplies and adds in one instruction; asked for without one, LLVM calls
            the C library for every lane.
    """

    cpu: str
    arch: Arch
    triple: str
    attributes: tuple[str, ...] = ()
    vector_bits: int
    registers: int
    counting: Counting
    scheduled: str = ""
    fused: bool = True
    in_order: bool = False

    @property
    def lanes(self) -> int:
        """32-bit lanes of a vector register."""
        return self.vector_bits // 32

    @property
    def ternary(self) -> bool:
        """Whether one instruction computes any function of three bits (vpternlogd)."""
        return self._avx512

    @property
    def masked(self) -> bool:
        """Whether the bits of a register say which lanes, bytes too, take part (AVX-512BW)."""
        return self._avx512

    @property
    def looks_up(self) -> bool:
        """Whether one instruction picks lanes of a register as another's lanes say (vpermps)."""
        return self.arch == "x86_64" and self.vector_bits >= 256

    @property
    def adds_from_tables(self) -> bool:
        """Whether tables of sums are quicker in memory, by pixels, than multiply-adds are.

        Measured on x86, for aarch64 estimated by models of its CPUs. A register of sixteen lanes
        holds a whole table.
        """
        return self.arch != "armv7" and self.vector_bits < 512

    @property
    def _avx512(self) -> bool:
        return self.arch == "x86_64" and self.vector_bits == 512


def _x86(cpu: str, width: int, registers: int, *, counting: Counting, fused: bool = True) -> Isa:
    return Isa(
        cpu=cpu,
        arch="x86_64",
        triple="x86_64-linux-gnu",
        vector_bits=width,
        registers=registers,
        counting=counting,
        fused=fused,
    )


def _arm64(cpu: str, *without: str, in_order: bool = False) -> Isa:
    # The model of cortex-a53 keeps dependent instructions apart, which in-order cores need and
    # others do not mind; code scheduled for an out-of-order core takes 3 times as long on one.
    return Isa(
        cpu=cpu,
        arch="aarch64",
        triple="aarch64-linux-gnu",
        vector_bits=128,
        registers=32,
        counting="dot",
        scheduled="cortex-a53",
        attributes=without,
        in_order=in_order,
    )


def _arm32(cpu: str) -> Isa:
    return Isa(
        cpu=cpu,
        arch="armv7",
        triple="armv7l-linux-gnueabihf",
        attributes=("+neon", "+vfp4"),
        vector_bits=128,
        registers=16,
        counting="bytes",
    )


_ISAS = {
    (isa.arch, isa.cpu): isa
    for isa in (
        _x86("x86-64-v2", 128, 16, counting="nibbles", fused=False),
        _x86("x86-64-v3", 256, 16, counting="nibbles"),
        _x86("x86-64-v4", 512, 32, counting="adder_tree"),
        _x86("icelake-server", 512, 32, counting="full_adder"),
        _x86("znver4", 512, 32, counting="popcount"),
        _arm64("generic", "-crc", "-aes", "-sha2", in_order=True),
        _arm64("cortex-a53", in_order=True),
        _arm64("cortex-a72"),
        _arm64("cortex-a76"),
        _arm32("cortex-a53"),
        _arm32("cortex-a7"),
    )
}


def find(cpu: str, arch: str) -> Isa:
    """The facts of a CPU.

    Raises:
        UsageError: No such CPU for this architecture.
        CompileError: No such architecture.
    """
    known = [name for found, name in _ISAS if found == arch]
    if not known:
        raise CompileError(f"no kernels for architecture {arch!r}", hint="see docs/architecture.md")
    if cpu not in known:
        raise unknown_name(f"CPU for {arch}", cpu, known)
    return _ISAS[arch, cpu]  # type: ignore[index]
