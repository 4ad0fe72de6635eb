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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from binas.core.layer import Layer
from binas.search.genotype import CellOps, Genotype
from binas.search.networks.bars import Head, Stem, normal_cell, reduction_cell
from binas.search.networks.bars_cell import nodes_channels
from binas.search.pieces import Job, Planned, Planner, Size, reading
from binas.search.space import OpName, Space

if TYPE_CHECKING:
    from collections.abc import Callable

Steps = tuple[int, ...]  # indices into Menu.layers
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
    """Gathers Layers while it plans."""

    def __init__(self, space: Space, progress: Callable[[int, int], None] | None) -> None:
        self.space, self.progress, self.done = space, progress, 0
        self.layers: dict[Layer, int] = {}
        self.normals = cell_choices(space, space.normal_ops)
        self.reductions = cell_choices(space, space.reduction_ops)
        self.widths, self.last = range(len(space.widths)), space.stages - 1
        self.sizes = len(self.widths) * (space.stages + 2 + self.last)
        self.planner = Planner(self._planned)

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
        jobs = [Job(stem, self._next(0, width, end)) for end, on in enumerate(ends) if on]
        return self._number(self.planner.pieces(self.space.input_shape, None, jobs), ends)[0]

    def _normal(self, stage: int, width: int) -> tuple[Ends, ...]:
        node, size = self.space.node_channels(stage, width), self.space.size(stage)
        after = [self._next(stage, width, end) for end in (0, 1)]

        def jobs(choices: Sequence[int]) -> list[Job]:
            chosen = [[(op,) for op in self.normals[choice]] for choice in choices]
            cells = [normal_cell(self.space, stage, width, ops) for ops in chosen]
            return [Job(cell, end) for cell in cells for end in after]

        sizes = Size((size[0],), (size[1],), (self._channels(stage, width), node))
        kind = ("normal", stage == self.last)
        return self._number(
            self.planner.cells(kind, sizes, len(self.normals), jobs), ends=(True, True)
        )

    def _reduction(self, stage: int, after: int) -> list[tuple[Ends, ...]]:
        """Per width before; only the two steps that read the cell's input know that width."""
        ends = (True, self.space.min_cells == 0)
        following = [self._next(stage + 1, after, end) for end, on in enumerate(ends) if on]

        def jobs(choices: Sequence[int]) -> list[Job]:
            chosen = [[(op,) for op in self.reductions[choice]] for choice in choices]
            cells = [reduction_cell(self.space, stage, (0, after), ops) for ops in chosen]
            return [Job(cell, end) for cell in cells for end in following]

        node, out = self.space.node_channels(stage + 1, after), self._channels(stage + 1, after)
        rows, columns = zip(self.space.size(stage), self.space.size(stage + 1), strict=True)
        size = Size(rows, columns, (self._channels(stage, 0), node // 2, node, out))
        kind = ("reduction", ends[1] and stage + 1 == self.last)
        found = self.planner.cells(kind, size, len(self.reductions), jobs)
        return [
            self._number([reading(steps, self._channels(stage, before)) for steps in found], ends)
            for before in self.widths
        ]

    def _head(self, width: int) -> Steps:
        channels = self._channels(self.last, width)
        head = Head(channels, self.space.classes)
        image = (1, *self.space.size(self.last))
        found = self.planner.pieces(image, channels, [Job(head, None)])
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

    def _planned(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.sizes)
