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

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from binas.core.errors import UsageError
from binas.search.complexity import expected_biops
from binas.search.cost import Lut, penalised
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.hardware import CPU
from binas.search.networks.bars_supernet import Choice, sample
from binas.search.strategy.around import Around, run
from binas.search.strategy.cell_ground import CellPrices
from binas.search.strategy.gradient import GradientSearch
from binas.search.strategy.ground import entropy
from binas.search.strategy.layout_ground import LayoutGround, stages
from binas.search.strategy.settings import SEE_HELP, Found, GradientSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsSettings(GradientSettings):
    """How BARS searches.

    Attributes:
        first_temperature: Of the Gumbel-softmax, falling exponentially after the warm-up ...
        last_temperature: ... to this.
        entropy: Weight of the entropy term at the end, rising linearly from 0.
        biops: Operations on bits, expected over the distribution, above which the loss grows; 0:
            without this term. It presses; candidates are held to a latency budget alone.
    """

    epochs: int = 12
    warmup_epochs: int = 3
    architecture_rate: float = 5e-2
    samples: int = 8
    first_temperature: float = 3.0
    last_temperature: float = 0.5
    entropy: float = 0.02
    biops: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot search."""
        super(BarsSettings, self).__post_init__()
        if not all(0 <= value < math.inf for value in (self.entropy, self.biops)):
            raise UsageError("entropy and biops must be 0 or more", hint=SEE_HELP)
        if not 0 < self.last_temperature <= self.first_temperature < math.inf:
            raise UsageError(
                f"temperatures fall from {self.first_temperature} to {self.last_temperature}, "
                "expected a fall to a value above 0",
                hint=SEE_HELP,
            )


# walkerning/aw_nas, BARS' search.yaml and the defaults of its code, on CIFAR-10; there the cosine
# ends at 1e-4, here at 0. Its warm-up and temperatures could not be read and are ours.
PUBLISHED = BarsSettings(
    epochs=50,
    batch=256,
    optimiser="sgd",
    weight_rate=0.01,
    weight_decay=3e-4,
    clip=5.0,
    architecture_rate=3e-4,
    architecture_decay=1e-3,
    entropy=0.01,
)


class Search(GradientSearch[LayoutGround, BarsSettings]):
    """A supernet and an architecture of depths, widths and cells under training."""

    def supernet(self) -> nn.Module:
        """With new weights, in the order that a CPU computes small images fastest in."""
        return CPU.place(super().supernet())

    def train(self, number: int) -> dict[str, Any]:
        """As every differentiable search; also temperature and complexity in the log."""
        entry = super().train(number)
        with torch.no_grad():
            p = self.ground.choice(self.probabilities())
            biops = float(expected_biops(self.ground.space, p))
        return {**entry, "temperature": self.temperature, "expected_biops": biops}

    @property
    def temperature(self) -> float:
        """τ: exponential from the first to the last, after the warm-up."""
        settings = self.settings
        ratio = settings.last_temperature / settings.first_temperature
        return float(settings.first_temperature * ratio ** max(0.0, self.progress))

    def mixture(self) -> Choice:
        """A sample: softmax for depth, Gumbel-softmax for widths and operations."""
        return sample(self.ground.choice(self.logits), self.temperature, self.generator)

    def weight_mixture(self) -> Choice:
        """Another sample; uniform in the warm-up. All operations: with one, pools would win."""
        warm = self.progress < 0
        start = [torch.zeros_like(v) if warm else v.detach() for v in self.logits]
        return sample(self.ground.choice(start), self.temperature, self.generator)

    def architecture_loss(self, loss: Tensor) -> Tensor:
        """(CE + λ(t) · cost(E[T]/T*)) · R(E[F]) + c(t) · H, H as `ground.entropy` has it.

        R(F) = max(1, F/F*): BARS' (F/F*)^a below the budget and (F/F*)^b above, a = 0 and b = 1.
        """
        p = self.probabilities()
        loss = super().architecture_loss(loss)
        if self.settings.biops:
            ratio = expected_biops(self.ground.space, self.ground.choice(p)) / self.settings.biops
            loss = penalised(loss, ratio.to(loss.device), "product", 1.0)
        return loss + self.settings.entropy * self.progress * entropy(p).to(loss.device)


def search(
    space: AnySpace,
    data: Dataset,
    settings: BarsSettings | None = None,
    *,
    seed: int = 0,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    **around: Unpack[Around],
) -> Found:
    """Search a space.

    Args:
        space: What to choose from.
        data: Its training images; the held-out ones are not read.
        settings: How; the defaults suit the digits.
        seed: Of everything that is drawn.
        lut: Prices; without a budget they only describe the search.
        budget_ns: The latency to meet; None searches for accuracy alone.
        around: Folder, progress, timer and processes; see `Around`.

    Raises:
        UsageError: The space is one of cells.
        SearchError: No sampled network is within the budget, or the training diverged.
    """
    ground = stages(space, lut, budget_ns)
    task = Search(ground, data, settings or BarsSettings(), seed, budget_ns)
    return run(task, **around)
