"""Space: which networks a search may choose from, as a record.

A BARS space is a chain of stages. A stage is a chain of normal cells, of which the search keeps the
first few, all at one of a few widths; between stages stands a reduction cell, which halves rows and
columns and doubles channels. Inside a cell every edge carries one operation.

Source: BARS, 2020, arXiv:2011.10804; what differs is said in `networks/bars.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args

from binas.core import record
from binas.core.errors import UsageError, unknown_name

R = TypeVar("R", bound=record.Record)

OpName = Literal[
    "none",  # no edge
    "skip",  # the value itself; at stride 2 its 2x2 mean, twice
    "b3",  # binary 3x3 convolution with its shortcut
    "pool",  # 3x3 mean and a batch norm without parameters
]

Process = Literal[
    "binary",  # batch norm, sign, binary 1x1, ReLU
    "real",  # ReLU, real 1x1, batch norm: `nor_conv_1x1`
]

# Of `CellSpace`'s all but "reactnet": its shifts would stand beside those of a batch norm each.
StageBinarizer = Literal["bi-real", "xnor", "bars", "pcnn", "mconv"]

BUILT_IN = ("digits", "cifar10")  # the spaces shipped beside this file, spaces/NAME.toml
MAX_SIZE = 1 << 16  # beyond it no board holds a network
LIMITS = {"classes": MAX_SIZE, "channels": MAX_SIZE, "stages": 16, "max_cells": 256}
# A latency table prices every cell that a space can hold; beyond this it takes hours. The cells of
# BARS' code, four nodes with skip and convolution, are as many.
MAX_CELL_CHOICES = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A BARS search space.

    Attributes:
        input_shape: C, H, W of one image.
        classes: Outputs of the classifier.
        channels: Channels of one node in the first stage at full width; doubles per stage.
        nodes: Nodes of a cell that compute; a cell's output is their concatenation.
        stages: Stages; one reduction cell between each two.
        min_cells: Fewest normal cells of a stage.
        max_cells: Most normal cells of a stage.
        widths: Fractions of the channels that a stage may have, ascending, the last 1.
        stem_stride: Stride of the first convolution.
        normal_ops: Operations of an edge in a normal cell.
        reduction_ops: Operations of an edge in a reduction cell.
        process: The 1x1 convolution through which a cell reads the cell before it. Files from
            before it was a choice hold none and mean "binary".
        binarizer: Gradients and scales of all binary layers. Files from before it was a choice hold
            none and mean "bi-real": all train to within about a point of each other on digits, and
            a scale per channel costs nothing in a fused epilogue. BARS' own is "bars".
    """

    SCHEMA: ClassVar[str] = "binas.space/1"

    input_shape: tuple[int, int, int]
    classes: int
    channels: int = 32
    nodes: int = 2
    stages: int = 3
    min_cells: int = 1
    max_cells: int = 2
    widths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    stem_stride: int = 2
    normal_ops: tuple[OpName, ...] = ("none", "skip", "b3")
    reduction_ops: tuple[OpName, ...] = ("none", "skip", "b3", "pool")
    process: Process = field(default="binary", metadata={record.UNSAID: True})
    binarizer: StageBinarizer = field(default="bi-real", metadata={record.UNSAID: True})

    def __post_init__(self) -> None:
        """Refuse a space that holds no network, naming the field."""
        for name in ("classes", "channels", "nodes", "stages", "max_cells", "stem_stride"):
            if getattr(self, name) < 1:
                raise _fault(name, getattr(self, name), "at least 1")
        if min(self.input_shape) < 1:
            raise _fault("input_shape", self.input_shape, "three sizes of at least 1")
        self._check_limits()
        if not 0 <= self.min_cells <= self.max_cells:
            raise _fault("min_cells", self.min_cells, f"0 to max_cells = {self.max_cells}")
        if self.widths[-1:] != (1.0,) or not all(0 < width <= 1 for width in self.widths):
            raise _fault("widths", self.widths, "fractions above 0, the last of them 1.0")
        if list(self.widths) != sorted(set(self.widths)):
            raise _fault("widths", self.widths, "different fractions, ascending")
        for width in self.widths:
            if abs(width * self.channels - round(width * self.channels)) > 1e-9:
                raise _fault("widths", width, f"a whole number of the {self.channels} channels")
        for name in ("normal_ops", "reduction_ops"):
            ops = getattr(self, name)
            if len(set(ops)) != len(ops) or not set(ops) - {"none"}:
                raise _fault(name, ops, "different operations, not only none")
        halved = 1 << (self.stages - 1)
        if any(n % halved for n in self.size(0)):
            raise UsageError(
                f"space: images of {self.input_shape[1]}x{self.input_shape[2]} are {self.size(0)} "
                f"after a stem of stride {self.stem_stride}, expected multiples of {halved} to "
                f"halve {self.stages - 1} times",
                hint=f"resize the images to multiples of {halved * self.stem_stride}, or give "
                "--space FILE.toml with another stem_stride or fewer stages",
            )
        edges, ops = self.nodes * (self.nodes + 1) // 2, (self.normal_ops, self.reduction_ops)
        if self.nodes > MAX_CELL_CHOICES or max(map(len, ops)) ** edges > MAX_CELL_CHOICES:
            raise _fault("nodes", self.nodes, f"at most {MAX_CELL_CHOICES} different cells")

    def _check_limits(self) -> None:
        """Refuse what would take a machine's memory only to be written down."""
        for name, limit in LIMITS.items():
            if getattr(self, name) > limit:
                raise _fault(name, getattr(self, name), f"at most {limit}")
        if max(self.input_shape) > MAX_SIZE:
            raise _fault("input_shape", self.input_shape, f"sizes of at most {MAX_SIZE}")

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(source, target) of every edge of a cell; node 0 is the cell's processed input."""
        return tuple((i, t) for t in range(1, self.nodes + 1) for i in range(t))

    @property
    def depths(self) -> tuple[int, ...]:
        """The numbers of normal cells that a stage may keep."""
        return tuple(range(self.min_cells, self.max_cells + 1))

    def node_channels(self, stage: int, width: int) -> int:
        """Channels of one node of a stage at the width of that index."""
        return round(self.channels * self.widths[width]) << stage

    def size(self, stage: int) -> tuple[int, int]:
        """Rows and columns of a stage."""
        rows, columns = ((n - 1) // self.stem_stride + 1 for n in self.input_shape[1:])
        return rows >> stage, columns >> stage

    def is_whole(self, ops: tuple[OpName, ...]) -> bool:
        """Whether every node of a cell with these operations has an input."""
        live = {target for (_, target), op in zip(self.edges, ops, strict=True) if op != "none"}
        return len(live) == self.nodes


def load(name: str) -> Space:
    """A built-in space by name, or one from a TOML file.

    Raises:
        UsageError: No such space, not TOML, unknown keys, or a space that holds no network.
    """
    return parse(read(name, BUILT_IN), where=name)


def read(name: str, built_in: Sequence[str]) -> str:
    """The TOML text of a space, shipped or in a file.

    Raises:
        UsageError: Neither.
    """
    if name in built_in:
        return (files("binas.search.spaces") / f"{name}.toml").read_text()
    path = Path(name)
    if path.suffix != ".toml" and not path.exists():
        raise unknown_name("search space", name, built_in)
    try:
        return record.read_bytes(path).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text", hint="give a TOML file of a space") from None


def parse(text: str, *, where: str) -> Space:
    """A space from TOML text; keys are the fields of `Space`."""
    return parsed(Space, get_args(OpName), text, where=where)


def parsed(cls: type[R], ops: Sequence[str], text: str, *, where: str) -> R:
    """A space of either kind from TOML text; what is misspelt is named with what is near it."""
    data = record.read_toml(text, where=where, hint="see spaces/digits.toml")
    known = list(cls.__dataclass_fields__)
    for key in data:
        if key not in known:
            fault = unknown_name("key", key, known)
            raise UsageError(f"{where}: {fault}", hint=fault.hint)
    for key in ("normal_ops", "reduction_ops"):
        named = data.get(key)
        for op in named if isinstance(named, list) else []:
            if op not in ops:
                fault = unknown_name("operation", str(op), ops)
                raise UsageError(f"{where}: {key}: {fault}", hint=fault.hint)
    return record.loads(cls, _json({"schema": cls.SCHEMA, **data}), where=where)


def _json(data: dict[str, Any]) -> str:
    import json  # noqa: PLC0415 (only for files)

    return json.dumps(data, default=str)


def _fault(name: str, found: object, expected: str) -> UsageError:
    return UsageError(
        f"space: {name} is {found}, expected {expected}", hint="see spaces/digits.toml"
    )
