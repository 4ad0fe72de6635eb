"""What a command was asked for: units, and settings from flags over a file over defaults."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
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
    return merged(cls, file, flags)[0]


def merged(
    cls: type[S],
    file: Path | None,
    flags: Mapping[str, Any],
    preset: tuple[str, S] | None = None,
) -> tuple[S, dict[str, str]]:
    """Settings as `settings` gives them, and where each came from.

    Args:
        cls: Of the settings.
        file: TOML.
        flags: Win over the file.
        preset: Name and settings that come in place of the class's own defaults.

    Returns:
        The settings, and per field "default", "preset NAME", the name of the file, or "command
        line".
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 (0.1 s)

    where = "settings" if file is None else str(file)
    known = [field.name for field in fields(cls) if field.default is not MISSING]
    values = {} if file is None else _of_file(file, known)
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name not in known:
            fault = unknown_name("setting", name, known)
            raise UsageError(f"{fault} for this strategy or training", hint=fault.hint)
    origins = dict.fromkeys(known, "default")
    chosen: dict[str, Any] = {}
    if preset is not None:
        base = {one.name: one.default for one in fields(cls)}
        values_of = {name: getattr(preset[1], name) for name in known}
        chosen = {name: value for name, value in values_of.items() if value != base[name]}
        origins |= dict.fromkeys(chosen, f"preset {preset[0]}")
    origins |= dict.fromkeys(values, "" if file is None else file.name)
    origins |= dict.fromkeys(given, "command line")
    try:
        # As JSON: strict validation of Python values would ask for an instance of the class.
        text = json.dumps(chosen | values | given, default=str)
        return TypeAdapter(cls).validate_json(text, strict=True), origins
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise UsageError(f"{where}: {faults}", hint=f"keys: {', '.join(known)}") from None


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as values: numbers and true/false as TOML writes them, the rest as text.

    Example:
        >>> assignments(["epochs=3", "optimiser=sgd", "flip=true"])
        {'epochs': 3, 'optimiser': 'sgd', 'flip': True}

    Raises:
        UsageError: A text without `=`.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {text}: no KEY=VALUE", hint="write --set epochs=3")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def _of_file(file: Path, known: list[str]) -> dict[str, Any]:
    values = record.read_toml(record.read_bytes(file), where=str(file))
    for key in values:
        if key not in known:
            fault = unknown_name("key", key, known)
            raise UsageError(f"{file}: {fault}", hint=fault.hint)
    return values
