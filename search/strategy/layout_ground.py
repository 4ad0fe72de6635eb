"""A BARS space with everything it leaves open: depths, widths and cells, priced as whole cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.genotype import WEIGHT_FREE, AnySpace, Genotype
from binas.search.networks.bars_supernet import Choice, Supernet, logits, one_hot
from binas.search.space import Space
from binas.search.strategy import derive
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.ground import Ground, Tables, rounded

AnyGround = Ground[Any, Any]


class LayoutGround(Ground[Space, Genotype]):
    """Tables are those of a `Choice`, in the order of `Choice.tensors()`."""

    def __init__(self, space: Space, lut: Lut | None) -> None:
        """Keep the space and its prices."""
        self.space, self.lut = space, lut
        self.form: Choice = logits(space, torch.Generator())

    def choice(self, p: Tables) -> Choice:
        """The tables by name."""
        return self.form.with_tensors(p)

    def net(self, *, partial: int = 1, real: bool = False) -> Supernet:
        """The supernet of the whole layout."""
        if partial != 1 or real:
            raise NotImplementedError("BARS has neither partial channels nor a Parent")
        return Supernet(self.space)

    def logits(self, generator: torch.Generator) -> list[Tensor]:
        """See `Ground`."""
        return logits(self.space, generator).tensors()

    def mixed(self, p: Tables) -> Choice:
        """See `Ground`."""
        return self.choice(p)

    def only(self, genotype: Genotype) -> Choice:
        """See `Ground`."""
        return one_hot(genotype)

    def most_probable(self, p: Tables) -> Genotype:
        """Each choice for itself, cells as wholes."""
        return derive.most_probable(self.space, self.choice(p))

    def draw(self, p: Tables, generator: torch.Generator) -> Genotype:
        """See `Ground`."""
        return derive.draw(self.space, self.choice(p), generator)

    def uniform(self) -> list[Tensor]:
        """See `Ground`."""
        return [torch.full_like(v, 1 / v.shape[-1]) for v in self.form.tensors()]

    def expected_ns(self, p: Tables) -> Tensor | None:
        """See `Lut.expected_ns`."""
        return None if self.lut is None else self.lut.expected_ns(self.choice(p))

    def predict_ns(self, genotype: Genotype) -> float | None:
        """See `Lut.predict_ns`."""
        return None if self.lut is None else self.lut.predict_ns(genotype)

    def fastest_ns(self) -> float | None:
        """See `Lut.fastest_ns`."""
        return None if self.lut is None else self.lut.fastest_ns()

    def weight_free(self, p: Tables) -> float:
        """Over the cells of the layout, kept or not."""
        free = torch.tensor([float(op in WEIGHT_FREE) for op in self.space.normal_ops])
        cells = [cell for stage in self.choice(p).normal for cell in stage]
        return float((torch.stack(cells) @ free).mean())

    def described(self, p: Tables) -> dict[str, Any]:
        """Depths and widths per stage, operations as means over edges."""
        choice = self.choice(p)
        cells = [cell.mean(dim=0) for stage in choice.normal for cell in stage]
        return {
            "depth": [rounded(d) for d in choice.depth],
            "width": [rounded(w) for w in choice.width],
            "normal": rounded(torch.stack(cells).mean(dim=0)),
            "reduction": [rounded(r.mean(dim=0)) for r in choice.reduction],
        }


def stages(
    space: AnySpace, lut: Lut | CellPrices | None, budget_ns: float | None = None
) -> LayoutGround:
    """A BARS space with everything it leaves open.

    Raises:
        UsageError: The space is one of cells.
    """
    ground = whole(space, lut, budget_ns)
    if not isinstance(ground, LayoutGround):
        raise UsageError(
            "BARS searches stages of normal cells with depths and widths, found a space of cells",
            hint="give a BARS space, such as --space digits, or another --strategy",
        )
    return ground


def whole(space: AnySpace, lut: Lut | CellPrices | None, budget_ns: float | None) -> AnyGround:
    """A space with everything it leaves open."""
    if isinstance(space, Space):
        return LayoutGround(space, lut if isinstance(lut, Lut) else None)
    return CellGround(space, lut, budget_ns)
