"""Networks as `runtime.drawing` draws them."""

from __future__ import annotations

from binas.runtime import drawing
from binas.search.cells import INPUTS, CellGenotype
from binas.search.genotype import AnyGenotype
from binas.search.space import OpName


def blocks(genotype: AnyGenotype) -> list[drawing.Block]:
    """A network as rows of a drawing; one that repeats two cells, as those two."""
    if isinstance(genotype, CellGenotype):
        return _two_cells(genotype)
    space, last = genotype.space, genotype.space.stages - 1

    def row(name: str, stage: int, width: int, ops: tuple[OpName, ...]) -> drawing.Block:
        rows, columns = space.size(stage)
        return drawing.Block(
            name=name,
            channels=space.nodes * space.node_channels(stage, width),
            rows=rows,
            columns=columns,
            kind="binary",
            edges=tuple(
                drawing.Edge(
                    source=source, target=target, op=op, kind="binary" if op == "b3" else "plain"
                )
                for (source, target), op in zip(space.edges, ops, strict=True)
                if op != "none"
            ),
        )

    stem = space.nodes * space.node_channels(0, genotype.widths[0])
    rows, columns = space.size(0)
    chain = [
        drawing.Block(
            name=f"stem, stride {space.stem_stride}",
            channels=stem,
            rows=rows,
            columns=columns,
            kind="float",
            note="real 3x3, real 1x1",
        )
    ]
    for stage, (width, cells) in enumerate(zip(genotype.widths, genotype.normal, strict=True)):
        for place, ops in enumerate(cells):
            chain.append(row(f"stage {stage + 1}, cell {place + 1}", stage, width, ops))
        if stage < last:
            ops = genotype.reduction[stage]
            chain.append(row(f"reduction {stage + 1}", stage + 1, genotype.widths[stage + 1], ops))
    chain.append(
        drawing.Block(
            name="classifier",
            channels=space.classes,
            rows=1,
            columns=1,
            kind="float",
            note="mean, real dense",
        )
    )
    return chain


def _two_cells(genotype: CellGenotype) -> list[drawing.Block]:
    """The two types of cell, node 0 and 1 being the outputs of the two cells before."""
    space = genotype.space
    _, rows, columns = space.input_shape
    real = space.form == "real"
    found = []
    for name, cell in zip(space.names, (genotype.normal, genotype.reduction), strict=True):
        edges = tuple(
            drawing.Edge(source=source, target=target, op=op, kind=_kind(op, real=real))
            for target, node in enumerate(cell, start=INPUTS)
            for op, source in node
        )
        found.append(
            drawing.Block(
                name=f"{name} cell",
                channels=space.nodes * space.channels,
                rows=rows,
                columns=columns,
                kind="float" if real else "binary",
                edges=edges,
            )
        )
    return found


def _kind(op: str, *, real: bool) -> drawing.EdgeKind:
    if op in ("skip", "max", "avg"):
        return "plain"
    return "float" if real else "binary"
