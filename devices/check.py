"""The walk to a device: one step after the other, up to the first that is broken.

Each finished step says what was found; the broken one says what was expected and the command that
mends it. `docs/boards.md` lists the steps.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from binas.core.errors import BinasError, DeviceError
from binas.devices import hello, probe
from binas.devices.device import Device
from binas.devices.link import Finished, Link
from binas.devices.probe import Machine
from binas.devices.registry import find, no_route, other_board, reach

MIN_MEMORY_BYTES = 64 << 20  # the largest network we ship needs a third of it
MIN_DISK_BYTES = 32 << 20
MIN_GLIBC = (2, 28)  # of the artifact's library, and of its executable for x86-64
SCRIPT_S = 60.0  # a Pi answers in less than one
CLOCK_SLACK_S = 0.15  # of one second: /proc/uptime counts in hundredths, and sleep is never exact
WRONG_DATE_S = 86_400
COARSE_CLOCKS = ("jiffies", "refined-jiffies", "acpi_pm", "hpet")

_CLOCK = """#!/bin/sh
cat /proc/uptime; sleep 1; cat /proc/uptime; date +%s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStep:
    """One step of the walk.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it should be.
        found: What was found.
        hint: What mends it, or what would make it better; may be empty.
    """

    name: str
    ok: bool
    found: str
    hint: str = ""


def check(name: str) -> Iterator[CheckStep]:
    """Walk to a device; ends after the first step that is not ok.

    Args:
        name: As in `binas-devices list`.
    """
    with closing(_walk(name)) as steps:
        for step in steps:
            yield step
            if not step.ok:
                return


def _walk(name: str) -> Generator[CheckStep]:
    try:
        device = find(name)
    except BinasError as error:
        yield _broken("name", error)
        return
    yield CheckStep(name="name", ok=True, found=f"{device.title}, {device.arch} {device.cpu}")
    yield _route(device)
    if device.link.kind == "null":
        yield CheckStep(name="login", ok=True, found="nothing to log in to: a null device")
        return
    try:
        link = reach(device, exclusive=False)
    except BinasError as error:
        yield _broken("login", error)
        return
    with link:
        yield _login(link)
        yield _architecture(link, device)
        yield _features(link, device)
        yield _glibc(link.machine)
        yield from _room(link.machine)
        for named, step in (("execute", _execute), ("clock", _clock)):
            yield _tried(named, link, step)
        yield _governor(device, link.machine)
        yield _throttling(link.machine)


def _route(device: Device) -> CheckStep:
    kind, found = device.link.kind, "this machine"
    try:
        if kind == "none":
            raise no_route(device)
        if kind == "ssh":
            from binas.devices import openssh  # noqa: PLC0415

            found = openssh.route(device)
        elif kind == "rpc":
            from binas.devices import rpc  # noqa: PLC0415

            found = rpc.route(device)
        elif kind == "null":
            found = "null"
    except BinasError as error:
        return _broken("route", error)
    return CheckStep(name="route", ok=True, found=found)


def _login(link: Link) -> CheckStep:
    found, hint = "a directory of our own was made there", ""
    if link.device.link.kind == "ssh" and link.machine.boot_id == probe.this_machine().boot_id:
        found += "; that machine is this one"
    if link.holders:
        found += f"; in use by {', '.join(holder.who for holder in link.holders)}"
        hint = f"wait before you measure, or: binas-devices lock {link.device.name} --break"
    return CheckStep(name="login", ok=True, found=found, hint=hint)


def _architecture(link: Link, device: Device) -> CheckStep:
    machine = link.machine
    found = f"{machine.machine or 'unknown'}, {machine.word_bits or '?'}-bit programs"
    fits = bool(device.link.wrapper) or machine.runs(device.arch)
    hint = "" if fits else other_board(device, machine)
    if fits and link.trust == "emulated":
        why = machine.pretence or (f"{device.arch} under {device.link.wrapper[0]}",)
        found += f"; emulated: {', '.join(why)}"
        hint = "answers are right, and nothing measured there is a latency"
    return CheckStep(name="architecture", ok=fits, found=found, hint=hint)


def _features(link: Link, device: Device) -> CheckStep:
    lacking = () if device.link.wrapper else link.machine.lacks(device.features)
    found = f"all that {device.cpu} code needs"
    if device.link.wrapper:
        found = "those of the emulator"
    return CheckStep(
        name="features",
        ok=not lacking,
        found=f"lacks {', '.join(lacking)}" if lacking else found,
        hint=other_board(device, link.machine) if lacking else "",
    )


def _glibc(machine: Machine) -> CheckStep:
    """Never breaks the walk: what we run on ARM is static, and a PC without glibc is rare."""
    version = re.search(r"(\d+)\.(\d+)", machine.libc)
    if not machine.libc or version is None:
        found, enough = "none that says its version", False
    else:
        found, enough = machine.libc, (int(version[1]), int(version[2])) >= MIN_GLIBC
    hint = (
        ""
        if enough
        else (
            f"libmodel.so and executables for x86-64 need glibc {MIN_GLIBC[0]}.{MIN_GLIBC[1]}, "
            "executables for ARM need none"
        )
    )
    return CheckStep(name="glibc", ok=True, found=found, hint=hint)


def _room(machine: Machine) -> Iterator[CheckStep]:
    memory, disk = machine.available_bytes, machine.disk_bytes
    enough = memory is None or memory >= MIN_MEMORY_BYTES
    yield CheckStep(
        name="memory",
        ok=enough,
        found="unknown" if memory is None else f"{memory >> 20} MiB available",
        hint=""
        if enough
        else f"end other programs there: {MIN_MEMORY_BYTES >> 20} MiB are needed; "
        "ps -e -o rss,comm | sort -n | tail shows the largest",
    )
    enough = disk is None or disk >= MIN_DISK_BYTES
    yield CheckStep(
        name="disk",
        ok=enough,
        found="unknown" if disk is None else f"{disk >> 20} MiB free",
        hint=""
        if enough
        else f"{MIN_DISK_BYTES >> 20} MiB are needed: free some (df -h shows where), or give the "
        'device another `directory = "~/binas"`',
    )


def _tried(name: str, link: Link, step: Callable[[Link], CheckStep]) -> CheckStep:
    try:
        return step(link)
    except BinasError as error:
        return _broken(name, error)


def _execute(link: Link) -> CheckStep:
    done = _upload(link, hello.executable(link.device.arch), "hello")
    said = done.stdout.strip()
    hint = f"expected 'binas'; is {link.device.name} described as the right board?"
    if done.returncode != 0:
        said, hint = (
            done.how,
            (
                "its folder may be mounted noexec: give the device another `directory`, such as "
                'directory = "~/binas"'
            ),
        )
    return CheckStep(
        name="execute",
        ok=said == "binas",
        found=f"an uploaded {link.device.arch} program said {said!r}",
        hint="" if said == "binas" else hint,
    )


def _clock(link: Link) -> CheckStep:
    if link.device.link.wrapper:
        return CheckStep(name="clock", ok=True, found="not looked at: emulated")
    begin = time.monotonic()
    done = _upload(link, _CLOCK.encode(), "clock")
    here_s = time.monotonic() - begin
    numbers = [float(word) for word in re.findall(r"^\d+(?:\.\d+)?", done.stdout, re.MULTILINE)]
    if done.returncode != 0 or len(numbers) != 3:
        raise DeviceError(
            f"{link.device.name} does not tell the time: {done.how}",
            hint="Linux with /proc is needed there",
        )
    first, second, date = numbers
    there_s = second - first
    # What passed there lies within what passed here, and was one second at least.
    ok = 1 - CLOCK_SLACK_S <= there_s <= here_s + CLOCK_SLACK_S
    source = link.machine.clocksource
    found = f"{there_s:.2f} s passed there in a call of {here_s:.2f} s"
    found += f", read from {source}" if source else ""
    hint = ""
    if not ok:
        hint = "its clock runs wrong, so nothing measured there is a latency: use another machine"
    elif source in COARSE_CLOCKS:
        hint = "a slow clock; batches of 5 ms bear it, shorter ones (--min-time) do not"
    elif abs(date - time.time()) > WRONG_DATE_S:
        hint = "its date is wrong; latencies do not use it: sudo timedatectl set-ntp true"
    return CheckStep(name="clock", ok=ok, found=found, hint=hint)


def _governor(device: Device, machine: Machine) -> CheckStep:
    """Never breaks the walk: it spoils times, not answers."""
    if not machine.governors:
        return CheckStep(name="governor", ok=True, found="none: the clock is not ours to see")
    found = ", ".join(machine.governors)
    hint = ""
    if machine.governors != ("performance",):
        hint = (
            f"measurements will carry a doubt; on {device.name}: echo performance | "
            "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )
    return CheckStep(name="governor", ok=True, found=found, hint=hint)


def _throttling(machine: Machine) -> CheckStep:
    warm = "" if machine.temperature_c is None else f", {machine.temperature_c:.0f} °C"
    if machine.throttled is None:
        found = f"no vcgencmd to ask{warm}"
        return CheckStep(name="throttling", ok=True, found=found)
    now = [words for words in machine.throttled if words.endswith("now")]
    found = (", ".join(machine.throttled) or "never since boot") + warm
    hint = ""
    if any("under-voltage" in words for words in machine.throttled):
        hint = "use the board's own power supply and a short cable, then restart it"
    elif machine.throttled:
        hint = "give it a heatsink or a fan, let it cool down; vcgencmd get_throttled then says 0x0"
    return CheckStep(name="throttling", ok=not now, found=found, hint=hint)


def _upload(link: Link, program: bytes, name: str) -> Finished:
    """Upload a program and run it."""
    with tempfile.TemporaryDirectory(prefix="binas.") as folder:
        local = Path(folder) / name
        local.write_bytes(program)
        link.put(local, name, executable=True)
    return link.run([name], SCRIPT_S)


def _broken(name: str, error: BinasError) -> CheckStep:
    return CheckStep(name=name, ok=False, found=str(error), hint=error.hint)
