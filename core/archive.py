"""Archives and arrays from strangers: parsed within limits, never unpacked to disk, no pickle.

A zip says how large its members are before they are read, and may lie; .npy says how large its
array is, and may lie, too. Here both are held to what the file can hold.
"""

from __future__ import annotations

import io
import math
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from binas.core.errors import DamagedError

MAX_RATIO = 100  # a member larger than its compressed bytes by more is no data of ours
_FREE_BYTES = 1 << 20  # ... unless it is small anyway
_NUMBERS = "biuf"  # kinds of dtypes: no objects, no structures, no strings

# What zipfile, zlib and numpy raise on damage; they have no common base.
_ZIP_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, NotImplementedError),
    *(RuntimeError, ValueError, KeyError, IndexError, OverflowError),
)
_NPY_FAULTS = (ValueError, TypeError, SyntaxError, tokenize.TokenError, EOFError, RecursionError)


def sizes(source: Path | io.BytesIO) -> dict[str, int]:
    """Member → bytes, in order; nothing is read but the directory.

    Raises:
        DamagedError: Not a zip, names that stand twice, or a member that no honest archive holds.
    """
    with _opened(source) as archive:
        found = archive.infolist()
        for member in found:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DamagedError(f"{member.filename} is a link")
            if member.file_size > max(_FREE_BYTES, MAX_RATIO * member.compress_size):
                raise DamagedError(f"{member.filename} claims {member.file_size} bytes")
        known = {member.filename: member.file_size for member in found}
        if len(known) != len(found):
            raise DamagedError("two members have one name")
        return known


def member(source: Path | io.BytesIO, name: str, limit_bytes: int) -> bytes:
    """The bytes of one member, their checksum compared.

    Raises:
        DamagedError: Not there, damaged, or larger than the limit.
    """
    known = sizes(source)
    if name not in known:
        raise DamagedError(f"it has no member {name}")
    if known[name] > limit_bytes:
        raise DamagedError(f"{name} claims {known[name]} bytes, expected {limit_bytes} at most")
    with _opened(source) as archive:
        return archive.read(name)


def array(data: bytes) -> np.ndarray:
    """The array of a .npy file.

    Raises:
        DamagedError: Not such a file, not numbers, or fewer of them than it says.
    """
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise DamagedError(f"version {version} of the format, expected 1.0 or 2.0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's remarks on headers of Python 2
            shape, fortran_order, dtype = read(file)
    except _NPY_FAULTS as error:
        raise DamagedError(f"no .npy header: {_first_line(error)}") from None
    if dtype.kind not in _NUMBERS:
        raise DamagedError(f"it holds {_first_line(dtype)}, expected numbers")
    count, start = math.prod(shape), file.tell()
    if min(shape, default=0) < 0 or len(data) - start != count * dtype.itemsize:
        raise DamagedError(f"it says {dtype} {list(shape)[:8]} and holds {len(data) - start} bytes")
    flat = np.frombuffer(data, dtype, count, start)
    return flat.reshape(shape, order="F" if fortran_order else "C").copy()


def arrays(data: bytes, limit_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name.

    Raises:
        DamagedError: Not such a file, or larger than the limit in all.
    """
    source = io.BytesIO(data)
    known = sizes(source)
    if sum(known.values()) > limit_bytes:
        raise DamagedError(f"arrays of {sum(known.values())} bytes, expected {limit_bytes} at most")
    found = {}
    with _opened(source) as archive:
        for name in known:
            try:
                found[name.removesuffix(".npy")] = array(archive.read(name))
            except DamagedError as error:
                raise DamagedError(f"{name}: {error}") from None
    return found


@contextmanager
def _opened(source: Path | io.BytesIO) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive
    except _ZIP_FAULTS as error:
        raise DamagedError(_first_line(error)) from None


def _first_line(what: Any) -> str:
    lines = str(what).splitlines()
    return lines[0][:200] if lines else type(what).__name__
