"""Steps of pieces of networks, each planned by the compiler in its context.

The steps of a cell at one size are those at another with other numbers in them, for nothing in the
compiler decides by size what is fused. So the choices of a kind of cell are planned at one size and
resized to the others. At each of those the choice with most steps is planned, too: where that comes
out otherwise, the compiler has begun to decide by size, and all choices are planned there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from torch import nn

from binas.core.layer import Layer
from binas.search.networks.bars_cell import Cell
from binas.search.ops import NormConv

if TYPE_CHECKING:
    from collections.abc import Hashable

Planned = tuple[tuple[str, Layer], ...]  # name within the piece, step

JOBS_PER_MODEL = 4  # planning is quadratic in the steps of a model, checking it is not


class Job(NamedTuple):
    """A piece, and what follows it: nothing, where it is the last."""

    piece: nn.Module
    after: nn.Module | None


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers in the steps of a cell, in an order that is the same for all cells of a kind.

    Attributes:
        rows: Of its input first.
        columns: Of its input first.
        channels: Of its input first.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def image(self) -> tuple[int, int, int]:
        """C, H, W of an image with the cell's input rows and columns."""
        return 1, self.rows[0], self.columns[0]


class Planner:
    """Plans pieces, and remembers the kinds of cells it has planned.

    Args:
        progress: Called after each size.
    """

    def __init__(self, progress: Callable[[], None]) -> None:
        """Nothing is planned yet."""
        self._progress = progress
        self._kinds: dict[Hashable, tuple[Size, list[Planned]]] = {}

    def cells(
        self, kind: Hashable, size: Size, choices: int, jobs: Callable[[Sequence[int]], list[Job]]
    ) -> list[Planned]:
        """Steps of every job of every choice of a cell.

        Args:
            kind: Cells of one kind differ in nothing but size.
            size: Of these.
            choices: How many there are.
            jobs: The jobs of some choices, given their indices; equally many for each.
        """
        if kind in self._kinds:
            old, planned = self._kinds[kind]
            found = [resized(steps, old, size) for steps in planned]
            each = len(found) // choices
            largest = max(range(choices), key=lambda at: len(found[at * each]))
            probe = self._some(size.image, size.channels[0], jobs([largest]))
            if probe == found[largest * each : (largest + 1) * each]:
                self._progress()
                return found
        found = self.pieces(size.image, size.channels[0], jobs(range(choices)))
        self._kinds.setdefault(kind, (size, found))
        return found

    def pieces(
        self, image: tuple[int, int, int], channels: int | None, jobs: Sequence[Job]
    ) -> list[Planned]:
        """Steps of each job's piece.

        Args:
            image: C, H, W of the model's input.
            channels: What a piece reads, made from the input by a convolution that stands for the
                previous piece; None: the input itself.
            jobs: What is planned, a few side by side in one ONNX model.
        """
        found: list[Planned] = []
        for first in range(0, len(jobs), JOBS_PER_MODEL):
            found += self._some(image, channels, jobs[first : first + JOBS_PER_MODEL])
        self._progress()
        return found

    def _some(
        self, image: tuple[int, int, int], channels: int | None, jobs: Sequence[Job]
    ) -> list[Planned]:
        from binas.compile.build import plan_layers  # noqa: PLC0415 (onnx)
        from binas.compile.model import BinaryModel, ModelWriter  # noqa: PLC0415 (onnx)

        writer = ModelWriter("menu")
        source, outputs = writer.input("input", (1, *image)), []
        for place, job in enumerate(jobs):
            x = source
            if channels is not None:
                x = NormConv(image[0], channels, 1).write(writer, x, f"before{place}")
            x = cast(Cell, job.piece).write(writer, x, f"piece{place}")
            if job.after is not None:
                x = cast(Cell, job.after).write(writer, x, f"after{place}")
            outputs.append(x)
        found: list[list[tuple[str, Layer]]] = [[] for _ in jobs]
        for name, layer in plan_layers(BinaryModel.of(writer.finish(outputs), "menu")):
            if (match := _OURS.match(name)) is not None:
                found[int(match[1] or match[2])].append((name.partition("/")[2], layer))
        return [tuple(steps) for steps in found]


# Steps of a piece, but for the sign of its input; and the sign of its output.
_OURS = re.compile(r"piece(\d+)/(?!in\.)|after(\d+)/in\.")


def resized(planned: Planned, old: Size, new: Size) -> Planned:
    """The same steps with the numbers of another size."""
    rows = dict(zip(old.rows, new.rows, strict=True))
    columns = dict(zip(old.columns, new.columns, strict=True))
    channels = dict(zip(old.channels, new.channels, strict=True))

    def step(layer: Layer) -> Layer:
        N, H, W, C = layer.in_shape
        return replace(
            layer,
            in_shape=(N, rows[H], columns[W], channels[C]),
            out_channels=channels[layer.out_channels],
            parts=tuple(channels[part] for part in layer.parts),
        )

    return reading(tuple((name, step(layer)) for name, layer in planned), new.channels[0])


def reading(planned: Planned, channels: int) -> Planned:
    """The steps of a cell whose input has that many channels: two of them know."""
    return tuple(
        (name, replace(layer, in_shape=(*layer.in_shape[:3], channels)))
        if name in ("process", "shortcut")
        else (name, layer)
        for name, layer in planned
    )
