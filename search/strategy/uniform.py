"""Random search: draw networks, every alternative alike, train each for a while, keep the best.

The baseline that every search has to beat at an equal budget (Li and Talwalkar, 2019,
arXiv:1902.07638). With one network it is a random network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.networks.family import build
from binas.search.strategy.around import Around, run
from binas.search.strategy.cell_ground import CellPrices
from binas.search.strategy.layout_ground import AnyGround, whole
from binas.search.strategy.settings import SEE_HELP, Candidate, Found, SearchSettings
from binas.search.strategy.task import SearchTask
from binas.search.train import cross_entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformSettings(SearchSettings):
    """How random search chooses.

    Attributes:
        nets: k: networks drawn and compared.
        epochs: That each is trained for.
    """

    nets: int = 10
    epochs: int = 4
    weight_rate: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse to compare nothing."""
        super(UniformSettings, self).__post_init__()
        if min(self.nets, self.epochs) < 1:
            raise UsageError("nets and epochs must be above 0", hint=SEE_HELP)

    def passes(self, operations: int) -> int:
        """Every network its epochs."""
        del operations
        return self.nets * self.epochs


class Search(SearchTask[AnyGround, UniformSettings]):
    """An epoch is the training of one network, from weights drawn alike for all."""

    def __init__(
        self,
        ground: AnyGround,
        data: Dataset,
        settings: UniformSettings,
        seed: int,
        budget_ns: float | None = None,
    ) -> None:
        """Draw all networks."""
        super().__init__(ground, data, settings, seed, budget_ns)
        self.drawn = self._draw()
        self.epochs = len(self.drawn)
        self.tables["accuracy"] = torch.zeros(self.epochs, dtype=torch.float64)

    def _draw(self) -> tuple[Any, ...]:
        """Different networks, within the budget if there is one; all alike in probability."""
        flat, nets = self.ground.uniform(), self.settings.nets
        if self.budget_ns is not None:
            return self.ground.candidates(flat, nets, self.generator, self.budget_ns)
        pool: dict[Any, None] = {}
        for _ in range(100 * nets):  # a small space may hold fewer
            if len(pool) == nets:
                break
            pool[self.ground.draw(flat, self.generator)] = None
        return tuple(pool)

    def train(self, number: int) -> dict[str, Any]:
        """Train one network on the weight half and test it on the other."""
        settings = self.settings
        net = self.make(lambda: build(self.drawn[number]))
        optimiser = self.weight_optimiser(net)
        net.train()
        loss_sum: Tensor | float = 0.0
        right: Tensor | float = 0.0
        for epoch in range(settings.epochs):
            for step, (x, y) in enumerate(self.batches_of(self.weight_half)):
                done = epoch * self.steps + step
                self.set_weight_rate(optimiser, done, settings.epochs * self.steps)
                out = self.hardware.logits(net, x)
                loss = cross_entropy(out, y)
                loss_sum = loss_sum + self.descend(net, optimiser, loss)
                right = right + self.right(out, y)
        loss_sum, right = self.read(loss_sum, right)
        marks = self.exactly_tested(net)
        self.tables["accuracy"][number] = marks
        steps = settings.epochs * self.steps
        return {
            "loss": loss_sum / steps,
            "accuracy": right / (steps * self.size),
            "validation_accuracy": marks,
            "images": steps * self.size,
        }

    def probabilities(self) -> list[Tensor]:
        """Every alternative alike."""
        return self.ground.uniform()

    def candidates(self) -> list[Candidate]:
        """All that were trained."""
        marks = self.tables["accuracy"].tolist()
        return [self.candidate(g, mark) for g, mark in zip(self.drawn, marks, strict=True)]


def search(
    space: AnySpace,
    data: Dataset,
    settings: UniformSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space of any kind, a BARS space with its depths and widths; as `bars.search`."""
    ground = whole(space, lut, budget_ns)
    task = Search(ground, data, settings or UniformSettings(), seed, budget_ns)
    return run(task, **around)
