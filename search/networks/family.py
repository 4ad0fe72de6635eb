"""One door to all spaces: build a genotype, make a supernet, read what a file holds."""

from __future__ import annotations

from torch import nn

from binas.search.cells import CellGenotype, CellSpace
from binas.search.genotype import AnySpace, Buildable
from binas.search.networks import bars, reference
from binas.search.networks.bars import Network
from binas.search.networks.broad import BroadBody
from binas.search.networks.cell_family import CellNetwork, CellSupernet, MakeBody
from binas.search.networks.darts import DartsBody
from binas.search.networks.stages import StageSupernet
from binas.search.networks.supernet import Supernet
from binas.search.reference import Reference

AnyNetwork = Network | CellNetwork


def build(genotype: Buildable, *, real: bool = False) -> AnyNetwork:
    """The untrained network of a genotype, or its real-valued twin.

    Args:
        genotype: Of any space, or a reference network.
        real: No sign, real weights; of a "child" the DARTS order, ReLUs where the child has signs.
    """
    if isinstance(genotype, CellGenotype):
        return CellNetwork(genotype, _body(genotype.space), real=real)
    if isinstance(genotype, Reference):
        return reference.build(genotype, real=real)
    return bars.build(genotype, real=real)


def supernet(space: AnySpace, *, real: bool = False, partial: int = 1) -> Supernet:
    """All networks of a space, behind the protocol that strategies use.

    Args:
        space: A BARS space stands at its greatest depths and widths; `StageSupernet` takes others.
        real: The Parent: real convolutions.
        partial: k of partial channels (PC-DARTS).
    """
    if isinstance(space, CellSpace):
        return CellSupernet(space, _body(space), real=real, partial=partial)
    return StageSupernet(space, real=real, partial=partial)


def _body(space: CellSpace) -> MakeBody:
    makers: dict[str, type[nn.Module]] = {"darts": DartsBody, "broad": BroadBody}
    return makers[space.layout]
