"""BNAS: sample 1-bit networks from a channel-sampled supernet, drop operations by performance.

Source: Chen et al., Binarized Neural Architecture Search, 2020, arXiv:1911.10862, and its journal
version, 2021, arXiv:2009.04247 (UCB, 1-bit activations). Which convolutions are binary, and by
which optimiser (XNOR, PCNN), is the space's to say (`form`, `binarizer`).

Unknown in the papers and ours here: the weights of sampled networks are the supernet's, trained in
place; edges are kept by the likelihood of their last operation (by its running value with UCB).
The journal's formula of UCB could not be had; `rule="ucb"` is algorithm and bound of the group's
bandit search (`bandit.py`) around BNAS's supernet, without its α: that one picks nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Unpack

import torch
from torch import Tensor

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.networks.supernet import Mixture
from binas.search.strategy import bandit, likelihood
from binas.search.strategy.around import Around, run
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.elimination import observed, sweep
from binas.search.strategy.sampled import SampledSearch
from binas.search.strategy.settings import SEE_HELP, Found, SearchSettings
from binas.search.train import cross_entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class BnasSettings(SearchSettings):
    """How BNAS searches.

    Attributes:
        weight_epochs: First epochs of the supernet, weights alone.
        joint_epochs: Epochs of the supernet after them, weights and α.
        repeats: T: samples per operation tested and reduction.
        reduced_epochs: V: epochs of the supernet after each reduction.
        partial: C: a channel in so many is sampled.
        temperature: Of the likelihood; see `likelihood.updated`.
        rule: What drops an operation. "likelihood": of the half of smallest α, and of what that
            half shows for the others, the selection likelihood. "ucb": the upper confidence bound
            of all that is left, each of which is tested.
        sampling: How networks are drawn: each operation once per sweep, or by the lower confidence
            bound ("bandit"), as the algorithm of "ucb" has it. In sweeps all are drawn alike, and
            the bound ranks by the running accuracy alone.
    """

    weight_epochs: int = 3
    joint_epochs: int = 2
    repeats: int = 3
    reduced_epochs: int = 1
    partial: int = 2
    temperature: float = 1.0
    rule: Literal["likelihood", "ucb"] = "likelihood"
    sampling: Literal["sweep", "bandit"] = "sweep"

    def __post_init__(self) -> None:
        """Refuse a search that samples nothing."""
        super(BnasSettings, self).__post_init__()
        if min(self.repeats, self.partial) < 1 or not self.temperature > 0:
            raise UsageError("repeats, partial and temperature must be above 0", hint=SEE_HELP)
        if min(self.weight_epochs, self.joint_epochs, self.reduced_epochs) < 0:
            raise UsageError("epochs must be 0 or more", hint=SEE_HELP)

    def tests(self, left: int) -> int:
        """Operations of an edge that are tested while K are left: ⌈K/2⌉, or all with "ucb"."""
        return left if self.rule == "ucb" else likelihood.half(left)

    @property
    def parts(self) -> int:
        """Of sampled channels, C."""
        return self.partial

    def schedule(self, operations: int) -> list[Step]:
        """All epochs of a search from K operations to one.

        With T = 3, Σ_{K=8..2} T ⌈K/2⌉ = 57 of them are sampled networks by the likelihood, and
        Σ_{K=8..2} T K = 105 by UCB (eq. 4.14 of the book: T Σ_{k=2..K} k).
        """
        steps = [Step("weights")] * self.weight_epochs + [Step("joint")] * self.joint_epochs
        for left in range(operations, 1, -1):
            paths = self.tests(left) * self.repeats
            steps += [
                Step("path", first=place == 0, last=place == paths - 1, place=place)
                for place in range(paths)
            ]
            steps += [Step("joint")] * self.reduced_epochs
        return steps

    def passes(self, operations: int) -> int:
        """One per epoch, two where α learns, too."""
        return sum(1 + (step.kind == "joint") for step in self.schedule(operations))


class Step(NamedTuple):
    """One epoch of the schedule.

    Attributes:
        kind: Supernet with weights alone, supernet with both, or a sampled network.
        first: Of a round: chooses what is tested.
        last: Of a round: drops an operation of every edge.
        place: Within the round.
    """

    kind: Literal["weights", "joint", "path"]
    first: bool = False
    last: bool = False
    place: int = 0


# As recalled from the paper for CIFAR-10: 6 cells of 16 channels.
PUBLISHED = BnasSettings(
    batch=128,
    optimiser="sgd",
    weight_rate=0.025,
    weight_decay=5e-4,
    architecture_rate=0.01,
)


class Search(SampledSearch[BnasSettings]):
    """A channel-sampled supernet, α, and what sampled networks have shown.

    Attributes:
        logits: α, per group [edges, ops].
    """

    def __init__(
        self,
        ground: CellGround,
        data: Dataset,
        settings: BnasSettings,
        seed: int,
        budget_ns: float | None = None,
    ) -> None:
        """A new supernet."""
        super().__init__(ground, data, settings, seed, budget_ns)
        self.schedule = settings.schedule(self.alternatives)
        self.epochs = len(self.schedule)
        # x_j = Σ_i [Σ_k softmax(α)_k o_k(S · B_i) + (1 - S) · B_i]: S samples channels.
        self.net = self.make(lambda: ground.net(partial=settings.partial))
        self.logits = ground.logits(self.generator)
        self.nets["child"] = self.net
        self.weights = self.weight_optimiser(self.net)
        self.architecture = self.architecture_optimiser(self.logits)
        self.optimisers |= {"weights": self.weights, "architecture": self.architecture}
        rows, most = self.alive.shape
        self.tables |= {f"alpha{i}": alpha for i, alpha in enumerate(self.logits)}
        self.tables |= {
            "tested": torch.zeros(rows, most, dtype=torch.bool),
            "likelihood": torch.zeros(rows, most, dtype=torch.float64),
            "paths": torch.zeros(settings.tests(most), rows, dtype=torch.int64),
            "bandit_mean": torch.zeros(rows, most, dtype=torch.float64),
            "bandit_draws": torch.zeros(rows, most, dtype=torch.float64),
        }

    def train(self, number: int) -> dict[str, Any]:
        """The next step of the schedule."""
        step = self.schedule[number]
        rate_at = (number, self.epochs)
        if step.kind == "path":
            return {"step": step.kind, **self._path_epoch(step, rate_at), **self.described()}
        if step.kind == "weights":
            loss, right = self.train_weights(self.net, self.weights, self.weight_mixture(), rate_at)
            marks = None
        else:
            loss, right, marks = self._joint_epoch(rate_at)
        seen = self.steps * self.size * (1 + (step.kind == "joint"))
        entry = {"loss": loss, "accuracy": right, "validation_accuracy": marks, "images": seen}
        return {"step": step.kind, **entry, **self.described()}

    def mixture(self) -> Mixture:
        """Softmax(α) over what is left on every edge."""
        alive = self.grouped(self.alive)
        live = [[row.nonzero().flatten().tolist() for row in group] for group in alive]
        masked = [a.masked_fill(~m, -torch.inf) for a, m in zip(self.logits, alive, strict=True)]
        return Mixture.soft([a.softmax(-1) for a in masked], live=live)

    def weight_mixture(self) -> Mixture:
        """The same as a constant."""
        with torch.no_grad():
            return self.mixture()

    def _joint_epoch(self, rate_at: tuple[int, int]) -> tuple[float, float, float]:
        """Weights and α take turns, as in DARTS; loss, accuracy on either half."""
        self.net.train()
        loss_sum: Tensor | float = 0.0
        right: Tensor | float = 0.0
        validation: Tensor | float = 0.0
        done, epochs = rate_at
        pairs = zip(
            self.batches_of(self.weight_half), self.batches_of(self.architecture_half), strict=True
        )
        for step, (mine, (x, y)) in enumerate(pairs):
            self.set_weight_rate(self.weights, done * self.steps + step, epochs * self.steps)
            loss, hits = self.weight_step(self.net, self.weights, mine, self.weight_mixture())
            loss_sum, right = loss_sum + loss, right + hits
            out = self.hardware.logits(self.net, x, self.mixture())
            found = torch.autograd.grad(
                cross_entropy(out, y), self.logits, allow_unused=True, materialize_grads=True
            )
            moves = zip(self.logits, self.processes.averaged(found), strict=True)
            for alpha, gradient in moves:
                alpha.grad = gradient
            self.architecture.step()
            validation = validation + self.right(out, y)
        loss_sum, right, validation = self.read(loss_sum, right, validation)
        seen = self.steps * self.size
        return loss_sum / self.steps, right / seen, validation / seen

    def _path_epoch(self, step: Step, rate_at: tuple[int, int]) -> dict[str, Any]:
        """Sample a network, train it for an epoch, test it; at the end of a round, drop."""
        if step.first:
            self.tables["tested"].copy_(self._chosen())
        path = self._sample(step.place)
        loss, right = self.train_path("child", self.weights, path, rate_at)
        marks = self.validation("child", path)
        self.observe(path, marks)
        self._observe_bandit(path, marks)
        if step.last:
            self._reduce()
        return {
            "loss": loss,
            "accuracy": right,
            "validation_accuracy": marks,
            "images": self.steps * self.size,
        }

    def _chosen(self) -> Tensor:
        """What is tested in a round: V of the likelihood, all that is left by UCB."""
        if self.settings.rule == "ucb":
            return self.alive
        return likelihood.weakest(self._padded(self.logits), self.alive)

    def _sample(self, place: int) -> Tensor:
        """One of the tested operations per edge; where one is left, that one."""
        tested = self.tables["tested"]
        single = self.alive.sum(dim=1, keepdim=True) == 1
        open_ = torch.where(single, self.alive, tested)
        if self.settings.sampling == "bandit":  # p(o) of eq. 4.10
            p = bandit.probabilities(self.tables["bandit_mean"], self.tables["bandit_draws"], open_)
            return torch.multinomial(p, 1, generator=self.generator).flatten()
        paths = self.tables["paths"]
        longest = int(open_.sum(dim=1).max())
        if place % longest == 0:  # a new sweep, without replacement
            paths[:longest] = sweep(open_, self.generator)
        return paths[place % longest]

    def _observe_bandit(self, path: Tensor, value: float) -> None:
        """Running value and draws of what was drawn (eq. 4.11)."""
        mean, draws = self.tables["bandit_mean"], self.tables["bandit_draws"]
        values = torch.tensor([value], dtype=torch.float64)
        _, drawn = observed(path[None], values, self.alternatives)
        moved = bandit.running_mean(mean, torch.full_like(mean, value), draws)
        mean.copy_(torch.where(drawn > 0, moved, mean))
        draws += drawn

    def _reduce(self) -> None:
        """O ← O - {argmin s(o)}, or by UCB O ← O - {argmin s_U(o)} (eqs. 4.12, 4.13)."""
        mean, draws = self.tables["bandit_mean"], self.tables["bandit_draws"]
        if self.settings.rule == "ucb":
            self.drop(bandit.upper(mean, draws), rank=mean)
            return
        s, tested = self.tables["likelihood"], self.tables["tested"]
        # Bandit sampling may leave out of a round what it knows from an earlier one.
        seen = torch.where(self.tables["count"] > 0, self.mean(), mean)
        s.copy_(likelihood.updated(s, seen, tested, self.settings.temperature))
        self.drop(s)

    def _padded(self, tables: list[Tensor]) -> Tensor:
        """Per-group tables as one of all rows."""
        found = torch.zeros(self.alive.shape)
        for target, table in zip(found.split(self.edges), tables, strict=True):
            target[:, : table.shape[1]] = table.detach()
        return found


def search(
    space: AnySpace,
    data: Dataset,
    settings: BnasSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space of cells; arguments and errors as of `bars.search`."""
    ground = CellGround(space, lut, budget_ns)
    task = Search(ground, data, settings or BnasSettings(), seed, budget_ns)
    return run(task, **around)
