"""Spaces and genotypes of networks made of two types of cell: DARTS networks and broad ones.

A cell has two inputs, nodes 0 and 1, and computing nodes; each of those adds two edges, an
operation on an earlier node each; the output is the concatenation of the computing nodes.
Source: DARTS (Liu et al., 2019, arXiv:1806.09055; quark0/darts); the broad networks are those of
BNAS-v2 (Ding et al., 2020, arXiv:2009.08886; zixiangding/BNASv2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from binas.core.errors import UsageError

CellOp = Literal[
    "none",  # no edge
    "max",  # 3x3 maximum
    "avg",  # 3x3 mean, padded taps not counted
    "skip",  # the value itself; at stride 2 a factorised reduction
    "sep3",  # separable: (depthwise 3x3, 1x1) twice
    "sep5",
    "dil3",  # dilated: depthwise 3x3 at distance 2, 1x1
    "dil5",
    "conv3",  # plain 3x3 convolution (EBNAS)
    "conv5",
    "dilconv3",  # plain, at distance 2
    "dilconv5",
]

Layout = Literal[
    "darts",  # normal cells, reductions after a third and two thirds
    "broad",  # convolution blocks, then enhancement cells; the head reads all of them (BCNN)
]

Form = Literal[
    "real",  # ReLU, depthwise, 1x1, batch norm: DARTS
    "weights",  # the same with binary weights: BNAS as first published
    "child",  # sign, binary depthwise, batch norm, sign, binary 1x1, batch norm: CP-NAS, DCP-NAS
    "residual",  # batch norm, PReLU and shortcuts around it: the networks DCP-NAS published
]

Inputs = Literal[
    "weights",  # binary weights on real activations, as the papers have them
    "binary",  # sign before them, too: nothing in a cell's 1x1 convolutions stays real
]

BinarizerName = Literal["xnor", "bi-real", "reactnet", "pcnn", "mconv", "bars"]
Stem = Literal["cifar", "imagenet"]  # a 3x3; three 3x3 of stride 2

DARTS_OPS: tuple[CellOp, ...] = ("none", "max", "avg", "skip", "sep3", "sep5", "dil3", "dil5")
INPUTS = 2  # nodes 0 and 1 of a cell

Edge = tuple[CellOp, int]  # operation, source node
CellEdges = tuple[tuple[Edge, ...], ...]  # per computing node, its edges


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpace:
    """Networks of two types of cell.

    Attributes:
        layout: How cells are connected.
        input_shape: C, H, W of one image.
        classes: Outputs of the classifier.
        channels: Of a node in the first cells; doubled by each reduction (broad: broad cell).
        cells: All cells of a DARTS network; those of the convolution blocks of a broad one.
        blocks: Convolution blocks of a broad network; each ends with a broad cell.
        enhancements: Enhancement cells of a broad network.
        nodes: Computing nodes of a cell.
        stem: First layers.
        form: What an operation is made of, and which of its convolutions are binary.
        inputs: The 1x1 convolutions through which cells read earlier cells, in forms whose
            convolutions are binary.
        binarizer: Gradients and scales; unused by the real form.
        normal_ops: What edges of normal (convolution) cells choose from.
        reduction_ops: What edges of reductions (enhancement cells) choose from.
    """

    SCHEMA: ClassVar[str] = "binas.cell-space/1"

    layout: Layout = "darts"
    input_shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    channels: int = 16
    cells: int = 8
    blocks: int = 2
    enhancements: int = 1
    nodes: int = 4
    stem: Stem = "cifar"
    form: Form = "child"
    inputs: Inputs = "weights"
    binarizer: BinarizerName = "bi-real"
    normal_ops: tuple[CellOp, ...] = DARTS_OPS
    reduction_ops: tuple[CellOp, ...] = DARTS_OPS

    def __post_init__(self) -> None:
        """Refuse a space that holds no network, naming the field."""
        broad = self.layout == "broad"
        least = {"classes": 1, "channels": 1, "cells": 1, "nodes": 1}
        least |= {"blocks": 1, "enhancements": 1} if broad else {}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise _fault("space", name, getattr(self, name), f"at least {low}")
        if min(self.input_shape) < 1:
            raise _fault("space", "input_shape", self.input_shape, "three sizes of at least 1")
        if broad and self.cells % self.blocks:
            raise _fault("space", "cells", self.cells, f"a multiple of {self.blocks} blocks")
        for name in ("normal_ops", "reduction_ops"):
            ops = getattr(self, name)
            if len(set(ops)) != len(ops) or not set(ops) - {"none"}:
                raise _fault("space", name, ops, "different operations, not only none")
        step = (8 if self.stem == "imagenet" else 1) << len(self.halving_cells)
        if any(n % step for n in self.input_shape[1:]):
            raise UsageError(
                f"space: images of {self.input_shape[1]}x{self.input_shape[2]}, expected multiples "
                f"of {step} to halve in the {self.stem} stem and {len(self.halving_cells)} cells",
                hint="resize the images, or take fewer cells",
            )

    @property
    def names(self) -> tuple[str, str]:
        """What the two types of cell are called."""
        return ("convolution", "enhancement") if self.layout == "broad" else ("normal", "reduction")

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(source, target) of every edge a cell may have, 14 with four nodes."""
        targets = range(INPUTS, INPUTS + self.nodes)
        return tuple((source, target) for target in targets for source in range(target))

    @property
    def halving_cells(self) -> tuple[int, ...]:
        """The cells that halve rows and columns and double channels."""
        if self.layout == "broad":
            size = self.cells // self.blocks
            return tuple(size * (block + 1) - 1 for block in range(self.blocks))
        return tuple(sorted({self.cells // 3, 2 * self.cells // 3}))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGenotype:
    """One network of a `CellSpace`.

    Attributes:
        space: Layout, sizes, and what the operations are made of.
        normal: Per node of the normal (broad: convolution) cell, its edges.
        reduction: Per node of the reduction (broad: enhancement) cell, its edges.
    """

    SCHEMA: ClassVar[str] = "binas.cell-genotype/1"

    space: CellSpace
    normal: CellEdges
    reduction: CellEdges

    def __post_init__(self) -> None:
        """Refuse what the space does not hold, naming the place."""
        space = self.space
        allowed = zip(
            space.names,
            (self.normal, self.reduction),
            (space.normal_ops, space.reduction_ops),
            strict=True,
        )
        for name, cell, ops in allowed:
            if len(cell) != space.nodes:
                raise _fault("genotype", f"nodes of the {name} cell", len(cell), str(space.nodes))
            for node, edges in enumerate(cell, start=INPUTS):
                if not edges:
                    raise _fault("genotype", f"{name} node {node}", "no edge", "at least one")
                for op, source in edges:
                    if op == "none" or op not in ops:
                        names = ", ".join(op for op in ops if op != "none")
                        raise _fault("genotype", f"{name} node {node}", op, f"one of {names}")
                    if not 0 <= source < node:
                        raise _fault("genotype", f"{name} node {node}", source, "an earlier node")

    def at(self, space: CellSpace) -> CellGenotype:
        """The same cells in another network: other channels, cells, form, stem, ..."""
        return replace(self, space=space)

    def __str__(self) -> str:
        """A line for people: `normal sep3,1 skip,0 / ... · reduction ...`."""
        first, second = self.space.names
        return f"{first} {cell_text(self.normal)} · {second} {cell_text(self.reduction)}"


def cell_text(cell: CellEdges) -> str:
    """`sep3,1 skip,0 / sep3,0 dil3,1 / ...`: operation and source, nodes separated by `/`."""
    return " / ".join(" ".join(f"{op},{source}" for op, source in edges) for edges in cell)


def _fault(what: str, name: str, found: object, expected: str) -> UsageError:
    return UsageError(f"{what}: {name} is {found}, expected {expected}", hint="see search/cells.py")
