"""Devices by name, and the way to them; what they are is described in files (`described.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from binas.core.errors import BusyError, DeviceError, TransportError, UsageError
from binas.devices import described
from binas.devices.described import user_file
from binas.devices.device import Device
from binas.devices.probe import Machine

if TYPE_CHECKING:
    from binas.devices.link import Link


def names() -> tuple[str, ...]:
    """All device names, sorted.

    Raises:
        UsageError: The user's file is wrong.
    """
    return described.names(described.tables())


def find(name: str) -> Device:
    """The device of a name.

    A user's file that cannot be read as a whole is in the way of the names in it, and of no other.

    Raises:
        UsageError: No such name, or what the user's file says of it is wrong.
        DeviceError: "host" on a machine that we have no code for.
    """
    try:
        user = described.tables()
    except UsageError:
        if name not in described.names({}) or described.mentioned(name):
            raise
        user = {}
    return described.device(name, user)


def all_devices() -> tuple[tuple[Device, ...], tuple[UsageError, ...]]:
    """Every device that can be described here, by name; and what is wrong with the others."""
    found: list[Device] = []
    faults: list[UsageError] = []
    try:
        user = described.tables()
    except UsageError as error:
        user = {}
        faults.append(error)
    unread = bool(faults)
    for name in described.names(user):
        if unread and described.mentioned(name):  # `find` does not know what it is, either
            continue
        try:
            found.append(described.device(name, user))
        except UsageError as error:
            faults.append(error)
        except DeviceError:  # "host" on a machine that we have no code for: it cannot be chosen
            continue
    return tuple(found), tuple(faults)


def connect(device: Device, *, emulate: bool = False, exclusive: bool = True) -> Link:
    """Open the route to a device that is as it was described; the caller closes the link.

    Args:
        device: Where to.
        emulate: Run its programs on this machine under qemu-user instead.
        exclusive: Have a board to ourselves, as measuring needs it.

    Raises:
        DeviceError: No route is known, or what is at its end is not what the device says.
        BusyError: Somebody else has the board to himself.
        TransportError: The route does not answer.
    """
    if emulate:
        from binas.devices.emulator import QemuLink  # noqa: PLC0415

        return QemuLink(device)
    link = reach(device, exclusive=exclusive)
    try:
        if not device.link.wrapper and link.trust != "invented":
            must_suit(device, link.machine)
    except BaseException:
        link.close()
        raise
    return link


@contextmanager
def connect_fleet(devices: Sequence[Device], *, say: Callable[[str], None]) -> Iterator[list[Link]]:
    """Open the routes to several boards that share work; one that is absent or in use is left out.

    Args:
        devices: At least one.
        say: Told which is left out and why, for people.

    Raises:
        DeviceError: None is left, or one is not what it is described as: that is to be mended.
    """
    with ExitStack() as stack:
        links: list[Link] = []
        absent: list[BusyError | TransportError] = []
        for device in devices:
            try:
                links.append(stack.enter_context(connect(device)))
            except (BusyError, TransportError) as error:
                if len(devices) == 1:
                    raise
                absent.append(error)
                say(f"{device.name} is left out: {error}")
        if not links:
            raise absent[-1]
        yield links


def reach(device: Device, *, exclusive: bool) -> Link:
    """As `connect`, to whatever is at the end of the route; `binas-devices check` looks at it."""
    if device.link.kind == "host":
        from binas.devices.host import HostLink  # noqa: PLC0415

        return HostLink(device, directory=device.link.directory)
    if device.link.kind == "ssh":
        from binas.devices.ssh import SshLink  # noqa: PLC0415

        return SshLink(device, exclusive=exclusive)
    if device.link.kind == "rpc":
        from binas.devices.rpc import RpcLink  # noqa: PLC0415 (tvm: 1 s)

        return RpcLink(device)
    if device.link.kind == "null":
        from binas.devices.null import NullLink  # noqa: PLC0415

        return NullLink(device)
    raise no_route(device)


def must_suit(device: Device, machine: Machine) -> None:
    """Check that code for a device runs on the machine that was found.

    Raises:
        DeviceError: Another architecture or word size, or the CPU lacks what the code needs.
    """
    lacking = machine.lacks(device.features)
    fits = machine.runs(device.arch)
    if fits and not lacking:
        return
    found = machine.cpu or machine.arch or machine.machine or "a machine that says nothing"
    why = f"it lacks {', '.join(lacking)}" if fits else f"it is {machine.machine or 'unknown'}"
    raise DeviceError(
        f"{device.name} needs {device.arch} with {device.cpu}, found {found}: {why}",
        hint=other_board(device, machine),
    )


def other_board(device: Device, machine: Machine) -> str:
    """What to do where a machine is not what a device was described as."""
    if device.arch == "aarch64" and machine.arch == "armv7":
        return "the system there is 32-bit: use the board whose name ends in -32"
    if device.link.kind == "host":
        return "binas-devices show host says what this machine can run"
    if machine.runs(device.arch) and machine.cpu:
        return f"describe it as a board with an older CPU: that machine can run {machine.cpu}"
    return f"{device.name} is described as {device.arch}: correct its `board` in {user_file()}"


def no_route(device: Device) -> DeviceError:
    """The error for a board that is described but not connected."""
    emulation = " --emulate gives right answers without a board." if device.arch != "x86_64" else ""
    return DeviceError(
        f"{device.name} is a description: binas knows no way to such a board yet",
        hint=f"binas-devices add my-{device.name} --board {device.name} "
        f"--host pi@raspberrypi.local (written to {user_file()}).{emulation}",
    )
