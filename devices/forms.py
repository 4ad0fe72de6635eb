"""What the commands of this room print with `--json`, as types; `record.json_schema` reads them."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12


class DevicesAnswer(TypedDict):
    """`binas-devices list`: every device, fields as `binas-devices show` has them.

    What the user's file describes wrongly is no device but a sentence in `faults`.
    """

    schema: Literal["binas.devices/1"]
    devices: list[dict[str, Any]]
    faults: list[str]


class WalkedStep(TypedDict):
    """One step on the way to a device."""

    name: str
    ok: bool
    found: str
    hint: str


class CheckAnswer(TypedDict):
    """`binas-devices check`: the steps up to the first broken one."""

    schema: Literal["binas.check/1"]
    device: str
    ok: bool
    steps: list[WalkedStep]


class LockHolder(TypedDict):
    """Who has a board to himself."""

    who: str
    pid: int


class LockAnswer(TypedDict):
    """`binas-devices lock`."""

    schema: Literal["binas.lock/1"]
    device: str
    holders: list[LockHolder]


class DoctorAnswer(TypedDict):
    """`binas doctor`; None: not installed, or the machine does not say."""

    schema: Literal["binas.doctor/1"]
    versions: dict[str, str | None]
    machine: dict[str, str | int | None]
    programs: dict[str, bool]
    files: dict[str, str | int | None]
    problems: list[str]
