"""The networks that the worked examples train: small ones of a BARS space, chosen by hand."""

from __future__ import annotations

from binas.search.genotype import CellOps, Genotype
from binas.search.space import Space


def small(input_shape: tuple[int, int, int], channels: int = 16) -> Genotype:
    """Three stages of one or two cells, binary 3x3 on most edges."""
    space = Space(input_shape=input_shape, classes=1, channels=channels)
    cell: CellOps = ("b3", "skip", "b3")
    full = len(space.widths) - 1
    return Genotype(
        space=space,
        widths=(full, full, full),
        normal=((cell,), (cell, cell), (cell,)),
        reduction=(cell, cell),
    )
