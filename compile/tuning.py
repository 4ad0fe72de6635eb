"""Tuning databases: which tile is the fastest for a layer, as somebody found out.

A layer's tile is looked up in the user's database, then in the one that the package holds; where
neither knows it, the kernel's family chooses. An entry holds for a layer, a CPU and the code that
the kernel was made by, and only for tiles that the family would try itself: a database can make a
network slower, never wrong. `BINAS_TUNING` names the user's file, or says `off`: families choose.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import ClassVar, Literal

from binas.compile.isa import Isa
from binas.compile.tile import Tile
from binas.core import record
from binas.core.layer import Layer
from binas.devices.device import Arch
from binas.devices.zig import user_caches

Origin = Literal["user", "shipped", "rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a tile was found to gain, by a clock.

    Attributes:
        tuned_ns: Median time of the layer with the tile.
        rule_ns: With the family's own choice, measured in turns with it.
        machine: The CPU it was measured on, in its maker's words.
    """

    tuned_ns: float
    rule_ns: float
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What a tile should gain if a pipeline model is right; no clock was involved.

    Attributes:
        tuned_cycles: Of the layer with the tile.
        rule_cycles: With the family's own choice.
        pipeline: LLVM's name of the CPU whose model it was.
    """

    tuned_cycles: float
    rule_cycles: float
    pipeline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The best tile of a layer on a CPU.

    Attributes:
        layer: The layer.
        arch: Instruction set.
        cpu: LLVM's name of the CPU that the kernel is made for.
        made_by: Of the sources that generate the kernel (`kernels/version.py`).
        tile: The best.
        gain: Against the family's own choice.
        tried: Tiles that it was the best of.
    """

    layer: Layer
    arch: Arch
    cpu: str
    made_by: str
    tile: Tile
    gain: Measured | Estimated
    tried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A file of tuned layers."""

    SCHEMA: ClassVar[str] = "binas.tuning/1"

    entries: tuple[Tuned, ...] = ()

    def with_entry(self, entry: Tuned) -> Database:
        """The same with an entry added, or replaced; entries stay sorted."""
        found = {_key(one): one for one in (*self.entries, entry)}
        # What other code was tuned for is of no use any more.
        kept = [one for one in found.values() if _place(one) != _place(entry) or one == entry]
        return Database(entries=tuple(sorted(kept, key=repr)))


def _key(entry: Tuned) -> tuple[object, ...]:
    return entry.layer, entry.arch, entry.cpu, entry.made_by


def _place(entry: Tuned) -> tuple[object, ...]:
    return entry.layer, entry.arch, entry.cpu


class Tuning:
    """The databases in use, and what they know.

    Args:
        databases: By what is said of where a tile came from; the first wins.
    """

    def __init__(self, databases: dict[Origin, Database]) -> None:
        """Keep them."""
        self._databases = databases

    @staticmethod
    def of_user() -> Tuning:
        """The databases of whoever runs this.

        Raises:
            UsageError: The user's file is no database.
        """
        path = user_file()
        return Tuning({}) if path is None else Tuning.of_file(path)

    @staticmethod
    def of_file(path: Path) -> Tuning:
        """A file, which need not be there, then the one that the package holds."""
        return Tuning({"user": read(path), "shipped": shipped()})

    @property
    def digests(self) -> dict[str, str]:
        """Database → digest of what it holds, for those that hold anything."""
        return {
            name: record.digest(database)
            for name, database in self._databases.items()
            if database.entries
        }

    def known(self, layer: Layer, isa: Isa) -> Tuned | None:
        """The entry for a layer, if there is one that applies."""
        found = self._find(layer, isa)
        return None if found is None else found[0]

    def tile(self, layer: Layer, isa: Isa) -> tuple[Tile | None, Origin]:
        """A layer's tile, and who chose it; None where there is nothing to choose."""
        from binas.compile.kernels import family  # noqa: PLC0415 (tvm takes a second)

        found = self._find(layer, isa)
        if found is None:
            return family.default_tile(layer, isa), "rule"
        return found[0].tile, found[1]

    def _find(self, layer: Layer, isa: Isa) -> tuple[Tuned, Origin] | None:
        from binas.compile.kernels import family, version  # noqa: PLC0415 (tvm takes a second)

        for entry, origin in self._entries.get((layer, isa.arch, isa.cpu), ()):
            fits = entry.tile in family.tiles(layer, isa)
            if fits and entry.made_by == version.made_by(layer, isa):
                return entry, origin
        return None

    @cached_property
    def _entries(self) -> dict[tuple[object, ...], list[tuple[Tuned, Origin]]]:
        """All entries of a layer on a CPU; what was measured comes before what was estimated."""
        found: dict[tuple[object, ...], list[tuple[Tuned, Origin]]] = {}
        for origin, database in self._databases.items():
            for entry in database.entries:
                found.setdefault(_place(entry), []).append((entry, origin))
        for entries in found.values():
            entries.sort(key=lambda pair: isinstance(pair[0].gain, Estimated))
        return found


def user_file() -> Path | None:
    """Where the user's database is, or would be; None: no database is to be used."""
    named = os.environ.get("BINAS_TUNING")
    if named == "off":
        return None
    return Path(named).expanduser() if named else user_caches() / "tuning.json"


def read(path: Path) -> Database:
    """A database; an empty one where there is no such file.

    Raises:
        UsageError: The file is no database.
    """
    return record.load(Database, path) if path.exists() else Database()


def shipped() -> Database:
    """The database of the package: layers of common networks on the CPUs it names."""
    entries: list[Tuned] = []
    for file in _files():
        text = file.read_text(encoding="utf-8")
        entries += record.loads(Database, text, where=file.name).entries
    return Database(entries=tuple(entries))


def _files() -> Iterable[Traversable]:
    folder = resources.files("binas.compile") / "tuned"
    return sorted(
        (file for file in folder.iterdir() if file.name.endswith(".json")),
        key=lambda file: file.name,
    )
