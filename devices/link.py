"""Link: the four verbs by which a device is used, whatever the route.

All files lie in one directory of the device that the link makes and removes. Names are plain file
names in it; anything a shell could take for something else is refused, so no route has to trust its
quoting alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from binas.core.errors import UsageError
from binas.devices.device import Device
from binas.devices.keeper import Holder
from binas.devices.probe import Machine

# What an answer over this link is worth: only "host" and "ssh" have a clock that counts.
Trust = Literal["real", "emulated", "invented"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program on the device ended.

    Attributes:
        returncode: Its exit status; 128 + n where signal n ended it, as a shell says.
        stdout: What it printed.
        stderr: What it complained about.
    """

    returncode: int
    stdout: str
    stderr: str

    @property
    def how(self) -> str:
        """How it ended, for messages."""
        signals = {132: "illegal instruction", 134: "aborted", 135: "bus error", 137: "killed"}
        signals |= {136: "arithmetic fault", 139: "segmentation fault"}
        said = self.stderr.strip().splitlines()
        why = signals.get(self.returncode, f"exit status {self.returncode}")
        return f"{why}: {said[-1]}" if said else why


class Link(Protocol):
    """A route to one device."""

    @property
    def device(self) -> Device:
        """The device at the other end."""

    @property
    def trust(self) -> Trust:
        """Whether answers come from the real machine, an emulated one, or from nowhere."""

    @property
    def machine(self) -> Machine:
        """What the machine said about itself when it was reached."""

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Who else had the board to himself when it was reached."""

    def put(self, local: Path, name: str, *, executable: bool = False) -> None:
        """Copy a local file to the device.

        Raises:
            UsageError: `name` is not a plain file name.
            DeviceError: The device has no room, or refuses.
        """

    def get(self, name: str, local: Path) -> None:
        """Copy a file of the device here.

        Raises:
            DeviceError: No such file there.
        """

    def run(self, argv: Sequence[str], timeout_s: float) -> Finished:
        """Run a program that was put there, in the link's directory.

        Args:
            argv: The program's name, then its arguments, handed over unchanged.
            timeout_s: Seconds until the program is ended.

        Raises:
            TimedOutError: It took longer.
            TransportError: The link broke.
        """

    def close(self) -> None:
        """Remove the directory and end the link; more than once does no harm."""

    def __enter__(self) -> Self:
        """Use as a context manager: closes at the end."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""


def checked_name(name: str) -> str:
    """`name`, if it is a plain file name.

    Raises:
        UsageError: It holds a slash, a blank or a metacharacter, or begins with a dot or dash.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a file name on a device",
            hint="use letters, digits, '.', '_' and '-', at most 100",
        )
    return name


def checked_argv(argv: Sequence[str]) -> list[str]:
    """`argv` as a list, if its program is a plain name and no argument holds a NUL."""
    if not argv:
        raise ValueError("argv is empty, expected a program")
    if any("\0" in argument for argument in argv):
        raise UsageError("an argument holds a NUL byte, which no program can be given")
    return [checked_name(argv[0]), *argv[1:]]
