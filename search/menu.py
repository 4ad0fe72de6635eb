"""Menu: the fused steps of every piece that a network of a space can be made of.

A network is a chain of pieces: stem, normal cells, reductions, head. What a piece costs depends on
its sizes, its operations, and on what follows it: its last step also writes the sign that the next
normal cell reads, and keeps the float value only if someone adds it. So a piece is *planned* in its
context by the compiler, and not priced operation by operation; the steps of a network are then
exactly those of its pieces (tested against `plan_layers` of whole networks). Where the sign of a
piece's output stays a step of its own, it counts for the piece that made the output: whether it can
be fused depends on that one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, ClassVar, cast

from torch import nn

from binas.core.layer import Layer
from binas.search.genotype import CellOps, Genotype
from binas.search.networks.bars import Head, Stem, normal_cell, reduction_cell
from binas.search.networks.bars_cell import Cell, nodes_channels
from binas.search.ops import NormConv
from binas.search.space import OpName, Space

if TYPE_CHECKING:
    from collections.abc import Callable

Steps = tuple[int, ...]  # indices into Menu.layers
JOBS_PER_MODEL = 4  # planning is quadratic in the steps of a model, checking it is not
Planned = tuple[tuple[str, Layer], ...]  # name within the piece, step
Ends = tuple[Steps, ...]  # [followed by a normal cell, followed by a reduction or the head]


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """Steps of every piece; where a case cannot occur, its steps are empty.

    Attributes:
        space: What it is the menu of.
        layers: Every Layer that a network of the space can contain, once, sorted.
        normal_choices: The operations that a normal cell may have.
        reduction_choices: The operations that a reduction may have.
        stem: [width][end].
        normal: [stage][width][choice][end].
        reduction: [stage][width before][width after][choice][end].
        head: [width].
    """

    SCHEMA: ClassVar[str] = "binas.menu/1"

    space: Space
    layers: tuple[Layer, ...]
    normal_choices: tuple[CellOps, ...]
    reduction_choices: tuple[CellOps, ...]
    stem: tuple[Ends, ...]
    normal: tuple[tuple[tuple[Ends, ...], ...], ...]
    reduction: tuple[tuple[tuple[tuple[Ends, ...], ...], ...], ...]
    head: tuple[Steps, ...]

    def steps(self, genotype: Genotype) -> tuple[Layer, ...]:
        """The steps of a network, piece by piece: the same as planning all of it, without order."""
        widths, depths = genotype.widths, genotype.depths
        found = [*self.stem[widths[0]][int(depths[0] == 0)], *self.head[widths[-1]]]
        for stage, (width, cells) in enumerate(zip(widths, genotype.normal, strict=True)):
            for place, ops in enumerate(cells, start=1):
                choice = self.normal_choices.index(ops)
                found += self.normal[stage][width][choice][int(place == len(cells))]
            if stage < len(genotype.reduction):
                choice = self.reduction_choices.index(genotype.reduction[stage])
                pieces = self.reduction[stage][width][widths[stage + 1]][choice]
                found += pieces[int(depths[stage + 1] == 0)]
        return tuple(self.layers[step] for step in found)


def cell_choices(space: Space, ops: Sequence[OpName]) -> tuple[CellOps, ...]:
    """Every assignment of operations to edges that leaves no node without input."""
    return tuple(c for c in product(ops, repeat=len(space.edges)) if space.is_whole(c))


def menu(space: Space, *, progress: Callable[[int, int], None] | None = None) -> Menu:
    """Plan every piece of a space in context.

    Args:
        space: A BARS space.
        progress: Told (sizes planned, sizes in all) after each.
    """
    return _Planner(space, progress).menu()


class _Planner:
    """Gathers Layers while it plans; one ONNX model holds a few pieces side by side."""

    def __init__(self, space: Space, progress: Callable[[int, int], None] | None) -> None:
        self.space, self.progress, self.done = space, progress, 0
        self.layers: dict[Layer, int] = {}
        self.normals = cell_choices(space, space.normal_ops)
        self.reductions = cell_choices(space, space.reduction_ops)
        self.widths, self.last = range(len(space.widths)), space.stages - 1
        self.sizes = len(self.widths) * (space.stages + 2 + self.last)

    def menu(self) -> Menu:
        space, widths = self.space, self.widths
        stem = [self._stem(width) for width in widths]
        normal = [[self._normal(stage, width) for width in widths] for stage in range(space.stages)]
        by_after = [[self._reduction(s, after) for after in widths] for s in range(self.last)]
        reduction = [list(zip(*stage, strict=True)) for stage in by_after]
        head = [self._head(width) for width in widths]
        order = sorted(self.layers)
        place = {self.layers[layer]: index for index, layer in enumerate(order)}

        def ends(found: Sequence[Sequence[Steps]]) -> tuple[Ends, ...]:
            return tuple(tuple(tuple(place[s] for s in steps) for steps in end) for end in found)

        return Menu(
            space=space,
            layers=tuple(order),
            normal_choices=self.normals,
            reduction_choices=self.reductions,
            stem=ends(stem),
            normal=tuple(tuple(ends(cells) for cells in stage) for stage in normal),
            reduction=tuple(
                tuple(tuple(ends(cells) for cells in row) for row in stage) for stage in reduction
            ),
            head=tuple(tuple(place[s] for s in steps) for steps in head),
        )

    def _stem(self, width: int) -> Ends:
        stem = Stem(self.space, self.space.node_channels(0, width))
        ends = (True, self.space.min_cells == 0)
        jobs = [(stem, self._next(0, width, end)) for end, on in enumerate(ends) if on]
        return self._number(self._plan(self.space.input_shape, None, jobs), ends)[0]

    def _normal(self, stage: int, width: int) -> tuple[Ends, ...]:
        channels, ends = self._channels(stage, width), (True, True)
        jobs: list[tuple[nn.Module, nn.Module | None]] = []
        for ops in self.normals:
            cell = normal_cell(self.space, stage, width, [(op,) for op in ops])
            jobs += [(cell, self._next(stage, width, end)) for end in (0, 1)]
        found = self._plan((1, *self.space.size(stage)), channels, jobs)
        return self._number(found, ends)

    def _reduction(self, stage: int, after: int) -> list[tuple[Ends, ...]]:
        """Per width before; only the two steps that read the cell's input know that width."""
        channels, ends = self._channels(stage, 0), (True, self.space.min_cells == 0)
        jobs: list[tuple[nn.Module, nn.Module | None]] = []
        for ops in self.reductions:
            cell = reduction_cell(self.space, stage, (0, after), [(op,) for op in ops])
            jobs += [(cell, self._next(stage + 1, after, end)) for end, on in enumerate(ends) if on]
        found = self._plan((1, *self.space.size(stage)), channels, jobs)
        return [
            self._number([_reading(steps, self._channels(stage, before)) for steps in found], ends)
            for before in self.widths
        ]

    def _head(self, width: int) -> Steps:
        channels = self._channels(self.last, width)
        head = Head(channels, self.space.classes)
        found = self._plan((1, *self.space.size(self.last)), channels, [(head, None)])
        return self._number(found, (True, False))[0][0]

    def _next(self, stage: int, width: int, end: int) -> nn.Module:
        """What follows a piece: a normal cell, or the end of the stage."""
        if not end:
            return normal_cell(self.space, stage, width, [(op,) for op in self.normals[0]])
        if stage == self.last:
            return Head(self._channels(stage, width), self.space.classes)
        ops = [(op,) for op in self.reductions[0]]
        return reduction_cell(self.space, stage, (width, width), ops)

    def _channels(self, stage: int, width: int) -> int:
        return nodes_channels(self.space, self.space.node_channels(stage, width))

    def _number(self, found: Sequence[Planned], ends: tuple[bool, bool]) -> tuple[Ends, ...]:
        """One row per choice, with empty steps for an end that cannot occur."""
        rows: list[Ends] = []
        for first in range(0, len(found), sum(ends)):
            rest = iter(found[first : first + sum(ends)])
            rows.append(tuple(self._steps(next(rest)) if on else () for on in ends))
        return tuple(rows)

    def _steps(self, planned: Planned) -> Steps:
        return tuple(self.layers.setdefault(layer, len(self.layers)) for _, layer in planned)

    def _plan(
        self,
        shape: tuple[int, int, int],
        channels: int | None,
        jobs: Sequence[tuple[nn.Module, nn.Module | None]],
    ) -> list[Planned]:
        """Steps of each job's first module.

        Args:
            shape: C, H, W of the model's input.
            channels: What a job's module reads, made from the input by a convolution that stands
                for the previous piece; None: the input itself.
            jobs: A piece and what follows it.
        """
        found: list[Planned] = []
        for first in range(0, len(jobs), JOBS_PER_MODEL):
            found += self._plan_some(shape, channels, jobs[first : first + JOBS_PER_MODEL])
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.sizes)
        return found

    def _plan_some(
        self,
        shape: tuple[int, int, int],
        channels: int | None,
        jobs: Sequence[tuple[nn.Module, nn.Module | None]],
    ) -> list[Planned]:
        from binas.compile.build import plan_layers  # noqa: PLC0415 (onnx)
        from binas.compile.model import BinaryModel, ModelWriter  # noqa: PLC0415 (onnx)

        writer = ModelWriter("menu")
        image, outputs = writer.input("input", (1, *shape)), []
        for job, (piece, after) in enumerate(jobs):
            x = image
            if channels is not None:
                x = NormConv(shape[0], channels, 1).write(writer, x, f"before{job}")
            x = cast(Cell, piece).write(writer, x, f"piece{job}")
            x = x if after is None else cast(Cell, after).write(writer, x, f"after{job}")
            outputs.append(x)
        found: list[list[tuple[str, Layer]]] = [[] for _ in jobs]
        for name, layer in plan_layers(BinaryModel.of(writer.finish(outputs), "menu")):
            if (match := _OURS.match(name)) is not None:
                found[int(match[1] or match[2])].append((name.partition("/")[2], layer))
        return [tuple(steps) for steps in found]


def _reading(planned: Planned, channels: int) -> Planned:
    """The steps of a reduction whose input has that many channels."""
    return tuple(
        (name, replace(layer, in_shape=(*layer.in_shape[:3], channels)))
        if name in ("process", "shortcut")
        else (name, layer)
        for name, layer in planned
    )


# Steps of a piece, but for the sign of its input; and the sign of its output.
_OURS = re.compile(r"piece(\d+)/(?!in\.)|after(\d+)/in\.")
