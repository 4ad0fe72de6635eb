"""Device: what a board is and by which route it is reached. Nothing here touches a board."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from binas.core.errors import UsageError, unknown_name

Arch = Literal["x86_64", "aarch64", "armv7"]
LinkKind = Literal["host", "ssh", "rpc", "null", "none"]

_V2 = ("cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2")
_V3 = (*_V2, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_ICELAKE = (
    *_V4,
    *("avx512_vpopcntdq", "avx512_bitalg", "avx512vbmi", "avx512_vbmi2", "avx512ifma"),
    *("avx512_vnni", "gfni"),
)
_ZEN4 = (*_ICELAKE, "avx512_bf16", "sse4a", "clzero")
_A76 = ("fp", "asimd", "crc32", "atomics", "fphp", "asimdhp", "asimdrdm", "lrcpc", "asimddp")

# Per architecture, the LLVM CPU names we compile for, weakest first, and what /proc/cpuinfo must
# list for code made for that CPU to run: the features that LLVM uses unasked, no others (a Pi 4 has
# no AES although LLVM's cortex-a72 has it). LLVM itself takes an unknown name for "generic" and
# goes on, so every name is looked up here first.
CPUS: dict[Arch, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "x86-64-v2": _V2,
        "x86-64-v3": _V3,
        "x86-64-v4": _V4,
        "icelake-server": _ICELAKE,
        "znver4": _ZEN4,
    },
    "aarch64": {
        "generic": ("fp", "asimd"),
        "cortex-a53": ("fp", "asimd", "crc32"),
        "cortex-a72": ("fp", "asimd", "crc32"),
        "cortex-a76": _A76,
    },
    "armv7": {
        "cortex-a7": ("neon", "vfpv4"),
        "cortex-a53": ("neon", "vfpv4", "crc32"),
    },
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A host that starts with a dash would be an option of ssh.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*|\[[0-9A-Fa-f:.%]+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """The route to a device.

    Attributes:
        kind: "host" is this machine, "ssh" another one, "rpc" one of those behind a TVM tracker,
            "null" invents answers, "none" says that only a description is there.
        host: Name, address or alias of the user's ssh configuration. For "rpc" the machine that
            the tracker runs on; empty: this one.
        port: 0 leaves the choice to the ssh configuration.
        user: Empty leaves the choice to the ssh configuration.
        directory: Folder on the device under which the link makes its own; empty: the device's
            folder for temporary files. A leading `~/` is the home there.
        options: Further arguments for ssh, such as ("-o", "ProxyJump=gate").
        wrapper: Put before the command line of every program there, such as ("qemu-aarch64",): a
            machine that emulates the device. Answers are right, and there is no latency.
        tracker: Port of the tracker on the loopback interface of its machine ("rpc").
        key: What the tracker calls this kind of board ("rpc").
        table: File of the latency table that a null device replays; empty: it invents.
    """

    kind: LinkKind = "none"
    host: str = ""
    port: int = 0
    user: str = ""
    directory: str = ""
    options: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    tracker: int = 9190
    key: str = ""
    table: str = ""

    def __post_init__(self) -> None:
        """Refuse what no ssh could use, before any connection is tried."""
        if self.kind == "ssh" and not self.host:
            raise UsageError("link 'ssh' has no host", hint='add host = "pi@raspberrypi.local"')
        if self.kind == "rpc" and not _NAME.fullmatch(self.key):
            raise UsageError(
                f"link 'rpc' has the key {self.key!r}, expected letters, digits, '.', '_', '-'",
                hint='add key = "rpi4": what the servers were started with (--key)',
            )
        if self.wrapper and self.kind != "ssh":
            raise UsageError("wrapper is for link 'ssh'", hint="on this machine: --emulate")
        if self.host and not _HOST.fullmatch(self.host):
            raise UsageError(f"host is {self.host!r}, expected a name, an alias or an address")
        if self.user and not _NAME.fullmatch(self.user):
            raise UsageError(f"user is {self.user!r}, expected letters, digits, '.', '_', '-'")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port is {self.port}, expected 1 to 65535")
        if not 1 <= self.tracker <= 65535:
            raise UsageError(f"tracker is {self.tracker}, expected a port, 1 to 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A board, or a class of machines.

    Attributes:
        name: What the user calls it.
        title: What its maker calls it.
        arch: Architecture of the code that runs on it.
        cpu: LLVM's name of the CPU; a key of `CPUS[arch]`.
        features: What `/proc/cpuinfo` of such a machine lists at least; empty: as `CPUS` says.
        cores: Number of cores; 0 where the description does not say.
        memory_bytes: Memory of the smallest model; 0 where the description does not say.
        link: How to reach it.
        pin: Core that single-threaded measurements are pinned to; -1: none.
        note: One sentence for people.
    """

    SCHEMA: ClassVar[str] = "binas.device/1"

    name: str
    title: str
    arch: Arch
    cpu: str
    features: tuple[str, ...] = ()
    cores: int = 0
    memory_bytes: int = 0
    link: LinkSettings = LinkSettings()
    pin: int = -1
    note: str = ""

    def __post_init__(self) -> None:
        """Check the names ourselves and fill in what the CPU implies."""
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"device name is {self.name!r}, expected letters, digits, '.-_'")
        if self.arch not in CPUS:
            raise unknown_name("architecture", self.arch, CPUS)
        if self.cpu not in CPUS[self.arch]:
            raise unknown_name(f"{self.arch} CPU", self.cpu, CPUS[self.arch])
        if self.pin < -1 or (self.cores and self.pin >= self.cores):
            raise UsageError(f"{self.name} is pinned to core {self.pin}, it has {self.cores}")
        if not self.features:
            object.__setattr__(self, "features", CPUS[self.arch][self.cpu])

    def lacks(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `features` that this device need not have."""
        return missing_features(features, self.features)


def missing_features(wanted: tuple[str, ...], present: tuple[str, ...]) -> tuple[str, ...]:
    """What is wanted and not present, in order.

    A 64-bit ARM kernel lists `asimd` where a 32-bit one lists `neon` and `vfpv4`; they are the same
    registers, and a 64-bit system runs 32-bit code.
    """
    have = set(present)
    if "asimd" in have:
        have |= {"neon", "vfpv4"}
    return tuple(feature for feature in wanted if feature not in have)
