"""The step that makes each differentiable strategy what it is: switched off, its test here fails.

BARS's entropy term has its test in `test_bars.py`; strategies that sample theirs in
`test_sampling_steps.py`, DCP-NAS in `test_dcp_nas_search.py`. The arithmetic of all is in
`test_elimination.py` and `test_dcp_nas_steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.ops import Unit
from binas.search.space import Space
from binas.search.strategy import (
    bars,
    bnas,
    bnas_v2,
    darts,
    pc_darts,
)
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.strategy.settings import SearchSettings
from binas.search.survey import random_genotypes
from binas.search.train import fit


@pytest.mark.paper_check(number=5)
def test_the_confident_learning_rate_has_the_published_values(
    ground: CellGround, images: Dataset
) -> None:
    assert bnas_v2.PUBLISHED.epochs == 50
    task = bnas_v2.Search(ground, images, bnas_v2.PUBLISHED, 0)
    values = [task.architecture_rate(epoch) for epoch in (0, 24, 49)]
    assert values == pytest.approx([1.2e-7, 7.5e-5, 3e-4], rel=1e-12)


def test_with_confidence_alpha_moves_little_at_first_and_fully_at_last(
    ground: CellGround, images: Dataset
) -> None:
    moved: dict[str, list[float]] = {}
    for name, power in (("clr", 2.0), ("plain", 0.0)):
        settings = bnas_v2.BnasV2Settings(epochs=4, batch=24, power=power)
        task = bnas_v2.Search(ground, images, settings, 0)
        moved[name] = []
        for number in range(4):
            before = [alpha.detach().clone() for alpha in task.logits]
            task.epoch(number)
            change = [
                (a.detach() - b).abs().max() for a, b in zip(task.logits, before, strict=True)
            ]
            moved[name].append(float(torch.stack(change).max()))
    assert moved["clr"][0] < 0.1 * moved["plain"][0]
    assert moved["clr"][3] > 8 * moved["clr"][0]


@pytest.mark.paper_check(number=3)
def test_partial_channels_of_one_part_without_edge_weights_are_darts(
    ground: CellGround, images: Dataset
) -> None:
    plain = darts.Search(ground, images, darts.DartsSettings(epochs=2, batch=24), 0)
    settings = pc_darts.PcDartsSettings(
        epochs=2, batch=24, warmup_epochs=0, partial=1, edge_normalisation=False
    )
    part: pc_darts.PartialSearch[Any] = pc_darts.PartialSearch(ground, images, settings, 0)
    assert [entry["loss"] for entry in fit(plain)] == [entry["loss"] for entry in fit(part)]
    assert all(map(torch.equal, plain.logits, part.logits))


def convolved(net: nn.Module) -> int:
    """Weights of the binary 3x3 convolutions on edges."""
    units = [layer for layer in net.modules() if isinstance(layer, Unit)]
    return sum(w.numel() for unit in units for w in unit.parameters() if w.dim() == 4)


@pytest.mark.parametrize(
    ("kind", "settings", "k"),
    [
        (pc_darts.PartialSearch, pc_darts.PcDartsSettings(), 4),
        (bnas_v2.Search, bnas_v2.PC, 4),
        (bnas_v2.Search, bnas_v2.BnasV2Settings(), 1),
        (bnas.Search, bnas.BnasSettings(), 2),
    ],
    ids=["pc-darts", "bnas-v2 pc", "bnas-v2 clr", "bnas"],
)
def test_operations_see_the_part_of_the_channels_that_the_method_gives_them(
    ground: CellGround, images: Dataset, kind: type[Any], settings: SearchSettings, k: int
) -> None:
    task = kind(ground, images, settings, 0)
    assert convolved(task.nets["child"]) * k**2 == convolved(ground.net()) > 0


@pytest.mark.paper_check(number=4)
def test_pc_darts_learns_a_weight_per_edge_and_derives_with_it(
    ground: CellGround, images: Dataset
) -> None:
    settings = pc_darts.PcDartsSettings(epochs=2, batch=24, warmup_epochs=1)
    task: pc_darts.PartialSearch[Any] = pc_darts.PartialSearch(ground, images, settings, 0)
    before = [beta.detach().clone() for beta in task.betas]
    task.epoch(0)
    assert all(map(torch.equal, before, task.betas))  # both rest in the warm-up
    task.epoch(1)
    assert not any(map(torch.equal, before, task.betas))
    edges = task.edges()
    assert edges is not None
    for group, weights, scores in zip(ground.groups, edges, task.scores(), strict=True):
        assert torch.allclose(scores.sum(dim=1), weights)
        for into in group.incoming:
            assert float(weights[list(into)].sum().detach()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("decay", "earlier"), [(0.0, 0.0), (0.5, 0.0), (0.0, 2.0)], ids=["plain", "decay", "momentum"]
)
def test_the_second_order_gradient_is_that_through_one_step_of_the_weights(
    decay: float, earlier: float
) -> None:
    # On L_train = (w - α)², L_val = (w - 1)² the step, with SGD's memory b of earlier ones and its
    # decay, is w' = w - ξ (2 (w - α) + 0.9 b + decay · w), so ∂L_val(w')/∂α = 2 (w' - 1) · 2ξ.
    w, alpha, rate = 0.3, 0.7, 0.1

    class Line(darts.Search):
        def __init__(self) -> None:
            self.settings = darts.DartsSettings(order=2, weight_decay=decay)
            self.net = self.line = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.line.weight, w)
            self.weights = torch.optim.SGD(self.net.parameters(), lr=rate)
            self.weights.state[self.line.weight]["momentum_buffer"] = torch.tensor([[earlier]])
            self.logits = [torch.tensor(alpha, requires_grad=True)]

        def _gradients(
            self, batch: Any, alpha: Any, weights: Any, *, validate: bool = False
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            del batch
            value = self.line.weight.flatten()[0]
            loss = (value - 1) ** 2 if validate else (value - self.logits[0]) ** 2
            found = torch.autograd.grad(
                loss, [*alpha, *weights], allow_unused=True, materialize_grads=True
            )
            return torch.zeros(()), found

        def move_architecture(self, gradients: tuple[Tensor, ...]) -> None:
            self.found = gradients

    task = Line()
    task.architecture_step((torch.zeros(0), torch.zeros(0)), (torch.zeros(0), torch.zeros(0)))
    ahead = w - rate * (2 * (w - alpha) + 0.9 * earlier + decay * w)
    assert float(task.found[0]) == pytest.approx(2 * (ahead - 1) * 2 * rate, rel=1e-3)
    assert float(task.line.weight.detach()) == pytest.approx(w)


def test_latency_makes_bars_shallower_and_narrower(
    tiny: Space, images: Dataset, lut_of: Callable[[Space], Lut]
) -> None:
    lut = lut_of(tiny)
    budget = 1.01 * min(lut.predict_ns(g) for g in random_genotypes(tiny, 200, seed=1))
    expected = {}
    for strength in (0.0, 20.0):
        settings = bars.BarsSettings(
            epochs=6,
            warmup_epochs=1,
            batch=24,
            architecture_rate=0.1,
            entropy=0.0,
            strength=strength,
        )
        task = bars.Search(LayoutGround(tiny, lut), images, settings, 0, budget)
        fit(task)
        choice = task.ground.choice(task.probabilities())
        expected[strength] = (
            sum(float(d.detach() @ torch.tensor(tiny.depths).float()) for d in choice.depth),
            sum(float(w.detach() @ torch.tensor(tiny.widths)) for w in choice.width),
        )
    assert expected[20.0][0] < expected[0.0][0] - 0.1  # depth
    assert expected[20.0][1] < expected[0.0][1] - 0.1  # width
