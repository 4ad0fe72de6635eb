"""Searches that sample paths of a supernet, score operations, and drop the worst of each edge.

What BNAS and CP-NAS share besides the tables of `elimination.py`. An epoch of the search is one
sampled network, trained in place for an epoch with the supernet's weights.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from binas.search.data import Dataset
from binas.search.networks.supernet import Mixture
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.elimination import all_alive, drop_worst, observed
from binas.search.strategy.settings import SearchSettings
from binas.search.strategy.task import SearchTask

SampledT = TypeVar("SampledT", bound=SearchSettings)


class SampledSearch(SearchTask[CellGround, SampledT]):
    """Candidates per edge and what has been observed of them.

    Tables, all [rows, alternatives], rows being the edges of all groups in order:
        alive: What is left.
        total, count: Sum and number of values observed in this round.
        score: Of the last round; what is left at the end is ranked by it.
    """

    def __init__(
        self,
        ground: CellGround,
        data: Dataset,
        settings: SampledT,
        seed: int,
        budget_ns: float | None = None,
    ) -> None:
        """Everything is alive, nothing observed."""
        super().__init__(ground, data, settings, seed, budget_ns)
        self.edges = [len(group.edges) for group in ground.groups]
        ops = [len(group.ops) for group in ground.groups for _ in group.edges]
        self.alternatives = max(ops)
        alive = all_alive(ops)
        zeros = torch.zeros(alive.shape, dtype=torch.float64)
        self.tables |= {"alive": alive}
        self.tables |= {name: zeros.clone() for name in ("total", "count", "score")}

    @property
    def alive(self) -> Tensor:
        """What is left, bool."""
        return self.tables["alive"]

    def picks(self, path: Tensor) -> Mixture:
        """One operation per edge, from indices [rows]."""
        return Mixture.path([part.tolist() for part in path.split(self.edges)])

    def train_path(
        self, name: str, optimiser: torch.optim.Optimizer, path: Tensor, rate_at: tuple[int, int]
    ) -> tuple[float, float]:
        """One epoch of a sampled network; its loss and its accuracy on training images.

        Args:
            name: Of the supernet.
            optimiser: Of its weights.
            path: Operation per edge, [rows].
            rate_at: Epochs of weight steps done, and in all, for the cosine.
        """
        net, mixture = self.nets[name], self.picks(path)
        return self.train_weights(net, optimiser, mixture, rate_at)

    def train_weights(
        self,
        net: nn.Module,
        optimiser: torch.optim.Optimizer,
        mixture: Mixture,
        rate_at: tuple[int, int],
    ) -> tuple[float, float]:
        """One epoch of weight steps; loss and accuracy."""
        net.train()
        loss_sum: Tensor | float = 0.0
        right: Tensor | float = 0.0
        done, epochs = rate_at
        for step, batch in enumerate(self.batches_of(self.weight_half)):
            self.set_weight_rate(optimiser, done * self.steps + step, epochs * self.steps)
            loss, hits = self.weight_step(net, optimiser, batch, mixture)
            loss_sum, right = loss_sum + loss, right + hits
        loss_sum, right = self.read(loss_sum, right)
        return loss_sum / self.steps, right / (self.steps * self.size)

    def validation(self, name: str, path: Tensor) -> float:
        """Validation accuracy of a sampled network; all of a round on the same images."""
        images = self.settings.validation_images or None
        return self.tested(self.nets[name], self.picks(path), images)

    def observe(self, path: Tensor, value: float) -> None:
        """Give the value of a network to every operation in it."""
        values = torch.tensor([value], dtype=torch.float64)
        total, count = observed(path[None], values, self.alternatives)
        self.tables["total"] += total
        self.tables["count"] += count

    def mean(self) -> Tensor:
        """Mean value per operation in this round; 0 where none was observed."""
        return self.tables["total"] / self.tables["count"].clamp(min=1)

    def drop(self, score: Tensor, rank: Tensor | None = None) -> None:
        """Drop the worst operation of every edge and begin a new round.

        With a budget the score is reduced by λ · max(0, T/T* - 1), T the expected latency of the
        networks that are left and hold the operation. Edges take their turn in an order drawn anew,
        each seeing what the others have dropped: all at once they would drop far too much.

        Args:
            score: [rows, alternatives].
            rank: What edges are ranked by at the end; the score itself by default.
        """
        self.tables["score"].copy_(score if rank is None else rank)
        if self.ground.prices is None or self.budget_ns is None:
            self.alive.copy_(drop_worst(self.alive, score))
        else:
            for row in torch.randperm(len(score), generator=self.generator).tolist():
                penalty = self.settings.strength * (self.latency_ratios(row) - 1).clamp(min=0)
                here = slice(row, row + 1)
                self.alive[here] = drop_worst(self.alive[here], score[here] - penalty)
        self.tables["total"].zero_()
        self.tables["count"].zero_()

    def latency_ratios(self, row: int) -> Tensor:
        """E[T | operation]/T* of the operations left on an edge, the others alike, [alternatives].

        Needs a budget.
        """
        found = torch.zeros(self.alternatives, dtype=torch.float64)
        whole = self.probabilities()
        starts = torch.tensor(self.edges).cumsum(0)
        group = int((starts <= row).sum())
        edge = row - int(starts[group]) + self.edges[group]
        for op in self.alive[row].nonzero().flatten().tolist():
            p = list(whole)
            p[group] = p[group].clone()
            p[group][edge] = 0.0
            p[group][edge, op] = 1.0
            ratio = self.latency_ratio(p)
            found[op] = 0.0 if ratio is None else ratio
        return found

    def grouped(self, table: Tensor) -> list[Tensor]:
        """A table of all rows per group, without padding."""
        parts = table.split(self.edges)
        return [part[:, : len(g.ops)] for part, g in zip(parts, self.ground.groups, strict=True)]

    def probabilities(self) -> list[Tensor]:
        """All that is left alike."""
        alive = self.alive.float()
        return self.grouped(alive / alive.sum(dim=1, keepdim=True))

    def scores(self) -> list[Tensor]:
        """What is left, by its score; what was dropped 0.

        A node into which "none" has won on every edge gets the best of what was dropped, by its
        score before: a constant has no place in a network.
        """
        found = self.grouped(self.tables["score"].clamp(min=1e-9) * self.alive)
        earlier = self.grouped(self.tables["score"])
        for group, kept, before in zip(self.ground.groups, found, earlier, strict=True):
            none = group.ops.index("none") if "none" in group.ops else None
            for edges in group.incoming:
                rows = torch.tensor(edges)
                live = kept[rows].clone()
                if none is not None:
                    live[:, none] = 0.0
                if not bool(live.any()):
                    kept[rows] += 1e-6 * before[rows].clamp(min=1e-9)
        return found

    @abstractmethod
    def train(self, number: int) -> dict[str, Any]:
        """One sampled network, or one epoch of the supernet."""
