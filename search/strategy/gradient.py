"""Differentiable search: weights and architecture take turns on the two halves of the images.

    min_α L_val(w*(α), α)   s.t.   w*(α) = argmin_w L_train(w, α)

approximated by one step of each per batch (first order).
Source: DARTS (Liu et al., 2019, arXiv:1806.09055), eqs. 3-4 and algorithm 1.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from binas.search.cost import penalised
from binas.search.data import Dataset
from binas.search.strategy.ground import softmax
from binas.search.strategy.settings import GradientSettings
from binas.search.strategy.task import Batch, GroundT, SearchTask
from binas.search.train import cross_entropy, set_rate

GradientT = TypeVar("GradientT", bound=GradientSettings)


class GradientSearch(SearchTask[GroundT, GradientT]):
    """A supernet and its architecture parameters under training.

    As it stands this is first-order DARTS; strategies override the steps that are their own.

    Attributes:
        net: The supernet.
        logits: α, of every choice that the space leaves open.
        progress: Of the epochs after the warm-up, 0 to 1; below 0 before.
    """

    def __init__(
        self,
        ground: GroundT,
        data: Dataset,
        settings: GradientT,
        seed: int,
        budget_ns: float | None = None,
    ) -> None:
        """Draw all initial values from the seed."""
        super().__init__(ground, data, settings, seed, budget_ns)
        self.epochs, self.progress = settings.epochs, 0.0
        self.net = self.make(self.supernet)
        self.logits = ground.logits(self.generator)
        self.nets["child"] = self.net
        self.tables |= {f"alpha{i}": tensor for i, tensor in enumerate(self.logits)}
        self.weights = self.weight_optimiser(self.net)
        self.architecture = self.architecture_optimiser(self.architecture_parameters())
        self.optimisers |= {"weights": self.weights, "architecture": self.architecture}

    def supernet(self) -> nn.Module:
        """With new weights."""
        return self.ground.net()

    def architecture_parameters(self) -> list[Tensor]:
        """What the architecture step moves."""
        return self.logits

    def train(self, number: int) -> dict[str, Any]:
        """One pass: a weight step and, after the warm-up, an architecture step per batch."""
        settings = self.settings
        after = max(1, settings.epochs - 1 - settings.warmup_epochs)
        self.progress = (number - settings.warmup_epochs) / after
        warm = self.progress < 0
        set_rate(self.architecture, self.architecture_rate(number))
        self.net.train()
        loss_sum: Tensor | float = 0.0
        right: Tensor | float = 0.0
        validation: Tensor | float = 0.0
        pairs = zip(
            self.batches_of(self.weight_half), self.batches_of(self.architecture_half), strict=True
        )
        for step, (mine, theirs) in enumerate(pairs):
            done = number * self.steps + step
            self.set_weight_rate(self.weights, done, self.epochs * self.steps)
            loss, hits = self.weight_step(self.net, self.weights, mine, self.weight_mixture())
            loss_sum, right = loss_sum + loss, right + hits
            if not warm:
                validation = validation + self.architecture_step(theirs, mine)
        loss_sum, right, validation = self.read(loss_sum, right, validation)
        seen = self.steps * self.size
        return {
            "loss": loss_sum / self.steps,
            "accuracy": right / seen,
            "validation_accuracy": None if warm else validation / seen,
            "images": seen if warm else 2 * seen,
            **self.described(),
        }

    def architecture_rate(self, number: int) -> float:
        """Learning rate of α in an epoch."""
        del number
        return self.settings.architecture_rate

    def mixture(self) -> Any:
        """What the architecture step runs: p = softmax(α), differentiable in α (eq. 2)."""
        return self.ground.mixed(softmax(self.logits))

    def weight_mixture(self) -> Any:
        """What the weight step runs: the same as a constant."""
        with torch.no_grad():
            return self.mixture()

    def architecture_step(self, theirs: Batch, mine: Batch) -> Tensor:
        """min_α L_val(w, α); how many images were right (`SearchTask.right`).

        Args:
            theirs: A batch of the architecture half.
            mine: The batch of the weight step before, which a second-order step needs.
        """
        del mine
        x, y = theirs
        out = self.hardware.logits(self.net, x, self.mixture())
        parameters = self.architecture_parameters()
        loss = self.architecture_loss(cross_entropy(out, y))
        grads = torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)
        self.move_architecture(grads)
        return self.right(out, y)

    def architecture_loss(self, loss: Tensor) -> Tensor:
        """CE with the latency term, λ(t) · max(0, E[T]/T* - 1) in its default form."""
        p = self.probabilities()
        if (ratio := self.latency_ratio(p)) is not None:
            strength = self.settings.strength * self.progress**0.5
            loss = penalised(loss, ratio.to(loss), self.settings.form, strength)
        return loss

    def move_architecture(self, gradients: tuple[Tensor, ...]) -> None:
        """A step of the architecture's optimiser, along the gradients of all processes."""
        gradients = self.processes.averaged(gradients)
        for tensor, grad in zip(self.architecture_parameters(), gradients, strict=True):
            tensor.grad = grad
        self.architecture.step()

    def probabilities(self) -> list[Tensor]:
        """The softmax of α, without noise."""
        return softmax(self.logits)
