"""DCP-NAS as a search: what Parent, tangent, curvature and coupling do to the Child."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from binas.search.cells import CellSpace
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.networks.supernet import Mixture
from binas.search.space import Space
from binas.search.strategy import (
    batch_statistics,
    dcp_nas,
    effective_weights,
    gauss_newton,
)
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.ground import softmax
from binas.search.train import fit


def dcp(
    ground: CellGround, images: Dataset, budget_ns: float | None = None, **changes: Any
) -> dcp_nas.Search:
    settings = dcp_nas.DcpNasSettings(epochs=2, batch=24, **changes)
    task = dcp_nas.Search(ground, images, settings, 0, budget_ns)
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


def test_the_exact_curvature_is_that_of_minus_the_divergence(
    ground: CellGround, images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A real-valued Child in float64: through signs there is nothing to take differences of.
    weight, step = 0.5, 1e-5
    task = dcp(ground, images, tangent=weight, curvature="exact")
    torch.manual_seed(1)
    task.child, task.parent = ground.net(real=True).double(), task.parent.double()
    task.logits = [alpha.detach().double().requires_grad_() for alpha in task.logits]
    task.architecture_half = task.architecture_half[0].double(), task.architecture_half[1]
    x, y = task.architecture_half[0][:24], task.architecture_half[1][:24]
    target = task.parent(x, task.mixture()).detach().softmax(-1)

    def gradient(alphas: list[Tensor]) -> Tensor:
        """∂G/∂α of G = -KL."""
        leaves = [alpha.detach().clone().requires_grad_() for alpha in alphas]
        out = task.child(x, Mixture.soft(softmax(leaves)))
        kl = functional.kl_div(out.log_softmax(-1), target, reduction="batchmean")
        return -gauss_newton.flat(torch.autograd.grad(kl, leaves))

    parent = task.parent(x, task.mixture())
    t = -gauss_newton.flat(torch.autograd.grad(functional.cross_entropy(parent, y), task.logits))
    g = gradient(task.logits)
    parts = (g - t).split([alpha.numel() for alpha in task.logits])
    sides = [
        gradient([a + sign * v.view_as(a) for a, v in zip(task.logits, parts, strict=True)])
        for sign in (step, -step)
    ]
    expected = -g + 2 * weight * (sides[0] - sides[1]) / (2 * step)
    found = given_by(task, monkeypatch)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    assert not torch.allclose(found, -g, rtol=1e-2)


def test_the_childs_step_feels_the_latency_above_its_budget(
    tiny: Space, images: Dataset, lut_of: Callable[[Space], Lut], monkeypatch: pytest.MonkeyPatch
) -> None:
    ground, strength = CellGround(tiny, lut_of(tiny)), 3.0
    flat = float(ground.expected_ns(ground.uniform()) or 0.0)
    fastest = ground.fastest_ns() or 0.0
    assert fastest < flat
    budget = 0.5 * (fastest + flat)
    task = dcp(ground, images, budget, strength=strength)
    task.progress = 1.0
    pressed = given_by(task, monkeypatch)
    plain = given_by(dcp(ground, images, strength=strength), monkeypatch)
    ratio = task.ground.expected_ns(softmax(task.logits))
    assert ratio is not None
    extra = gauss_newton.flat(torch.autograd.grad(strength * ratio / budget, task.logits))
    assert float(extra.abs().max()) > 1e-2
    torch.testing.assert_close(pressed - plain, extra.to(plain), rtol=1e-3, atol=1e-5)


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
        for group, pushed in zip(ground.groups, columns, strict=True):
            assert [op for op, on in zip(group.ops, pushed, strict=True) if on] == ["b3"]
    for with_it, without, old, lagging in zip(after[1.0], after[0.0], before, columns, strict=True):
        assert torch.allclose(with_it, without + 0.5 * old * lagging, atol=1e-7)
        assert not torch.equal(with_it, without)


@pytest.mark.parametrize("name", ["parent", "child"])
def test_on_darts_cells_backtracking_pushes_learned_operations_alone(
    images: Dataset, name: str
) -> None:
    space = CellSpace(input_shape=(1, 8, 8), classes=3, channels=4, cells=3, nodes=2)
    task = dcp(CellGround(space, None), images)
    task._rank_operations(name)
    learned = {"normal": {"sep3", "sep5", "dil3", "dil5"}}
    learned["reduction"] = {*learned["normal"], "skip"}  # there it is a factorised reduction
    for group, pushed in zip(task.child.groups, task.couplings[name].columns, strict=True):
        found = {op for op, on in zip(group.ops, pushed, strict=True) if on}
        assert found < learned[group.name]
        assert len(found) == (len(learned[group.name]) + 1) // 2


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
        errors.append(float(effective_weights.reconstruction_error(task.child).detach()))
    assert errors[1] < 0.8 * errors[0]
