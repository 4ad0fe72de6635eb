"""Machine code of kernels: one object each, compiled once on a machine and kept.

What a kernel's code depends on is its Layer, its tile, the ISA and the sources of this compiler; no
weight gets into it (`family.generate` is not given any). So an object is named after these four and
shared by all artifacts that contain the layer. `BINAS_KERNEL_CACHE` names another folder to keep
objects in, or says `off`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import ClassVar

from binas.compile.isa import Isa
from binas.compile.plan_source import symbols
from binas.compile.tile import Choice
from binas.core import record
from binas.core.errors import UsageError
from binas.devices.zig import user_caches

LIMIT_BYTES = 256 << 20  # of all objects kept: ten thousand kernels or so


@dataclass(frozen=True, slots=True)
class Object:
    """A compiled kernel.

    Attributes:
        units: How many independent units it does.
        sweeps: How many runs of equal length they are, each to be shared by all threads.
        tile: Family, ISA and tile for people.
        code: A relocatable ELF file with one function.
    """

    units: int
    sweeps: int
    tile: str
    code: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is kept of a kernel beside its code."""

    SCHEMA: ClassVar[str] = "binas.object/2"

    units: int
    sweeps: int
    tile: str


def compiled(choices: Iterable[Choice], isa: Isa, jobs: int = 0) -> dict[Choice, Object]:
    """Each distinct kernel; what is not kept yet is compiled, all in one go.

    `jobs` is the number of processes that compile, 0: one per core, eight at most.

    Raises:
        CompileError: A layer has no kernel, or code generation failed.
    """
    version = kernel_version()  # of the sources as they are before the generators are imported
    store = Store.of_user()
    names = symbols(choices)
    keys = {choice: _key(version, isa, choice) for choice in names}
    found = {choice: kept for choice, key in keys.items() if (kept := store.get(key)) is not None}
    missing = {choice: name for choice, name in names.items() if choice not in found}
    made = _compile(missing, isa, jobs)
    store.put({keys[choice]: kernel for choice, kernel in made.items()})
    return {choice: found.get(choice) or made[choice] for choice in names}


@cache
def kernel_version() -> str:
    """Digest of all that decides a kernel's code: tables of another version do not apply."""
    digest = hashlib.sha256(metadata.version("apache-tvm").encode())
    room, core = resources.files("binas.compile"), resources.files("binas.core")
    files = [room / name for name in ("isa.py", "codegen.py", "graph.py", "tile.py")]
    files += [core / "layer.py", core / "bits.py"]
    files += [file for file in (room / "kernels").iterdir() if file.name.endswith(".py")]
    files += [file for file in (room / "tuned").iterdir() if file.name.endswith(".json")]
    for file in sorted(files, key=lambda entry: entry.name):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Store:
    """Objects in a folder, by key; several processes may use one at once.

    A file is the SHA-256 of the rest, the header, the code. It is written beside and renamed; a
    damaged one counts as missing, and the longest unused go where there are too many.

    Attributes:
        folder: None: nothing is kept.
        limit_bytes: Of all files together.
    """

    folder: Path | None
    limit_bytes: int = LIMIT_BYTES

    @staticmethod
    def of_user() -> Store:
        """The one of whoever runs this."""
        named = os.environ.get("BINAS_KERNEL_CACHE")
        if named == "off":
            return Store(None)
        return Store(Path(named) if named else user_caches() / "kernels")

    def get(self, key: str) -> Object | None:
        """A kept object, which now counts as used."""
        if self.folder is None:
            return None
        path = self.folder / key
        try:
            digest, _, rest = path.read_bytes().partition(b"\n")
            if digest != _digest(rest):
                return None
            os.utime(path)
        except OSError:
            return None
        head, _, code = rest.partition(b"\n")
        header = record.loads(Header, head, where=str(path))
        return Object(header.units, header.sweeps, header.tile, code)

    def put(self, objects: Mapping[str, Object]) -> None:
        """Keep objects as far as the folder can be written; who compiles need not be able to."""
        if self.folder is None or not objects:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for key, kernel in objects.items():
                head = Header(units=kernel.units, sweeps=kernel.sweeps, tile=kernel.tile)
                rest = record.dumps(head).encode() + b"\n" + kernel.code
                record.write_atomic(self.folder / key, _digest(rest) + b"\n" + rest)
            self._trim()
        except (OSError, UsageError):
            return

    def _trim(self) -> None:
        assert self.folder is not None  # noqa: S101 (put has looked)
        found = [(entry.stat(), Path(entry.path)) for entry in os.scandir(self.folder)]
        excess = sum(stat.st_size for stat, _ in found) - self.limit_bytes
        for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime_ns):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= stat.st_size


def _key(version: str, isa: Isa, choice: Choice) -> str:
    text = f"{version} {isa!r} {choice.layer!r} {choice.tile!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _compile(names: Mapping[Choice, str], isa: Isa, jobs: int) -> dict[Choice, Object]:
    if not names:
        return {}
    from binas.compile import codegen  # noqa: PLC0415 (tvm takes a second)
    from binas.compile.kernels import family  # noqa: PLC0415

    kernels = {
        choice: family.generate(choice.layer, isa, name, choice.tile)
        for choice, name in names.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        functions = {names[choice]: kernel.function for choice, kernel in kernels.items()}
        paths = codegen.compile_objects(functions, isa, Path(folder), jobs)
        return {
            choice: Object(
                kernel.units, kernel.sweeps, kernel.tile, paths[names[choice]].read_bytes()
            )
            for choice, kernel in kernels.items()
        }
