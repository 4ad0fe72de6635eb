"""Published genotypes with their counts: those of papers and repositories, in `genotypes/`.

Names are those of the repositories they come from; a name says nothing about accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar

from binas.core import record
from binas.core.errors import unknown_name
from binas.search.cells import CellGenotype


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCounts:
    """Counts of one image; convolutions and linear layers alone.

    Attributes:
        params: All parameters: real ones, binary weights, learned scales; no auxiliary head.
        scales: Those of them that only scale a binary weight (MConv, PCNN); a deployed network
            keeps a scale per channel anyway, so papers count them or not.
        binary_weights: Weights of one bit.
        wa_macs: Multiply-accumulates of binary weights and binary activations.
        w_macs: Of binary weights and real activations.
        real_macs: Of real weights.
    """

    params: int
    scales: int
    binary_weights: int
    wa_macs: int
    w_macs: int
    real_macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A genotype as it was published.

    Attributes:
        name: As its source spells it; the network for a second data set has a suffix.
        source: Repository and file.
        note: What else is known, and what is not.
        genotype: Cells, and the network they were published in.
        counts: Of that network, for one image of its size.
    """

    SCHEMA: ClassVar[str] = "binas.published/1"

    name: str
    source: str
    note: str
    genotype: CellGenotype
    counts: NetworkCounts

    @property
    def digest(self) -> str:
        """Of the genotype."""
        return record.digest(self.genotype)


def names() -> tuple[str, ...]:
    """Of all published genotypes, sorted."""
    found = (file.name for file in files("binas.search.genotypes").iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in found if name.endswith(".json")))


def load(name: str) -> Published:
    """A published genotype by name.

    Raises:
        UsageError: No such name.
    """
    if name not in names():
        raise unknown_name("published genotype", name, names())
    text = (files("binas.search.genotypes") / f"{name}.json").read_text()
    return record.loads(Published, text, where=f"published genotype {name}")
