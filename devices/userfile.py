"""Write the user's devices.toml: one table added or replaced, the rest as it stands there."""

from __future__ import annotations

import fcntl
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from binas.core.errors import UsageError
from binas.core.record import write_atomic
from binas.devices.described import of_table, user_file
from binas.devices.device import Device


def add(name: str, table: Mapping[str, Any], *, replace: bool = False) -> Device:
    """Describe a board in the user's file.

    Comments, order and spelling of what is there stay. The file is written beside and renamed;
    two who add at the same time wait for each other.

    Args:
        name: What the board is to be called.
        table: Keys and values of its table.
        replace: Whether a table of that name may be there already.

    Returns:
        The device as it will be found.

    Raises:
        UsageError: The table describes no device, the name is taken, or the file is not TOML.
    """
    device = of_table(name, dict(table))
    path = user_file().resolve()  # a link into somebody's dotfiles stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        mode = path.stat().st_mode if path.exists() else None
        changed = _with(text, name, table, path, replace=replace)
        write_atomic(path, changed.encode())
        if mode is not None:
            path.chmod(mode & 0o777)
    return device


def _with(text: str, name: str, table: Mapping[str, Any], path: Path, *, replace: bool) -> str:
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise UsageError(f"{path} is not TOML: {error}", hint="mend the line it names") from None
    if name in document and not replace:
        raise UsageError(
            f"{path} describes {name} already",
            hint="choose another name, or replace it: --replace",
        )
    known = tomllib.loads(text)
    if name in document:
        del document[name]
    block = tomlkit.table()
    block.update(table)
    changed: str = tomlkit.dumps(document).rstrip("\n")
    changed += ("\n\n" if changed else "") + tomlkit.dumps({name: block})
    if tomllib.loads(changed) != {**known, name: dict(table)}:
        raise UsageError(
            f"{path} cannot be extended safely",
            hint=f"add the table [{name}] by hand: binas-devices add --help shows one",
        )
    return changed


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
