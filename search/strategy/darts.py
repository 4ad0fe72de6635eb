"""DARTS: every edge is a softmax mixture of its operations; weights and mixture descend in turns.

Source: Liu et al., 2019, arXiv:1806.09055; quark0/darts, cnn/train_search.py and cnn/architect.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Unpack

import torch
from torch import Tensor

from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.strategy.around import Around, run
from binas.search.strategy.cell_ground import CellGround, CellPrices
from binas.search.strategy.gradient import GradientSearch
from binas.search.strategy.optimisers import MOMENTUM
from binas.search.strategy.settings import Found, GradientSettings
from binas.search.strategy.task import Batch
from binas.search.train import cross_entropy

Gradients = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DartsSettings(GradientSettings):
    """How DARTS searches.

    Attributes:
        order: 1 takes w for w*(α); 2 looks one step of the weights ahead.
    """

    order: Literal[1, 2] = 1


# quark0/darts on CIFAR-10: 8 cells of 16 channels.
PUBLISHED = DartsSettings(
    optimiser="sgd",
    weight_rate=0.025,
    weight_decay=3e-4,
    clip=5.0,
    architecture_rate=3e-4,
    architecture_decay=1e-3,
)


class Search(GradientSearch[CellGround, DartsSettings]):
    """First order is what all differentiable searches do; second order is here."""

    def architecture_step(self, theirs: Batch, mine: Batch) -> Tensor:
        """A step of α; second order with the weights one step ahead.

        ∇_α L_val(w', α) - ξ [∇_α L_train(w⁺, α) - ∇_α L_train(w⁻, α)] / 2ε (eqs. 7, 8)
        with w' = w - ξ ∇_w L_train(w, α), w± = w ± ε ∇_w' L_val(w', α), ε = 0.01 / ‖∇_w' L_val‖.
        """
        if self.settings.order == 1:
            return super().architecture_step(theirs, mine)
        weights: list[Tensor] = list(self.net.parameters())
        alpha = self.architecture_parameters()
        kept = [w.detach().clone() for w in weights]
        rate = float(self.weights.param_groups[0]["lr"])
        _, ahead = self._gradients(mine, [], weights)
        with torch.no_grad():
            for w, gradient in zip(weights, ahead, strict=True):
                decay = self.settings.weight_decay * w
                w.sub_(gradient + self._momentum(w) + decay, alpha=rate)
        right, found = self._gradients(theirs, alpha, weights, validate=True)
        first, direction = found[: len(alpha)], found[len(alpha) :]
        epsilon = 0.01 / float(torch.cat([d.flatten() for d in direction]).norm().clamp(min=1e-12))
        sides: list[Gradients] = []
        for sign in (1, -1):
            _set(weights, [w + sign * epsilon * d for w, d in zip(kept, direction, strict=True)])
            sides.append(self._gradients(mine, alpha, [])[1])
        _set(weights, kept)
        self.move_architecture(
            tuple(
                a - rate * (plus - minus) / (2 * epsilon)
                for a, plus, minus in zip(first, *sides, strict=True)
            )
        )
        return right

    def _gradients(
        self, batch: Batch, alpha: list[Tensor], weights: list[Tensor], *, validate: bool = False
    ) -> tuple[Tensor, Gradients]:
        """How many images were right, and the gradients of the loss in α and in the weights.

        Always in float32: two sides ε apart differ by less than bfloat16 can say.
        """
        x, y = batch
        with self.hardware.exactly() as hardware:
            out = hardware.logits(self.net, x, self.mixture())
            loss = cross_entropy(out, y)
            loss = self.architecture_loss(loss) if validate else loss
            found = torch.autograd.grad(
                loss, [*alpha, *weights], allow_unused=True, materialize_grads=True
            )
        return self.right(out, y), self.processes.averaged(found)

    def _momentum(self, w: Tensor) -> Tensor:
        """What SGD would add of its earlier steps; Adam's step is taken as plain descent."""
        buffer = self.weights.state[w].get("momentum_buffer")
        return torch.zeros_like(w) if buffer is None else MOMENTUM * buffer


def search(
    space: AnySpace,
    data: Dataset,
    settings: DartsSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space of cells; arguments and errors as of `bars.search`."""
    ground = CellGround(space, lut, budget_ns)
    task = Search(ground, data, settings or DartsSettings(), seed, budget_ns)
    return run(task, **around)


def _set(weights: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for w, value in zip(weights, values, strict=True):
            w.copy_(value)
