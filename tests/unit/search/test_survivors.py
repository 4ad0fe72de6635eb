"""What is left of an edge at the end of a sampling search: the operation that did best on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from binas.search.cells import CellSpace
from binas.search.data import Dataset
from binas.search.strategy import bnas, cp_nas
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.sampled import SampledSearch

SPACE = CellSpace(input_shape=(1, 8, 8), classes=3, channels=4, cells=3, nodes=1)
SEEDS = range(20)
BEST = 3  # of the eight operations, on the last edge
ACCURACIES = tuple(0.9 if op == BEST else 0.40 + 0.02 * op for op in range(8))


class Best(SampledSearch[Any]):
    """A search whose networks are not trained and as accurate as the last edge's operation says."""

    def train_path(self, *_args: Any) -> tuple[float, float]:
        return 1.0, 0.5

    def validation(self, name: str, path: Tensor) -> float:
        del name
        return ACCURACIES[int(path[-1])]


class BestOfBnas(Best, bnas.Search):
    """By BNAS's rules."""


class BestOfPairs(Best, cp_nas.Search):
    """By CP-NAS's."""


@pytest.fixture(scope="module")
def eight() -> CellGround:
    """Edges of eight operations."""
    return CellGround(SPACE, None)


def bnas_by(ground: CellGround, images: Dataset, seed: int, **rules: Any) -> BestOfBnas:
    settings = bnas.BnasSettings(
        batch=24, weight_epochs=0, joint_epochs=0, reduced_epochs=0, **rules
    )
    return BestOfBnas(ground, images, settings, seed)


def survivor(task: SampledSearch[Any]) -> int:
    for number in range(task.epochs):
        task.epoch(number)
    assert bool((task.alive.sum(dim=1) == 1).all())
    return int(task.alive[-1].nonzero())


@pytest.mark.parametrize(
    ("rules", "least"),
    [
        # The likelihood tests half of an edge; the others it knows by their α, which is noise here.
        ({"rule": "likelihood", "sampling": "sweep"}, 17),
        ({"rule": "likelihood", "sampling": "bandit"}, 17),
        ({"rule": "ucb", "sampling": "sweep"}, 20),
        ({"rule": "ucb", "sampling": "bandit"}, 20),
    ],
)
def test_the_best_operation_of_an_edge_survives_bnas(
    eight: CellGround, images: Dataset, rules: dict[str, str], least: int
) -> None:
    found = [survivor(bnas_by(eight, images, seed, **rules)) for seed in SEEDS]
    assert found.count(BEST) >= least


def test_the_best_operation_of_an_edge_survives_cp_nas(eight: CellGround, images: Dataset) -> None:
    settings = cp_nas.CpNasSettings(batch=24)
    found = [survivor(BestOfPairs(eight, images, settings, seed)) for seed in SEEDS]
    assert found == [BEST] * len(SEEDS)


@pytest.mark.parametrize("sampling", ["sweep", "bandit"])
def test_edges_are_ranked_by_what_their_survivors_showed(
    eight: CellGround, images: Dataset, sampling: str
) -> None:
    task = bnas_by(eight, images, 0, rule="ucb", sampling=sampling)
    assert survivor(task) == BEST
    scores = torch.cat(task.scores())
    assert float(scores[-1].max()) == pytest.approx(ACCURACIES[BEST])
    assert torch.equal(scores > 0, task.alive)
    assert float(scores.max(dim=1).values.min()) >= min(ACCURACIES)
