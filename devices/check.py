"""The walk to a device: one step after the other, up to the first that is broken.

Each finished step says what was found; the broken one says what was expected and the command that
mends it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from binas.core.errors import BinasError, DeviceError
from binas.devices import probe
from binas.devices.device import Device
from binas.devices.link import Link
from binas.devices.registry import connect, find, no_route

MIN_MEMORY_BYTES = 64 << 20  # the largest network we ship needs a third of it
MIN_DISK_BYTES = 32 << 20
SCRIPT_S = 60.0  # a Pi answers in less than one
HELLO = "#!/bin/sh\necho binas\n"


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
    try:
        device = find(name)
    except BinasError as error:
        yield _broken("name", error)
        return
    yield CheckStep(name="name", ok=True, found=f"{device.title}, {device.arch} {device.cpu}")
    if device.link.kind == "none":
        yield _broken("route", no_route(device))
        return
    route = device.link.kind + (f" to {device.link.host}" if device.link.host else "")
    yield CheckStep(name="route", ok=True, found=route)
    if device.link.kind == "null":
        yield CheckStep(name="login", ok=True, found="nothing to log in to: a null device")
        return
    try:
        link = connect(device)
    except BinasError as error:
        yield _broken("login", error)
        return
    with link:
        yield CheckStep(name="login", ok=True, found="a directory of our own was made there")
        try:
            machine = ask(link)
        except BinasError as error:
            yield _broken("shell", error)
            return
        for step in (*_machine_steps(device, machine), _hello(link)):
            yield step
            if not step.ok:
                return
        yield _governor(device, machine)


def ask(link: Link) -> probe.Machine:
    """What the machine behind a link says about itself.

    Raises:
        DeviceError: It cannot run a shell script from the link's directory.
    """
    return probe.parse(_run_script(link, probe.SCRIPT, "probe"))


def _machine_steps(device: Device, machine: probe.Machine) -> Iterator[CheckStep]:
    yield _architecture(device, machine)
    lacking = machine.lacks(device.features)
    yield CheckStep(
        name="features",
        ok=not lacking,
        found=f"lacks {', '.join(lacking)}" if lacking else f"all that {device.cpu} code needs",
        hint=f"use a device with an older CPU: this machine can run {machine.cpu}"
        if lacking
        else "",
    )
    memory = machine.available_bytes
    enough = memory is None or memory >= MIN_MEMORY_BYTES
    yield CheckStep(
        name="memory",
        ok=enough,
        found="unknown" if memory is None else f"{memory >> 20} MiB available",
        hint="" if enough else f"end other programs there: {MIN_MEMORY_BYTES >> 20} MiB are needed",
    )
    disk = machine.disk_bytes
    enough = disk is None or disk >= MIN_DISK_BYTES
    yield CheckStep(
        name="disk",
        ok=enough,
        found="unknown" if disk is None else f"{disk >> 20} MiB free",
        hint="" if enough else "free space there, or give the device another `directory`",
    )


def _architecture(device: Device, machine: probe.Machine) -> CheckStep:
    word = f"{machine.word_bits or '?'}-bit programs"
    found = f"{machine.machine or 'unknown'}, {word}"
    # A 64-bit kernel runs static programs of both sizes, whatever its own programs are.
    fits = machine.arch == device.arch or (machine.arch == "aarch64" and device.arch == "armv7")
    hint = ""
    if not fits and device.arch == "aarch64" and machine.arch == "armv7":
        hint = "the system there is 32-bit: use the board whose name ends in -32"
    elif not fits:
        hint = f"{device.name} is described as {device.arch}: correct its `board`"
    return CheckStep(name="architecture", ok=fits, found=found, hint=hint)


def _hello(link: Link) -> CheckStep:
    try:
        said = _run_script(link, HELLO, "hello").strip()
    except BinasError as error:
        return _broken("execute", error)
    return CheckStep(name="execute", ok=said == "binas", found=f"an uploaded program said {said!r}")


def _governor(device: Device, machine: probe.Machine) -> CheckStep:
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


def _run_script(link: Link, text: str, name: str) -> str:
    """Upload a shell script, run it and return what it prints."""
    with tempfile.TemporaryDirectory(prefix="binas.") as folder:
        local = Path(folder) / name
        local.write_text(text)
        link.put(local, name, executable=True)
    done = link.run([name], SCRIPT_S)
    if done.returncode != 0:
        raise DeviceError(
            f"{link.device.name} does not run a program that was uploaded: {done.how}",
            hint="its folder may be mounted noexec: give the device another `directory`",
        )
    return done.stdout


def _broken(name: str, error: BinasError) -> CheckStep:
    return CheckStep(name=name, ok=False, found=str(error), hint=error.hint)
