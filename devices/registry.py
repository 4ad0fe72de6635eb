"""Which devices there are: the shipped descriptions, and the user's own routes to boards.

The user's file names boards on his desk:

    [rpi4-desk]
    board = "rpi4"
    link = "ssh"
    host = "pi@raspberrypi.local"

It is the file that BINAS_DEVICES names, else `binas/devices.toml` in the user's configuration
folder. A user's name may be that of a shipped board: then that board has a route.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from binas.core import record
from binas.core.errors import DeviceError, UsageError, unknown_name
from binas.devices.device import Arch, Device, LinkKind, LinkSettings
from binas.devices.probe import Machine, host_device

if TYPE_CHECKING:
    from binas.devices.link import Link

_BOARDS = Path(__file__).with_name("boards")
_BOARD_KEYS = {
    "title": str,
    "arch": str,
    "cpu": str,
    "features": list,
    "cores": int,
    "memory_mib": int,
    "link": str,
    "note": str,
    "variant": dict,
}
_USER_KEYS = {
    "board": str,
    "link": str,
    "host": str,
    "port": int,
    "user": str,
    "directory": str,
    "options": list,
    "wrapper": list,
    "tracker": int,
    "key": str,
    "table": str,
    "pin": int,
    "title": str,
    "note": str,
}
_USER_LINKS = ("host", "ssh", "rpc", "null")
_LISTS = ("options", "wrapper")  # of LinkSettings, tuples there


def names() -> tuple[str, ...]:
    """All device names, sorted.

    Raises:
        UsageError: The user's file is wrong.
    """
    return tuple(sorted({"host", *_shipped(), *_user()}))


def find(name: str) -> Device:
    """The device of a name.

    Raises:
        UsageError: No such name, or the user's file is wrong.
        DeviceError: "host" on a machine that we have no code for.
    """
    return _find(name, _user())


def all_devices() -> tuple[Device, ...]:
    """Every device that can be described on this machine, by name.

    Raises:
        UsageError: The user's file is wrong.
    """
    user, found = _user(), []
    for name in sorted({"host", *_shipped(), *user}):
        try:
            found.append(_find(name, user))
        except DeviceError:  # "host" on a machine that we have no code for: it cannot be chosen
            continue
    return tuple(found)


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


def user_file() -> Path:
    """Where the user's devices are described; the file need not exist."""
    named = os.environ.get("BINAS_DEVICES")
    if named:
        return Path(named).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "binas" / "devices.toml"


def described(name: str, table: Mapping[str, Any]) -> Device:
    """The device that a table of the user's file would describe.

    Raises:
        UsageError: It describes none.
    """
    return _user_device(name, table)


def _find(name: str, user: Mapping[str, Any]) -> Device:
    if name in user:
        return _user_device(name, user[name])
    return _board(name, ("host", *_shipped(), *user))


def _shipped() -> dict[str, Path]:
    """Name → file of the boards and of their variants."""
    found = {}
    for path in _BOARDS.glob("*.toml"):
        found[path.stem] = path
        for variant in _parse(path).get("variant", {}):
            found[f"{path.stem}-{variant}"] = path
    return found


def _board(name: str, known: tuple[str, ...]) -> Device:
    if name == "host":
        return host_device()
    path = _BOARDS / f"{name}.toml"
    if "/" not in name and "\\" not in name and path.is_file():
        return _board_device(name, path, {})
    path = _shipped().get(name, path)
    if not path.is_file() or name not in known:
        raise unknown_name("device", name, known)
    return _board_device(name, path, _parse(path)["variant"][name.removeprefix(f"{path.stem}-")])


def _board_device(name: str, path: Path, variant: Mapping[str, Any]) -> Device:
    table = {**_parse(path), **variant}
    _check_keys(table, _BOARD_KEYS, str(path))
    missing = {"title", "arch", "cpu"} - set(table)
    if missing:
        raise UsageError(f"{path} has no {', '.join(sorted(missing))}")
    return Device(
        name=name,
        title=table["title"],
        arch=cast(Arch, table["arch"]),
        cpu=table["cpu"],
        features=tuple(table.get("features", ())),
        cores=table.get("cores", 0),
        memory_bytes=table.get("memory_mib", 0) << 20,
        link=LinkSettings(kind=cast(LinkKind, table.get("link", "none"))),
        note=table.get("note", ""),
    )


def _user() -> dict[str, Any]:
    path = user_file()
    if not path.is_file():
        if os.environ.get("BINAS_DEVICES"):
            raise UsageError(
                f"BINAS_DEVICES names {path}, which is not there", hint="unset BINAS_DEVICES"
            )
        return {}
    return _parse(path)


def _user_device(name: str, table: Any) -> Device:
    where = f"{user_file()}: [{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{user_file()}: {name} stands outside a table", hint=f"write [{name}]")
    _check_keys(table, _USER_KEYS, where)
    if "board" not in table and name not in _shipped():
        raise UsageError(f"{where} has no board", hint='add board = "rpi4", or "aarch64"')
    try:
        board = _board(table.get("board", name), ("host", *_shipped()))
        kind = table.get("link", "ssh" if "host" in table else board.link.kind)
        if kind not in (*_USER_LINKS, board.link.kind):
            raise unknown_name("link", kind, _USER_LINKS)
        user, at, host = table.get("host", "").rpartition("@")
        if at and "user" in table:
            raise UsageError(f"user stands in host {table['host']!r} and in user", hint="once")
        own = {f.name for f in fields(LinkSettings)} - {"kind", "host", "user", *_LISTS}
        given: dict[str, Any] = {key: table[key] for key in own & set(table)}
        given |= {key: tuple(map(str, table[key])) for key in _LISTS if key in table}
        link = LinkSettings(
            kind=cast(LinkKind, kind), host=host, user=table.get("user", user), **given
        )
        changed = {key: table[key] for key in ("title", "note", "pin") if key in table}
        return replace(board, name=name, link=link, **changed)
    except UsageError as error:
        raise UsageError(f"{where}: {error}", hint=error.hint) from None


def _parse(path: Path) -> dict[str, Any]:
    return record.read_toml(record.read_bytes(path), where=str(path))


def _check_keys(table: Mapping[str, Any], known: Mapping[str, type], where: str) -> None:
    for key, value in table.items():
        if key not in known:
            error = unknown_name("key", key, known)
            raise UsageError(f"{where}: {error}", hint=error.hint)
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} is {value!r}, expected {known[key].__name__}")
