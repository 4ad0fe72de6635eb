"""BARS: joint differentiable search of depth, width and cells of 1-bit networks.

Each step: sample a network's weights, update the shared weights on one half of the training images;
sample again, update the architecture on the other half with the cost term and the entropy term.
Source: BARS, 2020, arXiv:2011.10804; walkerning/aw_nas, aw_nas/btcs/layer2. Equations are quoted
beside the steps; where the paper's settings are unknown, ours are those of a study on this data.

What differs: the cost is expected *latency on a device* (`cost.py`), and the result is chosen among
samples whose predicted latency lies just within the budget, not the argmax, which is systematically
cheaper than the expectation. The held-out images are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from binas.core.errors import SearchError, UsageError
from binas.search.cost import Lut, penalised
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.networks.bars_supernet import Choice, Supernet, logits, one_hot, sample
from binas.search.retrain import CALIBRATION_BATCH, must_fit
from binas.search.run import RunFolder
from binas.search.space import Space
from binas.search.strategy import derive
from binas.search.strategy.settings import BarsSettings, Candidate, Found
from binas.search.train import (
    Progress,
    accuracy,
    batches,
    calibrate,
    cosine_rate,
    cross_entropy,
    fit,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
    with_prefix,
    without_prefix,
)

BETAS = (0.5, 0.999)  # of the architecture's Adam, as in BARS' code


class Search:
    """A supernet and an architecture under training (a `Task`)."""

    def __init__(
        self,
        space: Space,
        data: Dataset,
        settings: BarsSettings,
        seed: int,
        *,
        lut: Lut | None,
        budget_ns: float | None,
    ) -> None:
        """Split the training images in two halves; draw all initial values from the seed."""
        must_be_possible(space, data, lut, budget_ns)
        self.settings, self.epochs, self.lut, self.budget_ns = (
            settings,
            settings.epochs,
            lut,
            budget_ns,
        )
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = Supernet(space)
        self.logits = logits(space, self.generator)
        # BARS, section "search": half of the images for the weights, half for the architecture.
        order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(seed))
        x, y = torch.from_numpy(data.x_train)[order], torch.from_numpy(data.y_train)[order]
        half = len(x) // 2
        self.weight_half, self.architecture_half = (x[:half], y[:half]), (x[half:], y[half:])
        self.weights = torch.optim.Adam(self.net.parameters(), lr=settings.weight_rate)
        self.architecture = torch.optim.Adam(
            self.logits.tensors(), lr=settings.architecture_rate, betas=BETAS
        )

    def epoch(self, number: int) -> dict[str, Any]:
        """One pass: a weight step and, after the warm-up, an architecture step per batch."""
        settings = self.settings
        progress = (number - settings.warmup_epochs) / max(
            1, settings.epochs - 1 - settings.warmup_epochs
        )
        warm = progress < 0
        ratio = settings.last_temperature / settings.first_temperature
        temperature = settings.first_temperature * ratio ** max(0.0, progress)
        size = min(settings.batch, len(self.weight_half[0]))
        steps = len(self.weight_half[0]) // size
        pairs = zip(
            batches(len(self.weight_half[0]), size, self.generator),
            batches(len(self.architecture_half[0]), size, self.generator),
            strict=False,  # an odd number of images makes one half larger by one
        )
        self.net.train()
        loss_sum = right = validation = 0.0
        for step, (mine, theirs) in enumerate(pairs):
            done = number * steps + step
            set_rate(self.weights, cosine_rate(done, self.epochs * steps, settings.weight_rate))
            x, y = self.weight_half
            loss, hits = self._weight_step(x[mine], y[mine], temperature, uniform=warm)
            loss_sum, right = loss_sum + loss, right + hits
            if not warm:
                x, y = self.architecture_half
                validation += self._architecture_step(x[theirs], y[theirs], temperature, progress)
        entry: dict[str, Any] = {"loss": loss_sum / steps, "accuracy": right / (steps * size)}
        entry["validation_accuracy"] = None if warm else validation / (steps * size)
        return {**entry, "temperature": temperature, **self._described()}

    def _weight_step(
        self, x: Tensor, y: Tensor, temperature: float, *, uniform: bool
    ) -> tuple[float, float]:
        """min_w CE(f(x; w, sample)); with one sampled operation per edge pools would win."""
        found = self.logits.tensors()
        start = [torch.zeros_like(v) if uniform else v.detach() for v in found]
        chosen = sample(self.logits.with_tensors(start), temperature, self.generator)
        out = self.net(x, chosen)
        loss = cross_entropy(out, y)
        self.weights.zero_grad()
        loss.backward()
        self.weights.step()
        return loss.item(), float((out.argmax(dim=1) == y).sum())

    def _architecture_step(
        self, x: Tensor, y: Tensor, temperature: float, progress: float
    ) -> float:
        """min_a CE + λ(t) · cost(E[T]/T*) + c(t) · H, with H = -Σ p log p over all choices."""
        out = self.net(x, sample(self.logits, temperature, self.generator))
        loss = cross_entropy(out, y)
        probabilities = self.logits.probabilities()
        if self.lut is not None and self.budget_ns is not None:
            ratio = self.lut.expected_ns(probabilities) / self.budget_ns
            strength = self.settings.strength * progress**0.5
            loss = penalised(loss, ratio.to(loss.dtype), self.settings.form, strength)
        loss = loss + self.settings.entropy * progress * entropy(probabilities)
        tensors = self.logits.tensors()
        grads = torch.autograd.grad(loss, tensors, allow_unused=True)
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = torch.zeros_like(tensor) if grad is None else grad
        self.architecture.step()
        return float((out.argmax(dim=1) == y).sum())

    def _described(self) -> dict[str, Any]:
        """The architecture for the log: what the pictures of a search are drawn from."""
        with torch.no_grad():
            p = self.logits.probabilities()
            cells = [cell.mean(dim=0) for stage in p.normal for cell in stage]
            return {
                "expected_ns": None if self.lut is None else float(self.lut.expected_ns(p)),
                "budget_ns": self.budget_ns,
                "entropy": float(entropy(p)),
                "depth": [_rounded(d) for d in p.depth],
                "width": [_rounded(w) for w in p.width],
                "normal": _rounded(torch.stack(cells).mean(dim=0)),
                "reduction": [_rounded(r.mean(dim=0)) for r in p.reduction],
            }

    def evaluate(self, genotype: Genotype) -> float:
        """Accuracy on the architecture half with the shared weights, batch norm recalibrated."""
        chosen = one_hot(genotype)

        def forward(x: Tensor) -> Tensor:
            y: Tensor = self.net(x, chosen)
            return y

        calibrate(self.net, forward, self.weight_half[0], CALIBRATION_BATCH)
        return accuracy(forward, *self.architecture_half)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, architecture, both optimisers, generator."""
        choice = {str(i): tensor for i, tensor in enumerate(self.logits.tensors())}
        return {
            **with_prefix("net", self.net.state_dict()),
            **with_prefix("choice", choice),
            **optimiser_tensors(self.weights, "weights"),
            **optimiser_tensors(self.architecture, "architecture"),
            "generator": self.generator.get_state(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        self.net.load_state_dict(without_prefix("net", tensors))
        kept = without_prefix("choice", tensors)
        with torch.no_grad():
            for index, tensor in enumerate(self.logits.tensors()):
                tensor.copy_(kept[str(index)])
        restore_optimiser(self.weights, tensors, "weights")
        restore_optimiser(self.architecture, tensors, "architecture")
        self.generator.set_state(tensors["generator"])


def search(
    space: Space,
    data: Dataset,
    settings: BarsSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | None = None,
    budget_ns: float | None = None,
    folder: RunFolder | None = None,
    progress: Progress | None = None,
) -> Found:
    """Search a space.

    Args:
        space: What to choose from.
        data: Its training images; the held-out ones are not read.
        settings: How; the defaults suit the digits.
        seed: Of everything that is drawn.
        lut: Prices; without a budget they only describe the search.
        budget_ns: The latency to meet; None searches for accuracy alone.
        folder: Where log and checkpoints go, and where an interrupted run goes on.
        progress: Told after each epoch.

    Raises:
        SearchError: No sampled network is within the budget, or the training diverged.
    """
    task = Search(space, data, settings or BarsSettings(), seed, lut=lut, budget_ns=budget_ns)
    log = fit(task, folder, progress)
    with torch.no_grad():
        p = task.logits.probabilities()
        drawn = derive.candidates(
            space, p, task.settings.samples, task.generator, lut=lut, budget_ns=budget_ns
        )
        found = [
            Candidate(
                genotype=genotype,
                accuracy=task.evaluate(genotype),
                predicted_ns=None if lut is None else lut.predict_ns(genotype),
            )
            for genotype in drawn
        ]
        expected_ns = None if lut is None else float(lut.expected_ns(p))
    found.sort(key=lambda candidate: (-candidate.accuracy, candidate.predicted_ns or 0.0))
    return Found(
        genotype=found[0].genotype,
        seed=seed,
        budget_ns=budget_ns,
        predicted_ns=found[0].predicted_ns,
        expected_ns=expected_ns,
        candidates=tuple(found),
        seconds=sum(float(entry["seconds"]) for entry in log),
    )


def must_be_possible(space: Space, data: Dataset, lut: Lut | None, budget_ns: float | None) -> None:
    """Check, before anything is trained, that a search can end with a network.

    Raises:
        UsageError: The images do not fit the space, or there is a budget without prices.
        SearchError: The budget is below the fastest network of the space.
    """
    must_fit(space, data)
    if budget_ns is None:
        return
    if lut is None:
        raise UsageError("a budget needs a latency table", hint="give --table")
    if (fastest := lut.fastest_ns()) > budget_ns:
        raise SearchError(
            f"no network of the space is within {budget_ns / 1e3:.1f} us: "
            f"the fastest takes {fastest / 1e3:.1f} us",
            hint="raise --budget, or add narrower widths to the space",
        )


def entropy(p: Choice) -> Tensor:
    """Σ H(p) / log n over all choices of n alternatives; a cell counts as the mean of its edges.

    Each distribution is taken for itself; BARS' code mixes the depths of all stages in one.
    """
    parts = [
        -(v * v.clamp(min=1e-12).log()).sum(-1).mean() / torch.tensor(float(v.shape[-1])).log()
        for v in p.tensors()
        if v.shape[-1] > 1
    ]
    return torch.stack([torch.zeros(()), *parts]).sum()


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]
