"""What devices are: the shipped boards, and the user's own routes to boards, both in TOML.

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
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from binas.core import record
from binas.core.errors import UsageError, unknown_name
from binas.devices.device import Arch, Device, LinkKind, LinkSettings
from binas.devices.probe import host_device

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


def user_file() -> Path:
    """Where the user's devices are described; the file need not exist."""
    named = os.environ.get("BINAS_DEVICES")
    if named:
        return Path(named).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "binas" / "devices.toml"


def tables() -> dict[str, Any]:
    """What the user's file holds, by name; nothing is checked yet.

    Raises:
        UsageError: It is not TOML, or BINAS_DEVICES names a file that is not there.
    """
    path = user_file()
    if not path.is_file():
        if os.environ.get("BINAS_DEVICES"):
            raise UsageError(
                f"BINAS_DEVICES names {path}, which is not there", hint="unset BINAS_DEVICES"
            )
        return {}
    return _parse(path)


def mentioned(name: str) -> bool:
    """Whether the user's file may say something of a name, even where it cannot be parsed."""
    try:
        return name.encode() in record.read_bytes(user_file())
    except UsageError:
        return True


def names(user: Mapping[str, Any]) -> tuple[str, ...]:
    """All device names, sorted; `user` is what `tables` gave."""
    return tuple(sorted({"host", *_shipped(), *user}))


def device(name: str, user: Mapping[str, Any]) -> Device:
    """The device of a name; `user` is what `tables` gave.

    Raises:
        UsageError: No such name, or its description is wrong.
        DeviceError: "host" on a machine that we have no code for.
    """
    if name in user:
        try:
            return of_table(name, user[name])
        except UsageError as error:
            raise UsageError(f"{_place(name)}: {error}", hint=error.hint) from None
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


def of_table(name: str, table: Any) -> Device:
    """The device that a table of the user's file describes; where it stands is the caller's to say.

    Raises:
        UsageError: It describes none.
    """
    where = f"[{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{name} stands outside a table", hint=f"write [{name}]")
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


def _place(name: str) -> str:
    """The user's file, with the line of a name's table where it is written as people write it."""
    path = user_file()
    lines = record.read_bytes(path).decode().splitlines()
    word = rf"[\"']?{re.escape(name)}[\"']?\s*"
    for pattern in (rf"\s*\[\s*{word}\]", rf"\s*{word}[.=]"):  # a table, else a key before them all
        for number, line in enumerate(lines, start=1):
            if re.match(pattern, line):
                return f"{path}, line {number}"
    return str(path)


def _parse(path: Path) -> dict[str, Any]:
    return record.read_toml(record.read_bytes(path), where=str(path))


def _check_keys(table: Mapping[str, Any], known: Mapping[str, type], where: str) -> None:
    for key, value in table.items():
        if key not in known:
            error = unknown_name("key", key, known)
            raise UsageError(f"{where}: {error}", hint=error.hint)
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} is {value!r}, expected {known[key].__name__}")
