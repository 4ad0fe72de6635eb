"""DCP-NAS's own arithmetic: the Gauss-Newton product, backtracking, and their signs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from binas.search.cells import CellSpace
from binas.search.networks.family import supernet
from binas.search.ops import BinaryConv
from binas.search.strategy import decoupled, gauss_newton
from binas.search.strategy.effective_weights import operation_norm

IMAGES = 4000


class Toy:
    """Logits linear in five parameters, so p is a softmax model and its Hessian known."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(IMAGES, 3, 5, generator=generator, dtype=torch.float64)
        self.alpha = torch.randn(5, generator=generator, dtype=torch.float64)
        p = (self.x @ self.alpha).softmax(-1)
        # Labels drawn from the model itself: then the Fisher identity holds in expectation.
        self.y = torch.multinomial(p, 1, generator=generator).flatten()

    def scores(self, alpha: Tensor) -> Tensor:
        """log p_n of the labels; alpha [5], or [images, 5]."""
        logits = torch.einsum("nkp,...p->nk" if alpha.dim() == 1 else "nkp,np->nk", self.x, alpha)
        return logits.log_softmax(-1)[torch.arange(IMAGES), self.y]

    def mean(self, parameters: Sequence[Tensor]) -> Tensor:
        return self.scores(parameters[0]).mean()


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


def gradients_of(toy: Toy) -> Tensor:
    spread = gauss_newton.copies([toy.alpha], IMAGES)
    return gauss_newton.image_gradients(toy.scores(spread[0]), spread)


def test_the_rows_are_the_gradients_of_each_image(toy: Toy) -> None:
    rows = gradients_of(toy)
    for n in (0, 1, IMAGES - 1):
        alpha = toy.alpha.clone().requires_grad_()
        (expected,) = torch.autograd.grad(toy.scores(alpha)[n], alpha)
        assert torch.allclose(rows[n], expected, atol=1e-12)
    assert not torch.allclose(rows[0], rows[1], atol=1e-3)


@pytest.mark.paper_check(number=10)
def test_the_product_equals_the_explicit_sum_of_outer_products(toy: Toy) -> None:
    rows = gradients_of(toy)
    fisher = sum((torch.outer(g, g) for g in rows), torch.zeros(5, 5, dtype=torch.float64)) / IMAGES
    for v in torch.eye(5, dtype=torch.float64):
        found = gauss_newton.product(rows, v)
        assert torch.allclose(found, fisher @ v, rtol=1e-10, atol=1e-12)
        assert float(torch.cosine_similarity(found, fisher @ v, dim=0)) > 0.999


def test_the_hessian_is_minus_the_product_where_labels_follow_the_model(toy: Toy) -> None:
    rows = gradients_of(toy)
    for v in torch.eye(5, dtype=torch.float64):
        exact = gauss_newton.hessian_product(toy.mean, [toy.alpha], v)
        found = -gauss_newton.product(rows, v)
        assert float(torch.cosine_similarity(exact, found, dim=0)) > 0.99
        assert float(found.norm() / exact.norm()) == pytest.approx(1, abs=0.1)


@pytest.mark.paper_check(number=10)
def test_the_exact_product_agrees_with_finite_differences(toy: Toy) -> None:
    v, step = torch.linspace(-1, 1, 5, dtype=torch.float64), 1e-5

    def gradient(alpha: Tensor) -> Tensor:
        leaf = alpha.clone().requires_grad_()
        found: Tensor = torch.autograd.grad(toy.mean([leaf]), leaf)[0]
        return found

    difference = (gradient(toy.alpha + step * v) - gradient(toy.alpha - step * v)) / (2 * step)
    exact = gauss_newton.hessian_product(toy.mean, [toy.alpha], v)
    assert torch.allclose(exact, difference, rtol=1e-6, atol=1e-9)


def test_operations_of_small_norm_lag_and_the_flag_turns_the_ranking_round() -> None:
    norms = torch.tensor([4.0, 0.0, 9.0, 1.0])
    assert decoupled.lagging(norms, 2).tolist() == [False, True, False, True]
    assert decoupled.lagging(norms, 2, largest_first=False).tolist() == [True, False, True, False]
    assert not decoupled.lagging(norms, 4).any()


def test_what_has_no_learned_weights_is_not_ranked_and_never_pushed() -> None:
    norms = torch.tensor([math.nan, 9.0, math.nan, 1.0, 4.0])
    assert decoupled.lagging(norms, 1).tolist() == [False, False, False, True, True]
    assert decoupled.lagging(norms, 2).tolist() == [False, False, False, True, False]
    # 0: half of those ranked, so of one that one, and of none nothing.
    assert decoupled.lagging(norms).tolist() == [False, False, False, True, True]
    assert decoupled.lagging(norms[:2]).tolist() == [False, True]
    assert not decoupled.lagging(norms[:1]).any()


@pytest.mark.paper_check(number=10)
def test_backtracking_adds_the_old_parameters_in_the_columns_that_lag() -> None:
    stepped, before = torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    psi, columns = torch.tensor([0.5, 2.0]), torch.tensor([True, False, True])
    found = decoupled.backtracked(stepped, before, psi, columns, eta=1.0)
    assert found.tolist() == [[0.5, 0, 1.5], [8, 0, 12]]
    assert torch.equal(decoupled.backtracked(stepped, before, psi, columns, eta=0.0), stepped)


@pytest.mark.paper_check(number=10)
def test_the_coupling_follows_the_gradient_through_backtracking_and_stays_positive() -> None:
    generator = torch.Generator().manual_seed(1)
    stepped, before, target = (torch.randn(2, 3, generator=generator) for _ in range(3))
    columns, eta = torch.tensor([True, False, True]), 0.7
    psi = torch.tensor([0.3, 0.1], requires_grad=True)
    corrected = decoupled.backtracked(stepped, before, psi, columns, eta)
    loss = ((corrected - target) ** 2).sum()
    gradient, expected = torch.autograd.grad(loss, [corrected, psi])
    found = decoupled.coupling_step(psi.detach(), gradient, before, columns, eta=eta, rate=0.01)
    assert torch.allclose(found, (psi - 0.01 * expected).abs(), atol=1e-6)
    far = decoupled.coupling_step(psi.detach(), gradient, before, columns, eta=eta, rate=-100.0)
    assert bool((far >= 0).all())
    assert bool((psi + 100 * expected < 0).any())  # the absolute value was needed


@pytest.mark.parametrize("real", [False, True], ids=["child", "parent"])
def test_operations_are_ranked_by_the_weights_that_they_multiply_with(real: bool) -> None:
    # PCNN learns a tensor beside each layer's weights; its Parent has none.
    space = CellSpace(
        input_shape=(1, 8, 8), channels=8, nodes=1, cells=3, form="weights", binarizer="pcnn"
    )
    net = supernet(space, real=real)
    op = net.groups[0].ops.index("sep3")
    layers = [m for module in net.op_modules(0, op) for m in module.modules()]
    wanted = 0.0
    for layer in layers:
        if isinstance(layer, BinaryConv):
            size = layer.weight.detach().square()
            # Every weight of a binary layer is ± the mean size of them all.
            size = size if real else size.sqrt().mean().square().expand(layer.weight.shape)
            wanted += float(size.sum())
    assert operation_norm(net, 0, op) == pytest.approx(wanted, rel=1e-5)
    for name in ("none", "skip", "max", "avg"):
        assert math.isnan(operation_norm(net, 0, net.groups[0].ops.index(name)))
