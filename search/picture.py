"""Networks of a BARS space as `runtime.drawing` draws them."""

from __future__ import annotations

from binas.runtime import drawing
from binas.search.genotype import Genotype
from binas.search.space import OpName


def blocks(genotype: Genotype) -> list[drawing.Block]:
    """A network of a BARS space as rows of a drawing."""
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
