"""PC-DARTS: operations see a part of the channels, and edges compete by a weight of their own.

Source: Xu et al., 2020, arXiv:1907.05737; yuhuixu1993/PC-DARTS, model_search.py, train_search.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, Unpack

import torch
from torch import Tensor

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.networks.supernet import Mixture, Supernet
from binas.search.strategy.around import Around, run
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.gradient import GradientSearch
from binas.search.strategy.ground import softmax
from binas.search.strategy.settings import SEE_HELP, Found, GradientSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PcDartsSettings(GradientSettings):
    """How PC-DARTS searches.

    Attributes:
        partial: k: operations see one channel in so many, the others pass by.
        edge_normalisation: Whether edges carry a weight.
    """

    warmup_epochs: int = 15
    partial: int = 4
    edge_normalisation: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no part of the channels."""
        super(PcDartsSettings, self).__post_init__()
        if self.partial < 1:
            raise UsageError(
                f"partial is {self.partial}, expected 1 (all channels) or more", hint=SEE_HELP
            )

    @property
    def parts(self) -> int:
        """Of partial channels, k."""
        return self.partial


# yuhuixu1993/PC-DARTS on CIFAR-10: 8 cells of 16 channels.
PUBLISHED = PcDartsSettings(
    batch=256,
    optimiser="sgd",
    weight_rate=0.1,
    weight_decay=3e-4,
    clip=5.0,
    architecture_rate=6e-4,
    architecture_decay=1e-3,
)
PcT = TypeVar("PcT", bound=PcDartsSettings)


class PartialSearch(GradientSearch[CellGround, PcT]):
    """A supernet of partial channels with a weight per edge.

    Attributes:
        betas: β, per group [edges], 1e-3 · N(0, 1) at first.
    """

    def supernet(self) -> Supernet:
        """Operations of C/k channels."""
        return self.ground.net(partial=self.settings.partial)

    def architecture_parameters(self) -> list[Tensor]:
        """α, and β with the same optimiser."""
        if not self.settings.edge_normalisation:
            return self.logits
        if not hasattr(self, "betas"):
            self.betas = [
                (1e-3 * torch.randn(len(group.edges), generator=self.generator)).requires_grad_()
                for group in self.ground.groups
            ]
            self.tables |= {f"beta{i}": beta for i, beta in enumerate(self.betas)}
        return [*self.logits, *self.betas]

    def edges(self) -> list[Tensor] | None:
        """Per group softmax(β) over the edges into each node (eq. 4)."""
        if not self.settings.edge_normalisation:
            return None
        return [g.edge_softmax(b) for g, b in zip(self.ground.groups, self.betas, strict=True)]

    def mixture(self) -> Mixture:
        """x_j = Σ_i softmax(β)_ij Σ_o softmax(α)_ij,o · o(x_i), on part of the channels (eq. 2)."""
        return Mixture.soft(softmax(self.logits), self.edges())

    def scores(self) -> list[Tensor]:
        """Networks are derived from softmax(β) · softmax(α)."""
        edges = self.edges()
        if edges is None:
            return super().scores()
        return [p * e[:, None] for p, e in zip(softmax(self.logits), edges, strict=True)]


def search(
    space: AnySpace,
    data: Dataset,
    settings: PcDartsSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space of cells; arguments and errors as of `bars.search`."""
    task: PartialSearch[PcDartsSettings] = PartialSearch(
        CellGround(space, lut, budget_ns),
        data,
        settings or PcDartsSettings(),
        seed,
        budget_ns,
    )
    return run(task, **around)
