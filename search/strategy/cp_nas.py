"""CP-NAS: sample 1-bit Children together with their real-valued Parents, drop the worst operations.

Source: Zhuo et al., 2020, arXiv:2005.00057; in the numbering of the authors' book (Zhang et al.,
Binary Neural Networks, CRC 2023), section 4.3 and algorithm 9. Its training loss at kernel level
(eqs. 4.17-4.18) belongs to retraining.

Unknown in the paper and ours here: sampled networks share the weights of two supernets, one binary,
one real; the schedule has no epochs of the supernets beside the sampled ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import torch

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.strategy.around import Around, run
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.child_parent import evaluation, indicator
from binas.search.strategy.elimination import sweep
from binas.search.strategy.sampled import SampledSearch
from binas.search.strategy.settings import SEE_HELP, Found, SearchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CpNasSettings(SearchSettings):
    """How CP-NAS searches.

    Attributes:
        repeats: T: sweeps per reduction.
        beta: β_P of the indicator.
    """

    repeats: int = 3
    beta: float = 2.0

    def __post_init__(self) -> None:
        """Refuse a search that samples nothing."""
        super(CpNasSettings, self).__post_init__()
        if self.repeats < 1 or self.beta < 0:
            raise UsageError("repeats must be above 0, beta 0 or more", hint=SEE_HELP)

    def schedule(self, operations: int) -> list[tuple[int, int]]:
        """(operations left, place within the round) of every sampled pair.

        T Σ_{K=2..8} K = 35 T of them from eight operations to one.
        """
        return [
            (left, place)
            for left in range(operations, 1, -1)
            for place in range(left * self.repeats)
        ]

    def passes(self, operations: int) -> int:
        """A Child and a Parent each."""
        return 2 * len(self.schedule(operations))


# The paper's settings are unknown; these are BNAS's, of the same group, on CIFAR-10.
PUBLISHED = CpNasSettings(batch=128, optimiser="sgd", weight_rate=0.025, weight_decay=5e-4)


class Search(SampledSearch[CpNasSettings]):
    """Two supernets, and what sampled pairs have shown."""

    def __init__(
        self,
        ground: CellGround,
        data: Dataset,
        settings: CpNasSettings,
        seed: int,
        budget_ns: float | None = None,
    ) -> None:
        """A new Child and a new Parent, weights drawn alike."""
        super().__init__(ground, data, settings, seed, budget_ns)
        self.schedule = settings.schedule(self.alternatives)
        self.epochs = len(self.schedule)
        for name, real in (("child", False), ("parent", True)):
            self.nets[name] = self.make(partial(ground.net, real=real))
            self.optimisers[name] = self.weight_optimiser(self.nets[name])
        rows, most = self.alive.shape
        self.tables["paths"] = torch.zeros(most, rows, dtype=torch.int64)

    def train(self, number: int) -> dict[str, Any]:
        """One sampled architecture: train Child and Parent for an epoch, test both."""
        left, place = self.schedule[number]
        paths = self.tables["paths"]
        longest = int(self.alive.sum(dim=1).max())
        if place % longest == 0:  # one operation per edge, without replacement
            paths[:longest] = sweep(self.alive, self.generator)
        path, rate_at, marks = paths[place % longest], (number, self.epochs), {}
        for name in ("parent", "child"):
            loss, right = self.train_path(name, self.optimisers[name], path, rate_at)
            marks[name] = self.validation(name, path)
        # z = β_P (A_P - A_C) + A_C
        z = indicator(marks["parent"], marks["child"], self.settings.beta)
        self.observe(path, z)
        if place == left * self.settings.repeats - 1:
            # e(o_k) = softmax of z̄ over what is left; the smallest goes.
            self.drop(evaluation(self.mean(), self.alive))
        return {
            "loss": loss,
            "accuracy": right,
            "validation_accuracy": marks["child"],
            "parent_accuracy": marks["parent"],
            "indicator": z,
            "images": 2 * self.steps * self.size,
            **self.described(),
        }


def search(
    space: AnySpace,
    data: Dataset,
    settings: CpNasSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space of cells; arguments and errors as of `bars.search`."""
    ground = CellGround(space, lut, budget_ns)
    task = Search(ground, data, settings or CpNasSettings(), seed, budget_ns)
    return run(task, **around)
