"""The step that makes each strategy what it is: switched off, its test here fails.

BARS's entropy term has its test in `test_bars.py`, the arithmetic of all in `test_elimination.py`
and `test_dcp_nas_steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.networks.supernet import Mixture
from binas.search.space import Space
from binas.search.strategy import (
    bars,
    batch_statistics,
    bnas,
    bnas_v2,
    cp_nas,
    darts,
    dcp_nas,
    gauss_newton,
    pc_darts,
)
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.ground import softmax
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.survey import random_genotypes
from binas.search.train import fit

EIGHT = 8


@pytest.fixture
def ground(tiny: Space) -> CellGround:
    """Two stages of two normal cells, one reduction."""
    return CellGround(tiny, None)


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
    task.tables["tested"].fill_(True)
    task.tables["total"].copy_(torch.tensor([0.9, 0.6, 0.5, 0.4]))
    task.tables["count"].fill_(1.0)
    task.tables["bandit_draws"].copy_(torch.tensor([9.0, 9.0, 1.0, 9.0]))
    task._reduce()
    # Plain accuracy would drop the third; its bound is the highest, the second's the lowest.
    assert task.alive[0].tolist() == [True, False, True, False]


def test_ucb_draws_again_what_has_been_tested_little(ground: CellGround, images: Dataset) -> None:
    task = search_of(Scripted, ground, images, sampling="bandit")
    task.tables["tested"].copy_(task.alive)
    task.tables["bandit_mean"].fill_(0.5)
    task.tables["bandit_draws"].copy_(torch.tensor([40.0, 40.0, 1.0, 40.0]))
    drawn = torch.stack([task._sample(0) for _ in range(40)])
    assert (drawn == 2).double().mean() > 0.6


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


def test_the_second_order_gradient_is_that_through_one_step_of_the_weights() -> None:
    # On L_train = (w - α)², L_val = (w - 1)² the step is w' = w - 2ξ(w - α), so
    # ∂L_val(w')/∂α = 2 (w' - 1) · 2ξ.
    w, alpha, rate = 0.3, 0.7, 0.1

    class Line(darts.Search):
        def __init__(self) -> None:
            self.settings = darts.DartsSettings(order=2)
            self.net = self.line = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.line.weight, w)
            self.weights = torch.optim.SGD(self.net.parameters(), lr=rate)
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
    ahead = w - 2 * rate * (w - alpha)
    assert float(task.found[0]) == pytest.approx(2 * (ahead - 1) * 2 * rate, rel=1e-3)
    assert float(task.line.weight.detach()) == pytest.approx(w)


def dcp(ground: CellGround, images: Dataset, **changes: Any) -> dcp_nas.Search:
    settings = dcp_nas.DcpNasSettings(epochs=2, batch=24, **changes)
    task = dcp_nas.Search(ground, images, settings, 0)
    task.net.train()
    task.parent.train()
    return task


def given_by(task: dcp_nas.Search, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The gradient that an architecture step of the Child hands on."""
    kept: list[Tensor] = []
    monkeypatch.setattr(
        task, "_move", lambda _name, _optimiser, found: kept.append(gauss_newton.flat(found))
    )
    batch = task.architecture_half[0][:24], task.architecture_half[1][:24]
    task.architecture_step(batch, batch)
    return kept[0]


def take_statistics(task: dcp_nas.Search, x: Tensor) -> None:
    with torch.no_grad(), batch_statistics.taking_statistics(task.child):
        task.child(x, task.mixture())


def explicit_rows(task: dcp_nas.Search, x: Tensor, y: Tensor) -> Tensor:
    """∂ log p_n/∂α of every image by itself."""
    with batch_statistics.fixed_statistics(task.child):
        out = task.child(x, task.mixture())
    scores = -functional.cross_entropy(out, y, reduction="none")
    rows = [
        gauss_newton.flat(
            torch.autograd.grad(
                score, task.logits, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        )
        for score in scores
    ]
    return torch.stack(rows)


@pytest.mark.paper_check(number=10)
def test_dcp_nas_product_equals_the_explicit_sum_of_g_gt_v(
    ground: CellGround, images: Dataset
) -> None:
    task = dcp(ground, images)
    x, y = task.architecture_half[0][:24], task.architecture_half[1][:24]
    take_statistics(task, x)
    rows = dcp_nas.image_gradients(task.child, task.logits, x, y)
    explicit = explicit_rows(task, x, y)
    v = torch.randn(explicit.shape[1], generator=torch.Generator().manual_seed(0))
    expected = sum((g * (g @ v) for g in explicit), torch.zeros_like(v)) / len(explicit)
    found = gauss_newton.product(rows, v)
    assert float(torch.cosine_similarity(found, expected, dim=0)) >= 0.999
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6 * float(expected.abs().max()))
    assert torch.allclose(rows, explicit, atol=1e-5 * float(explicit.abs().max()))


@pytest.mark.paper_check(number=10)
def test_without_tangent_and_reconstruction_the_child_distils_the_parents_architecture(
    ground: CellGround, images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {"tangent": 0.0, "reconstruction": 0.0}
    found = given_by(dcp(ground, images, **alone), monkeypatch)
    task = dcp(ground, images, **alone)
    x, y = task.architecture_half[0][:24], task.architecture_half[1][:24]
    mixture = Mixture.soft(softmax(task.logits))
    p_parent, p_child = (net(x, mixture).softmax(-1) for net in (task.parent, task.child))
    kl = (p_parent.detach() * (p_parent.detach() / p_child).log()).sum(-1).mean()
    expected = gauss_newton.flat(torch.autograd.grad(kl, task.logits))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    weights = list(task.child.parameters())
    plain = functional.cross_entropy(task.child(x, task.weight_mixture()), y)
    gradients = torch.autograd.grad(plain, weights, allow_unused=True)
    task.weight_step(task.child, task.weights, (x, y), task.weight_mixture())
    for weight, gradient in zip(weights, gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_the_tangent_bends_the_childs_step(
    ground: CellGround, images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = 0.5
    bent, plain = (given_by(dcp(ground, images, tangent=t), monkeypatch) for t in (weight, 0.0))
    task = dcp(ground, images)
    x, y = task.architecture_half[0][:24], task.architecture_half[1][:24]
    mixture = Mixture.soft(softmax(task.logits))
    parent = task.parent(x, mixture)
    log_likelihood = -functional.cross_entropy(parent, y)
    t = gauss_newton.flat(torch.autograd.grad(log_likelihood, task.logits, retain_graph=True))
    minus_g = functional.kl_div(
        task.child(x, mixture).log_softmax(-1), parent.detach().softmax(-1), reduction="batchmean"
    )
    g = -gauss_newton.flat(torch.autograd.grad(minus_g, task.logits))
    assert torch.allclose(plain, -g, atol=1e-6)  # without it: distillation of architectures
    take_statistics(task, x)
    rows = explicit_rows(task, x, y)
    expected = -g + 2 * weight * -(rows.T @ (rows @ (g - t)) / len(rows))
    assert torch.allclose(bent, expected, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(bent, plain, rtol=1e-2)


def test_the_exact_curvature_is_there_to_compare_with(
    ground: CellGround, images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = given_by(dcp(ground, images, tangent=0.5, curvature="exact"), monkeypatch)
    assert bool(found.isfinite().all())


@pytest.mark.paper_check(number=10)
def test_backtracking_moves_what_lags_and_eta_0_turns_it_off(
    ground: CellGround, images: Dataset
) -> None:
    after = {}
    for eta in (1.0, 0.0):
        task = dcp(ground, images, backtracking=eta)
        for coupling in task.couplings.values():
            for psi in coupling.psi:
                psi.fill_(0.5)
        task._rank_operations("child")
        before = [alpha.detach().clone() for alpha in task.logits]
        batch = task.architecture_half[0][:24], task.architecture_half[1][:24]
        task.architecture_step(batch, batch)
        after[eta] = [alpha.detach().clone() for alpha in task.logits]
        columns = task.couplings["child"].columns
        assert all(int(c.sum()) == len(c) - len(c) // 2 for c in columns)
    for with_it, without, old, lagging in zip(after[1.0], after[0.0], before, columns, strict=True):
        assert torch.allclose(with_it, without + 0.5 * old * lagging, atol=1e-7)
        assert not torch.equal(with_it, without)


@pytest.mark.paper_check(number=10)
def test_the_coupling_learns_from_the_next_gradient_and_stays_positive(
    ground: CellGround, images: Dataset
) -> None:
    task = dcp(ground, images, coupling_rate=10.0)
    fit(task)
    for coupling in task.couplings.values():
        psi = torch.cat(coupling.psi)
        assert bool((psi >= 0).all())
        assert not torch.allclose(psi, torch.full_like(psi, 1e-3))


def test_the_childs_weights_are_drawn_to_their_reconstruction(
    ground: CellGround, images: Dataset
) -> None:
    errors = []
    for mu in (0.0, 50.0):
        task = dcp(ground, images, reconstruction=mu, weight_rate=0.02)
        task.epoch(0)
        errors.append(float(dcp_nas.reconstruction_error(task.child).detach()))
    assert errors[1] < 0.8 * errors[0]


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
