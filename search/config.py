"""What a command was asked for: units, and settings from flags over a file over defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from binas.core import record
from binas.core.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    S = TypeVar("S", bound=DataclassInstance)

_NS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_TIME = re.compile(r"(\d{1,15}(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s)")


def nanoseconds(text: str) -> float:
    """A time with its unit, in ns.

    Example:
        >>> nanoseconds("1.5ms")
        1500000.0

    Raises:
        UsageError: No unit, an unknown one, or not above 0.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise UsageError(
            f"{text!r} is no time, expected a number above 0 with a unit",
            hint="write 500us, 0.5ms or 500000ns",
        )
    return float(match[1]) * _NS[match[2]]


def settings(cls: type[S], file: Path | None, flags: Mapping[str, Any]) -> S:
    """Settings of a dataclass: flags that are not None, then the file's keys, then defaults.

    Raises:
        UsageError: Not TOML, a key that the class does not have, or a value that does not fit.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 (0.1 s)

    where = "settings" if file is None else str(file)
    values: dict[str, Any] = {}
    known = [field.name for field in fields(cls) if field.default is not MISSING]
    if file is not None:
        values = record.read_toml(record.read_bytes(file), where=str(file))
        for key in values:
            if key not in known:
                fault = unknown_name("key", key, known)
                raise UsageError(f"{file}: {fault}", hint=fault.hint)
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        # As JSON: strict validation of Python values would ask for an instance of the class.
        return TypeAdapter(cls).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise UsageError(f"{where}: {faults}", hint=f"keys: {', '.join(known)}") from None
