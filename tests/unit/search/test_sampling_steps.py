"""BNAS and CP-NAS: what is sampled, what is tested, and what is dropped for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.ops import BatchSign
from binas.search.space import Space
from binas.search.strategy import (
    bnas,
    cp_nas,
)
from binas.search.strategy.cell_ground import CellGround
from binas.search.train import cross_entropy

EIGHT = 8


class Scripted(bnas.Search):
    """BNAS whose networks are not trained and as accurate as the last edge's operation says."""

    accuracies = (0.2, 0.5, 0.8, 0.6)

    def train_path(self, *_args: Any) -> tuple[float, float]:
        return 1.0, 0.5

    def validation(self, name: str, path: Tensor) -> float:
        del name
        return self.accuracies[int(path[-1])]


def search_of(kind: type[bnas.Search], ground: CellGround, images: Dataset, **changes: Any) -> Any:
    settings = bnas.BnasSettings(
        batch=24, weight_epochs=0, joint_epochs=0, reduced_epochs=0, **changes
    )
    return kind(ground, images, settings, 0)


@pytest.mark.paper_check(number=7)
def test_bnas_samples_57_epochs_from_eight_operations_to_one() -> None:
    steps = bnas.BnasSettings().schedule(EIGHT)
    assert sum(step.kind == "path" for step in steps) == 57
    assert [step.kind for step in steps[:5]] == ["weights"] * 3 + ["joint"] * 2
    assert sum(step.last for step in steps) == sum(step.first for step in steps) == 7
    assert len(steps) == 5 + 57 + 7


@pytest.mark.paper_check(number=7)
def test_by_ucb_bnas_tests_all_that_is_left_35_networks_per_repeat() -> None:
    settings = bnas.BnasSettings(rule="ucb")
    steps = settings.schedule(EIGHT)
    assert sum(step.kind == "path" for step in steps) == 35 * 3
    assert sum(step.last for step in steps) == sum(step.first for step in steps) == 7
    assert settings.passes(EIGHT) == 3 + 2 * 2 + 105 + 2 * 7


@pytest.mark.paper_check(number=8)
def test_cp_nas_samples_35_pairs_per_sweep() -> None:
    for repeats in (1, 3):
        assert len(cp_nas.CpNasSettings(repeats=repeats).schedule(EIGHT)) == 35 * repeats
    assert cp_nas.CpNasSettings().passes(EIGHT) == 2 * 105


def test_bnas_reduces_every_edge_to_one_operation_one_per_round(
    ground: CellGround, images: Dataset
) -> None:
    task = search_of(Scripted, ground, images)
    counts = [task.alive.sum(dim=1).tolist()]
    for number, step in enumerate(task.schedule):
        task.epoch(number)
        if step.last:
            counts.append(task.alive.sum(dim=1).tolist())
    edges = len(ground.groups[0].edges)
    for row in range(len(task.alive)):
        most = 4 if edges * 2 <= row < edges * 3 else 3  # the reduction also has "pool"
        assert [count[row] for count in counts] == [max(1, most - k) for k in range(4)]


@pytest.mark.paper_check(number=7)
def test_bnas_tests_the_operations_of_small_alpha_each_once_per_sweep(
    ground: CellGround, images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []
    monkeypatch.setattr(Scripted, "observe", lambda _self, path, _value: drawn.append(path))
    task = search_of(Scripted, ground, images, repeats=3)
    with torch.no_grad():
        for alpha in task.logits:
            alpha.copy_(torch.arange(alpha.shape[1]).flip(0).expand_as(alpha))
    for number in range(6):  # ⌈4/2⌉ tests, three times
        task.epoch(number)
    reduction = len(ground.groups[0].edges) * 2
    for sweep in range(3):
        pair = drawn[2 * sweep : 2 * sweep + 2]
        assert sorted(int(path[reduction]) for path in pair) == [2, 3]
        assert sorted(int(path[0]) for path in pair) == [1, 2]


@pytest.mark.parametrize("worse", [0, 1])
def test_bnas_drops_what_did_worst_among_what_was_tested(
    ground: CellGround, images: Dataset, monkeypatch: pytest.MonkeyPatch, worse: int
) -> None:
    marks = tuple(0.2 if op == worse else 0.5 for op in range(4))
    monkeypatch.setattr(Scripted, "accuracies", marks)
    task = search_of(Scripted, ground, images)
    with torch.no_grad():  # "none" and "skip" are tested
        for alpha in task.logits:
            alpha.copy_(torch.arange(alpha.shape[1]).expand_as(alpha))
    for number in range(6):
        task.epoch(number)
    assert task.alive[-1].tolist() == [worse != 0, worse != 1, True, False]


def test_ucb_keeps_an_operation_that_was_drawn_seldom(ground: CellGround, images: Dataset) -> None:
    task = search_of(Scripted, ground, images, rule="ucb")
    task.tables["bandit_mean"].copy_(torch.tensor([0.9, 0.6, 0.5, 0.4]))
    task.tables["bandit_draws"].copy_(torch.tensor([9.0, 9.0, 1.0, 9.0]))
    task._reduce()
    # Plain accuracy would drop the third; its bound is the highest, the second's the lowest.
    assert task.alive[0].tolist() == [True, False, True, False]


def test_ucb_tests_and_may_drop_the_operation_of_largest_alpha(
    ground: CellGround, images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "accuracies", (0.5, 0.6, 0.1, 0.7))
    task = search_of(Scripted, ground, images, rule="ucb")
    with torch.no_grad():
        for alpha in task.logits:
            alpha[:, 2] = 9.0
    drawn = set()
    for number in range(12):  # four operations, three times
        task.epoch(number)
        drawn.add(int(task.tables["paths"][number % 4][-1]))
    assert drawn == {0, 1, 2}
    assert task.alive[-1].tolist() == [True, True, False, False]


def test_ucb_draws_again_what_has_been_tested_little(ground: CellGround, images: Dataset) -> None:
    task = search_of(Scripted, ground, images, rule="ucb", sampling="bandit")
    task.tables["tested"].copy_(task.alive)
    task.tables["bandit_mean"].fill_(0.5)
    task.tables["bandit_draws"].copy_(torch.tensor([40.0, 40.0, 1.0, 40.0]))
    drawn = torch.stack([task._sample(0) for _ in range(40)])
    assert (drawn == 2).double().mean() > 0.6


def test_what_a_round_did_not_draw_again_keeps_what_it_has_shown(
    ground: CellGround, images: Dataset
) -> None:
    task = search_of(Scripted, ground, images, sampling="bandit")
    task.tables["tested"].copy_(torch.tensor([True, True, False, False]) & task.alive)
    task.tables["bandit_mean"].copy_(torch.tensor([0.8, 0.4, 0.0, 0.0]))
    task.tables["count"].copy_(torch.tensor([0.0, 3.0, 0.0, 0.0]))
    task.tables["total"].copy_(torch.tensor([0.0, 1.2, 0.0, 0.0]))
    task._reduce()
    assert task.alive[-1].tolist() == [True, False, True, False]


def test_bnas_lowers_the_validation_loss_by_alpha_in_joint_epochs_alone(
    ground: CellGround, images: Dataset
) -> None:
    settings = bnas.BnasSettings(
        batch=48, weight_epochs=1, joint_epochs=8, weight_rate=1e-9, architecture_rate=0.1
    )
    task = bnas.Search(ground, images, settings, 0)
    x, y = task.architecture_half

    def state() -> tuple[list[Tensor], float]:
        with torch.no_grad():
            loss = cross_entropy(task.net.train()(x, task.mixture()), y)
        return [alpha.detach().clone() for alpha in task.logits], float(loss)

    first, _ = state()
    task.epoch(0)
    rested, before = state()
    assert all(map(torch.equal, rested, first))
    for number in range(1, 9):
        task.epoch(number)
    moved, after = state()
    assert not any(map(torch.equal, moved, rested))
    assert after < before - 0.02
    task.epoch(9)
    assert task.schedule[9].kind == "path"
    assert all(map(torch.equal, task.logits, moved))


def test_cp_nas_samples_1_bit_children_and_real_valued_parents(
    ground: CellGround, images: Dataset
) -> None:
    task = cp_nas.Search(ground, images, cp_nas.CpNasSettings(batch=24), 0)
    task.epoch(0)
    x = images.x_train[:4]
    for name, signs in (("child", True), ("parent", False)):
        layers = [m for m in task.nets[name].modules() if isinstance(m, BatchSign)]
        assert layers
        for layer in layers:
            found = layer(torch.from_numpy(x).expand(-1, layer.norm.num_features, -1, -1))
            assert bool((found.abs() == 1).all()) is signs


class Pairs(cp_nas.Search):
    """CP-NAS whose Children and Parents are as accurate as the last edge's operation says."""

    marks: ClassVar = {"child": (0.60, 0.62, 0.64, 0.64), "parent": (0.90, 0.63, 0.80, 0.80)}

    def train_path(self, *_args: Any) -> tuple[float, float]:
        return 1.0, 0.5

    def validation(self, name: str, path: Tensor) -> float:
        return self.marks[name][int(path[-1])]


def test_the_indicator_drops_the_child_without_headroom_not_the_worst_child(
    ground: CellGround, images: Dataset
) -> None:
    kept = {}
    for beta in (2.0, 0.0):
        task = Pairs(ground, images, cp_nas.CpNasSettings(batch=24, beta=beta), 0)
        for number in range(12):  # a round of four operations, three sweeps
            task.epoch(number)
        kept[beta] = task.alive[-1].tolist()
    assert kept[2.0] == [True, False, True, False]
    assert kept[0.0] == [False, True, True, False]  # by the Child's accuracy alone


@pytest.mark.paper_check(number=8)
@pytest.mark.parametrize(
    ("beta", "alone"), [(1.0, "parent_accuracy"), (0.0, "validation_accuracy")]
)
def test_at_beta_1_a_sampled_pair_is_judged_by_its_parent_alone_and_at_0_by_its_child(
    ground: CellGround, images: Dataset, beta: float, alone: str
) -> None:
    task = Pairs(ground, images, cp_nas.CpNasSettings(batch=24, beta=beta), 0)
    log = [task.epoch(number) for number in range(4)]
    assert [entry["indicator"] for entry in log] == pytest.approx([entry[alone] for entry in log])
    assert all(entry["parent_accuracy"] > entry["validation_accuracy"] for entry in log)


def test_score_based_strategies_prune_what_makes_networks_slow(
    tiny: Space, images: Dataset, lut_of: Callable[[Space], Lut]
) -> None:
    lut, expected = lut_of(tiny), {}
    ground = CellGround(tiny, lut)
    budget = 1.05 * (ground.fastest_ns() or 0.0)
    for strength in (0.0, 10.0):
        settings = cp_nas.CpNasSettings(strength=strength)
        task = Pairs(ground, images, settings, 0, budget)
        score = torch.rand(task.alive.shape, generator=torch.Generator().manual_seed(0))
        for _ in range(2):
            task.drop(1e-6 * score.double())
        expected[strength] = float(task.ground.expected_ns(task.probabilities()) or 0.0)
    assert expected[10.0] < 0.95 * expected[0.0]
    assert expected[10.0] < 1.1 * budget
