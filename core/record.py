"""Records: frozen dataclasses with one canonical JSON form, a schema tag and a content digest.

A record class carries `SCHEMA: ClassVar[str] = "binas.thing/1"`. Its JSON is one object whose first
key is `schema`; keys are sorted, so equal values give equal bytes and equal digests. pydantic reads
the JSON (all faults at once, with their paths) and is imported only then.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from binas.core.errors import UnwritableError, UsageError


class Record(Protocol):
    """A frozen dataclass with a schema tag."""

    SCHEMA: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


R = TypeVar("R", bound=Record)

MAX_FAULTS = 1000  # beyond it they are counted, not told
MAX_BYTES = 16 << 20  # of a file; no settings and no manifest come near
# A record may be larger: the table of a busy board has hundreds of samples for each of thousands
# of layers. Samples are cheap, for of a list the first fault only is told. What can be wrong one by
# one is dear: a million keys with a fault each take 1.7 s and 500 MiB.
MAX_RECORD_BYTES = 64 << 20
MAX_VALUES = 4_000_000  # in lists and objects
MAX_KEYS = 750_000  # and lists and objects
MAX_TOML_BYTES = 1 << 20  # written by hand, and read a hundred times more slowly than JSON


def to_dict(record: Record) -> dict[str, Any]:
    """The record as plain JSON values, with its schema tag."""
    return {"schema": record.SCHEMA, **_plain(record)}


# Metadata of a later field: not written at its default, so older records keep their digests.
UNSAID = "unsaid at its default"

_LEAVES = {bool, float, int, str, type(None)}


def _plain(value: Any) -> Any:
    """As `dataclasses.asdict`, five times faster where there are long tuples of numbers."""
    if is_dataclass(value):
        said = ((one, getattr(value, one.name)) for one in fields(value))
        said = ((one, v) for one, v in said if UNSAID not in one.metadata or v != one.default)
        return {one.name: _plain(v) for one, v in said}
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [one if type(one) in _LEAVES else _plain(one) for one in value]
    return value


def dumps(record: Record, *, indent: int | None = None) -> str:
    """Canonical JSON; `indent` is for people and does not change the digest."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(
        to_dict(record), sort_keys=True, separators=separators, indent=indent, allow_nan=False
    )
    return text if indent is None else _NUMBERS.sub(_on_one_line, text)


# A list without texts, lists or objects in it. No JSON text holds a line's end, so none is touched.
_NUMBERS = re.compile(r'\[\n[^"\[\]{}]*\]')


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers.group()[1:-1].split())}]"


def digest(record: Record) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON: names files and caches."""
    return digest_bytes(dumps(record).encode())


def digest_bytes(data: bytes) -> str:
    """First 12 hex digits of the SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()[:12]


def loads(cls: type[R], text: str | bytes, *, where: str) -> R:
    """Parse a record; every fault is listed with its path.

    Args:
        cls: The record class expected.
        text: JSON.
        where: Name of the source, for messages.

    Raises:
        UsageError: Not JSON, another schema, or fields that do not fit.
    """
    from pydantic import ValidationError  # noqa: PLC0415 (0.1 s)

    raw = text.encode() if isinstance(text, str) else text
    if raw.count(b",") > MAX_VALUES or sum(raw.count(mark) for mark in b"[{:") > MAX_KEYS:
        raise UsageError(f"{where} holds more values than a {cls.SCHEMA} file", hint="wrong file?")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{where} is not JSON: {error}", hint=f"expected a {cls.SCHEMA} file"
        ) from None
    found = data.pop("schema", None) if isinstance(data, dict) else None
    if found != cls.SCHEMA:
        raise UsageError(
            f"{where} holds schema {found!r}, expected {cls.SCHEMA!r}",
            hint="give the right kind of file, or make it again with this version of binas",
        )
    try:
        return _validator(cls).validate_python(data)  # type: ignore[no-any-return]
    except ValidationError as error:
        if error.error_count() > MAX_FAULTS:
            raise UsageError(
                f"{where} does not fit {cls.SCHEMA} in {error.error_count()} places",
                hint="is it another kind of file?",
            ) from None
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'top level'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise UsageError(
            f"{where} does not fit {cls.SCHEMA}: {shown}", hint="make the file again"
        ) from None
    except UsageError as error:
        raise UsageError(f"{where}: {error}", hint=error.hint) from None


def load(cls: type[R], path: Path) -> R:
    """Read a record from a file."""
    return loads(cls, read_bytes(path, MAX_RECORD_BYTES), where=str(path))


def read_toml(text: str | bytes, *, where: str, hint: str = "") -> dict[str, Any]:
    """Parse TOML that somebody wrote by hand.

    Raises:
        UsageError: Not TOML, or more of it than anybody writes.
    """
    if len(text) > MAX_TOML_BYTES:
        raise UsageError(f"{where} is larger than {MAX_TOML_BYTES >> 20} MiB", hint="wrong file?")
    try:
        return tomllib.loads(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise UsageError(f"{where} is nested too deeply", hint=hint or "wrong file?") from None
    except ValueError as error:  # of TOML, of UTF-8, of an integer of thousands of digits
        raise UsageError(
            f"{where} is not TOML: {error}", hint=hint or "mend the line it names: key = value"
        ) from None


def save(record: Record, path: Path) -> None:
    """Write a record, indented, beside and renamed into place."""
    write_atomic(path, (dumps(record, indent=1) + "\n").encode())


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """The JSON Schema of a record's file, or of an answer: a TypedDict of a room's `forms`."""
    schema: dict[str, Any] = _adapter(cls).json_schema()
    if not hasattr(cls, "SCHEMA"):
        return schema
    schema["properties"] = {"schema": {"const": cls.SCHEMA}, **schema.get("properties", {})}
    schema["required"] = ["schema", *schema.get("required", [])]
    return schema


def read_bytes(path: Path, limit_bytes: int = MAX_BYTES) -> bytes:
    """A file's bytes, or a UsageError that says what stands at the path instead."""
    try:
        if path.is_char_device() or path.is_block_device():  # some of them never end
            raise UsageError(f"{path} is a device, expected a file", hint="check the path")
        with path.open("rb") as file:
            size, parts = os.fstat(file.fileno()).st_size, list[bytes]()
            while size <= limit_bytes and (part := file.read(max(size, 1 << 16))):
                parts.append(part)
                size = max(size, sum(map(len, parts)))  # a pipe does not say how long it is
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", hint="check the path") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    if size > limit_bytes:
        raise UsageError(f"{path} is larger than {limit_bytes >> 20} MiB", hint="wrong file?")
    return b"".join(parts)


def keep(output: Path, files: Iterable[Path]) -> None:
    """Refuse an output that is one of the files it is made from.

    Raises:
        UsageError: It would overwrite that file.
    """
    for file in files:
        if output.exists() and file.is_file() and output.samefile(file):
            raise UsageError(f"{output} would overwrite {file}", hint="give another output")


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside `path` and rename into place: readers see the old file or the new one."""
    with replacing(path) as beside:
        beside.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed onto it on success, removed on failure.

    Raises:
        UnwritableError: The folder cannot be written, or the disk is full.
        UsageError: Something that is no file (a device, a pipe) has that name: renaming onto it
            would destroy it.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is no regular file", hint="give another -o")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
    except OSError as error:
        # The caller's block may fail at other things than writing here: those errors are its own.
        if error.errno in WRITE_ERRNOS:
            raise _unwritable(path, error) from error
        raise
    else:
        try:
            beside.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


WRITE_ERRNOS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG}


def _unwritable(path: Path, error: OSError) -> UnwritableError:
    return UnwritableError(
        f"cannot write {path}: {error.strerror}", hint="free space or give another -o"
    )


def _adapter(cls: type[Any]) -> Any:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 (0.1 s)

    if "__pydantic_config__" not in cls.__dict__:
        cls.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(cls)


@cache
def _validator(cls: type[Any]) -> Any:
    """Validates what `json.loads` gives: a list is a tuple, an object is a record, "1" is not 1.

    pydantic's own strict JSON mode would parse again, and keep a copy of the whole file for every
    fault. Of a list the first fault only is told, for a list may have millions.
    """
    from pydantic_core import SchemaValidator  # noqa: PLC0415 (0.1 s)

    return SchemaValidator(_strict_leaves(_adapter(cls).core_schema))


def _strict_leaves(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict_leaves(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict_leaves(value) for key, value in schema.items()}
    kind = schema.get("type")
    if kind == "tuple":
        found["fail_fast"] = True
    elif kind in ("int", "str", "bool"):
        found["strict"] = True
    elif kind == "float":
        found |= {"strict": True, "allow_inf_nan": False}
    return found
