"""Genotype: one network of a space, as a record; enough to build it, nothing about its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, get_args

from binas.core import record
from binas.core.errors import UsageError
from binas.search import space as space_of_stages
from binas.search.cells import CellGenotype, CellOp, CellSpace
from binas.search.reference import Reference
from binas.search.space import OpName, Space

WEIGHT_FREE = ("none", "skip", "pool", "max", "avg")  # of either kind of space
CellOps = tuple[OpName, ...]  # one operation per edge of the cell, in the order of Space.edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Genotype:
    """One choice for everything that the space leaves open.

    Attributes:
        space: Where it comes from.
        widths: Per stage, an index into `space.widths`.
        normal: Per stage, per kept normal cell, its operations.
        reduction: Per reduction cell (one fewer than stages), its operations.
    """

    SCHEMA: ClassVar[str] = "binas.genotype/1"

    space: Space
    widths: tuple[int, ...]
    normal: tuple[tuple[CellOps, ...], ...]
    reduction: tuple[CellOps, ...]

    def __post_init__(self) -> None:
        """Refuse what the space does not hold, naming the place."""
        space = self.space
        if len(self.widths) != space.stages or len(self.normal) != space.stages:
            raise _fault("stages", len(self.normal), str(space.stages))
        if len(self.reduction) != space.stages - 1:
            raise _fault("reduction cells", len(self.reduction), str(space.stages - 1))
        for stage, (width, cells) in enumerate(zip(self.widths, self.normal, strict=True)):
            if not 0 <= width < len(space.widths):
                raise _fault(f"width of stage {stage}", width, f"0 to {len(space.widths) - 1}")
            if len(cells) not in space.depths:
                raise _fault(f"cells of stage {stage}", len(cells), f"one of {space.depths}")
            for cell, ops in enumerate(cells):
                _check_cell(space, ops, space.normal_ops, f"stage {stage} cell {cell}")
        for stage, ops in enumerate(self.reduction):
            _check_cell(space, ops, space.reduction_ops, f"reduction {stage}")

    @property
    def depths(self) -> tuple[int, ...]:
        """Normal cells kept per stage."""
        return tuple(len(cells) for cells in self.normal)

    def __str__(self) -> str:
        """A line for people: `[1/2: skip·b3·b3] b3·skip·b3 [1: ...]`."""
        parts: list[str] = []
        for stage, (width, cells) in enumerate(zip(self.widths, self.normal, strict=True)):
            ops = " ".join("·".join(cell) for cell in cells)
            parts.append(f"[{self.space.widths[width]:g}: {ops}]")
            if stage < len(self.reduction):
                parts.append("·".join(self.reduction[stage]))
        return " ".join(parts)


# Files are told apart by their schema tags.
AnyGenotype = Genotype | CellGenotype  # what a search finds
Buildable = AnyGenotype | Reference  # what can be built, trained and exported
AnySpace = Space | CellSpace


# Spaces of cells that ship beside those of stages, spaces/NAME.toml.
CELL_SPACES = ("darts-cifar10", "broad-cifar10")


def load_space(name: str) -> AnySpace:
    """A space of either kind, built in or from a TOML file; one of cells names its `layout`.

    Raises:
        UsageError: No such space, not TOML, unknown keys, or a space that holds no network.
    """
    text = space_of_stages.read(name, (*space_of_stages.BUILT_IN, *CELL_SPACES))
    if "layout" in record.read_toml(text, where=name, hint="see spaces/digits.toml"):
        return space_of_stages.parsed(CellSpace, get_args(CellOp), text, where=name)
    return space_of_stages.parse(text, where=name)


def load(path: Path) -> Buildable:
    """A genotype of any space, or a reference network, from its file.

    Raises:
        UsageError: No genotype.
    """
    return loads(record.read_bytes(path), where=str(path))


def loads(text: str | bytes, *, where: str) -> Buildable:
    """A genotype of any space, or a reference network, from JSON; the schema tag says which."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    tag = data.get("schema") if isinstance(data, dict) else None
    if tag == CellGenotype.SCHEMA:
        return record.loads(CellGenotype, text, where=where)
    if tag == Reference.SCHEMA:
        return record.loads(Reference, text, where=where)
    return record.loads(Genotype, text, where=where)


def _check_cell(space: Space, ops: CellOps, allowed: CellOps, where: str) -> None:
    if len(ops) != len(space.edges):
        raise _fault(f"edges of {where}", len(ops), str(len(space.edges)))
    for op in ops:
        if op not in allowed:
            raise _fault(f"an operation of {where}", op, f"one of {', '.join(allowed)}")
    if not space.is_whole(ops):
        raise _fault(where, "·".join(ops), "an operation other than none into every node")


def _fault(what: str, found: object, expected: str) -> UsageError:
    return UsageError(
        f"genotype: {what}: found {found}, expected {expected}",
        hint="derive it again: binas-search run",
    )
