"""What a machine says about itself: a script that asks, and a parser of the answers.

`SCRIPT` runs in any POSIX shell and only reads. It prints sections, each opened by `== name`; what
is absent on a machine is absent from the output. The parser takes any subset.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from binas.core.errors import DeviceError
from binas.devices.device import CPUS, Arch, Device, LinkSettings, missing_features

SCRIPT = r"""#!/bin/sh
show() { if [ -r "$2" ]; then echo "== $1"; cat "$2"; echo; fi; }
echo "== machine"; uname -m
echo "== word"; getconf LONG_BIT 2>/dev/null
echo "== libc"; getconf GNU_LIBC_VERSION 2>/dev/null
show kernel /proc/sys/kernel/arch
show boot /proc/sys/kernel/random/boot_id
echo "== interpreter"; readlink /proc/$$/exe 2>/dev/null
show cpuinfo /proc/cpuinfo
show meminfo /proc/meminfo
show loadavg /proc/loadavg
show model /proc/device-tree/model | tr -d '\000'
echo "== governor"; cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null
show clocksource /sys/devices/system/clocksource/clocksource0/current_clocksource
echo "== thermal"
for zone in /sys/class/thermal/thermal_zone[0-9]*; do
  if [ -r "$zone/temp" ]; then
    echo "$(cat "$zone/type" 2>/dev/null) $(cat "$zone/temp" 2>/dev/null)"
  fi
done
if command -v vcgencmd >/dev/null 2>&1; then
  echo "== throttled"; vcgencmd get_throttled 2>/dev/null
fi
echo "== disk"; df -Pk . 2>/dev/null
exit 0
"""

# Bits of `vcgencmd get_throttled`; those from 16 on say "has happened since boot".
_THROTTLED = {
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since boot",
    17: "frequency capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}
_PARTS = {0xD03: "cortex-a53", 0xD07: "generic", 0xD08: "cortex-a72", 0xD0B: "cortex-a76"}
_MACHINES: dict[str, Arch] = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7",
    "armv8l": "armv7",  # a 32-bit process on a 64-bit kernel
}
_PREFERRED_ZONES = ("cpu-thermal", "cpu_thermal", "x86_pkg_temp", "soc_thermal", "soc-thermal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine said; None and empty where it said nothing.

    Attributes:
        machine: As `uname -m` spells it.
        arch: The same as we spell it; None where we have no code for it.
        word_bits: Word size of the user's programs: 32 on a 32-bit system over a 64-bit kernel.
        model: The board's or the CPU's name.
        part: ARM's part number of the cores; the smallest where they differ.
        features: As /proc/cpuinfo lists them.
        cores: Cores online.
        memory_bytes: All memory.
        available_bytes: Memory that a new program can have.
        disk_bytes: Free space where the script ran.
        libc: Name and version of the C library, where it is glibc.
        governors: Frequency governors in use, sorted, each once.
        temperature_c: Of the CPU.
        load: Mean number of runnable programs in the last minute.
        throttled: What `vcgencmd` reports, in words; None where there is no such command.
        boot_id: Random number of the kernel's since it started: equal ones are one machine.
        clocksource: What the kernel reads the time from.
        pretence: What shows that this is not the machine that it says it is: an emulator, or a
            sensor that such a machine has not. Nothing measured there is a latency.
    """

    machine: str = ""
    arch: Arch | None = None
    word_bits: int | None = None
    model: str = ""
    part: int | None = None
    features: tuple[str, ...] = ()
    cores: int = 0
    memory_bytes: int | None = None
    available_bytes: int | None = None
    disk_bytes: int | None = None
    libc: str = ""
    governors: tuple[str, ...] = ()
    temperature_c: float | None = None
    load: float | None = None
    throttled: tuple[str, ...] | None = None
    boot_id: str = ""
    clocksource: str = ""
    pretence: tuple[str, ...] = ()

    @property
    def cpu(self) -> str | None:
        """The most capable LLVM CPU name whose code runs here; None if there is none."""
        if self.arch is None:
            return None
        runnable = [
            cpu for cpu, wanted in CPUS[self.arch].items() if not self.lacks(wanted)
        ]  # weakest first
        if self.arch == "x86_64":
            return runnable[-1] if runnable else None
        named = _PARTS.get(self.part or 0, "generic")
        if self.arch == "armv7":
            return runnable[-1] if runnable else None
        return named if named in runnable else (runnable[0] if runnable else None)

    def runs(self, arch: Arch) -> bool:
        """Whether static programs of an architecture run here.

        A 64-bit ARM kernel runs those of both sizes, whatever its own programs are.
        """
        return self.arch == arch or (self.arch == "aarch64" and arch == "armv7")

    def lacks(self, features: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `features` that this machine does not list."""
        return missing_features(features, self.features)


def parse(text: str) -> Machine:
    """Read what `SCRIPT` printed; unknown sections and unreadable values are passed over."""
    sections: dict[str, str] = {}
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        name, _, body = block.partition("\n")
        sections[name.strip()] = body.strip("\n\x00 ")
    return machine_of(sections)


def machine_of(sections: Mapping[str, str]) -> Machine:
    """The machine that the sections of `SCRIPT`'s output describe."""
    cpuinfo = sections.get("cpuinfo", "")
    machine = sections.get("machine", "").strip()
    listed = _field(cpuinfo, "flags") or _field(cpuinfo, "Features") or ""
    parts = [
        int(part, 16) for part in re.findall(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)", cpuinfo, re.M)
    ]
    model = sections.get("model", "").strip("\n\x00 ")
    disk = sections.get("disk", "").splitlines()
    throttled = re.search(r"throttled=(0x[0-9a-fA-F]+)", sections.get("throttled", ""))
    load = re.match(r"\d+(\.\d+)?", sections.get("loadavg", ""))
    model = model or _field(cpuinfo, "model name") or _field(cpuinfo, "Model") or ""
    return Machine(
        machine=machine,
        arch=_MACHINES.get(machine),
        word_bits=_integer(sections.get("word", "")),
        model=model,
        part=min(parts, default=None),
        features=tuple(listed.split()),
        cores=len(re.findall(r"^processor\s*:", cpuinfo, re.M)),
        memory_bytes=_kib(sections.get("meminfo", ""), "MemTotal"),
        available_bytes=_kib(sections.get("meminfo", ""), "MemAvailable"),
        disk_bytes=_disk(disk[-1]) if disk else None,
        libc=sections.get("libc", "").strip(),
        governors=tuple(sorted(set(sections.get("governor", "").split()))),
        temperature_c=_temperature(sections.get("thermal", "")),
        load=float(load[0]) if load else None,
        throttled=_words(int(throttled[1], 16)) if throttled else None,
        boot_id=sections.get("boot", "").strip(),
        clocksource=sections.get("clocksource", "").strip(),
        pretence=tuple(_pretence(sections, machine, model)),
    )


def this_machine() -> Machine:
    """What the local machine says, read without starting a process."""
    cores = Path("/sys/devices/system/cpu")
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone[0-9]*"))
    governors = sorted(cores.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return machine_of(
        {
            "machine": platform.machine(),
            "word": "64" if sys.maxsize > 2**32 else "32",
            "libc": " ".join(platform.libc_ver()).strip(),
            "kernel": _read(Path("/proc/sys/kernel/arch")),
            "boot": _read(Path("/proc/sys/kernel/random/boot_id")),
            "cpuinfo": _read(Path("/proc/cpuinfo")),
            "meminfo": _read(Path("/proc/meminfo")),
            "loadavg": _read(Path("/proc/loadavg")),
            "model": _read(Path("/proc/device-tree/model")),
            "governor": "\n".join(_read(path) for path in governors),
            "clocksource": _read(
                Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            ),
            "thermal": "\n".join(f"{_read(z / 'type')} {_read(z / 'temp')}" for z in zones),
        }
    )


def _pretence(sections: Mapping[str, str], machine: str, model: str) -> Iterator[str]:
    """What gives an emulator or a made-up sensor away.

    qemu-user answers `uname` and `/proc/self` for the CPU that it emulates, but neither the files
    of another process nor the kernel's own name of its architecture.
    """
    interpreter = sections.get("interpreter", "").strip().rpartition("/")[2]
    kernel = sections.get("kernel", "").strip()
    if "qemu" in interpreter:
        yield f"its programs run under {interpreter}"
    elif kernel and machine and _is_arm(kernel) != _is_arm(machine):
        yield f"it says {machine}, its kernel is {kernel}"
    elif machine and _is_arm(machine) and _field(sections.get("cpuinfo", ""), "vendor_id"):
        yield f"it says {machine}, its CPU is an x86"
    if "TCG" in model:
        yield f"its CPU is emulated: {model}"
    if "throttled" in sections and model and "Raspberry Pi" not in model:
        yield f"it has a Raspberry Pi's vcgencmd, but is {model}"


def _is_arm(machine: str) -> bool:
    return machine.startswith("a") and machine != "amd64"


def host_device() -> Device:
    """This machine as a device, with the most capable CPU name that it can run.

    Raises:
        DeviceError: An architecture, or an x86-64 before v2, that we have no code for.
    """
    machine = this_machine()
    arch, cpu = machine.arch, machine.cpu
    if arch is None or cpu is None:
        raise DeviceError(
            f"this machine is {machine.machine or 'of unknown kind'} without what our code needs;"
            " expected x86-64-v2 or later, aarch64, or armv7 with NEON",
            hint="compile for another device: binas-devices list",
        )
    return Device(
        name="host",
        title=machine.model or "this machine",
        arch=arch,
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine.cores,
        memory_bytes=machine.memory_bytes or 0,
        link=LinkSettings(kind="host"),
        note="This machine; the CPU is looked up anew each time",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\n\x00 ")
    except OSError:  # sensors may vanish or refuse while they are read
        return ""


def _field(text: str, name: str) -> str | None:
    found = re.search(rf"^{re.escape(name)}\s*:[ \t]*(.*)$", text, re.M)
    return found[1].strip() if found else None


def _integer(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _kib(text: str, name: str) -> int | None:
    found = re.search(rf"^{name}:\s*(\d+) kB", text, re.M)
    return int(found[1]) * 1024 if found else None


def _disk(line: str) -> int | None:
    columns = line.split()
    return int(columns[3]) * 1024 if len(columns) >= 6 and columns[3].isdigit() else None


def _temperature(text: str) -> float | None:
    """Millidegrees per zone; the CPU's own zone where it has a name we know, else the hottest."""
    zones = [(z[1], int(z[2]) / 1000) for z in re.finditer(r"^(\S*) (-?\d+)$", text, re.M)]
    for kind, celsius in zones:
        if kind in _PREFERRED_ZONES:
            return celsius
    return max((celsius for _, celsius in zones), default=None)


def _words(bits: int) -> tuple[str, ...]:
    return tuple(words for bit, words in _THROTTLED.items() if bits >> bit & 1)
