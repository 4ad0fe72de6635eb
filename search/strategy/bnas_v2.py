"""BNAS-v2: differentiable search of a broad network; α learns slowly while weights mean little.

Two ways against the advantage that operations without weights have at the start: a *confident
learning rate* for α (CLR), or partial channels with edge normalisation (PC), never both.
Source: Ding et al., 2020, arXiv:2009.08886; zixiangding/BNASv2. The formula of the rate is its
code's (BNASv2CLR/architect_confidence.py), which could be read; the paper's could not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Unpack

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.strategy.around import Around, run
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.pc_darts import PartialSearch, PcDartsSettings
from binas.search.strategy.settings import SEE_HELP, Found


@dataclass(frozen=True, slots=True, kw_only=True)
class BnasV2Settings(PcDartsSettings):
    """How BNAS-v2 searches; the defaults are those of the CLR variant, `PC` holds the other.

    Attributes:
        variant: "clr": `power` alone; "pc": partial channels and edge normalisation alone.
        power: p of the confidence; 0: none.
    """

    variant: Literal["clr", "pc"] = "clr"
    power: float = 2.0
    warmup_epochs: int = 0
    partial: int = 1
    edge_normalisation: bool = False

    def __post_init__(self) -> None:
        """Refuse a mixture of both variants under the name of one."""
        super(BnasV2Settings, self).__post_init__()
        if self.power < 0:
            raise UsageError(f"power is {self.power}, expected 0 or more", hint=SEE_HELP)
        if self.variant == "pc" and not self.edge_normalisation:
            raise UsageError(
                "variant pc has partial channels and edge normalisation, but edge_normalisation is "
                "false",
                hint="take --preset published-pc, or --set partial=4 --set edge_normalisation=true",
            )
        if self.variant == "clr" and (self.edge_normalisation or self.partial != 1):
            found = "edge_normalisation is true" if self.edge_normalisation else ""
            raise UsageError(
                "variant clr has neither partial channels nor edge normalisation, but "
                f"{found or f'partial is {self.partial}'}",
                hint="take --set partial=1 --set edge_normalisation=false, or --set variant=pc",
            )


PC = BnasV2Settings(variant="pc", warmup_epochs=15, partial=4, edge_normalisation=True)
# zixiangding/BNASv2 on CIFAR-10: two convolution cells of 16 channels, one enhancement cell.
PUBLISHED = BnasV2Settings(
    batch=256,
    optimiser="sgd",
    weight_rate=0.1,
    weight_decay=3e-4,
    clip=5.0,
    architecture_rate=3e-4,
    architecture_decay=1e-3,
)
PUBLISHED_PC = replace(
    PUBLISHED,
    variant="pc",
    warmup_epochs=15,
    partial=4,
    edge_normalisation=True,
    batch=512,
    weight_rate=0.2,
    architecture_rate=6e-4,
)


def confidence(epoch: int, epochs: int, power: float) -> float:
    """conf(e) = ((e + 1) / E)^p: 0.04 % in the first of 50 epochs with p = 2, 1 in the last."""
    return float(((epoch + 1) / epochs) ** power)


class Search(PartialSearch[BnasV2Settings]):
    """Either variant."""

    def architecture_rate(self, number: int) -> float:
        """CLR: lr_α(e) = lr_α · conf(e)."""
        settings = self.settings
        if settings.variant == "pc":
            return settings.architecture_rate
        return settings.architecture_rate * confidence(number, settings.epochs, settings.power)


def search(
    space: AnySpace,
    data: Dataset,
    settings: BnasV2Settings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space of cells; arguments and errors as of `bars.search`."""
    ground = CellGround(space, lut, budget_ns)
    task = Search(ground, data, settings or BnasV2Settings(), seed, budget_ns)
    return run(task, **around)
