"""Binarisers that learn: MConv's scales, PCNN's projections, ReActNet's shifts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from binas.search.binarize import (
    MCONV,
    PCNN,
    REACTNET,
    LearnedScale,
    Projection,
    WeightBinarizer,
    clipped_sign,
)
from binas.search.ops import Activation, BinaryConv, Sign


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def weights() -> Tensor:
    w = drawn(4, 3, 3, 3)
    w[0, 0, 0, 0], w[1, 0, 0, 0] = 0.0, 1.7
    return w


def signs(w: Tensor) -> Tensor:
    return torch.where(w >= 0, 1.0, -1.0).double()


def gradients(
    binarizer: WeightBinarizer, w: Tensor, learned: Tensor, upstream: Tensor
) -> tuple[Tensor, Tensor]:
    leaves = (w.clone().requires_grad_(), learned.clone().requires_grad_())
    found = torch.autograd.grad(binarizer(*leaves), leaves, upstream)
    return found[0], found[1]


def numeric(function: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a scalar function."""
    found = torch.empty_like(x)
    for i in range(x.numel()):
        up, down = x.clone(), x.clone()
        up.view(-1)[i] += step
        down.view(-1)[i] -= step
        found.view(-1)[i] = (function(up) - function(down)) / (2 * step)
    return found


def test_mconv_scales_signs_by_the_size_of_what_it_learned() -> None:
    w, m = weights(), drawn(4, seed=1) - 0.3
    assert (m < 0).any()
    expected = 0.02 * signs(w) * m.abs()[:, None, None, None]
    torch.testing.assert_close(LearnedScale()(w, m), expected)
    torch.testing.assert_close(LearnedScale().scale(w, m), 0.02 * m.abs())


def test_mconvs_gradients_are_its_formulas() -> None:
    w, m, g = weights(), drawn(4, seed=1) - 0.3, drawn(4, 3, 3, 3, seed=2)
    dw, dm = gradients(LearnedScale(), w, m, g)
    error = w - 0.02 * signs(w) * m.abs()[:, None, None, None]
    torch.testing.assert_close(dw, g * m.abs()[:, None, None, None] + 1e-4 * error)
    pull = 1e-4 * (error * 0.02 * signs(w)).sum((1, 2, 3))
    torch.testing.assert_close(dm, m.sign() * ((g * w).sum((1, 2, 3)) - pull))


def test_mconvs_pull_is_the_gradient_of_half_the_squared_error() -> None:
    w, m, still = weights(), drawn(4, seed=1) - 0.3, torch.zeros(4, 3, 3, 3, dtype=torch.float64)
    dw, dm = gradients(LearnedScale(strength=1.0), w, m, still)
    fixed = LearnedScale()(w, m)
    expected = numeric(lambda v: (v - fixed).square().sum() / 2, w)
    torch.testing.assert_close(dw, expected, rtol=1e-6, atol=1e-8)

    def error(scales: Tensor) -> Tensor:
        return (w - 0.02 * signs(w) * scales.abs()[:, None, None, None]).square().sum() / 2

    torch.testing.assert_close(dm, numeric(error, m), rtol=1e-6, atol=1e-8)


def test_a_negative_scale_moves_so_that_its_size_follows_the_gradient() -> None:
    w, g = weights(), -weights()  # a larger scale lowers the loss
    for m in (torch.ones(4).double(), -torch.ones(4).double()):
        _, dm = gradients(LearnedScale(strength=0.0), w, m, g)
        assert bool(((m - 0.01 * dm).abs() > m.abs()).all())


@pytest.mark.paper_check(number=9)
def test_pcnn_with_one_flat_projection_and_no_loss_is_the_plain_estimator() -> None:
    w, g = weights(), drawn(4, 3, 3, 3, seed=2)
    flat = torch.ones(3, 3, dtype=torch.float64)
    dc, _ = gradients(Projection(strength=0.0), w, flat, g)
    leaf = w.clone().requires_grad_()
    (plain,) = torch.autograd.grad(clipped_sign(leaf), leaf, g)
    torch.testing.assert_close(dc, plain)


@pytest.mark.parametrize("tilt", [0.3, -1.4])
def test_pcnn_projects_onto_two_levels_by_the_mean_of_its_matrix(tilt: float) -> None:
    c, w = weights(), drawn(3, 3, seed=3) / 10 + tilt
    level = c.abs().mean() * (1 if w.mean() >= 0 else -1)
    torch.testing.assert_close(Projection()(c, w), level * signs(c))
    torch.testing.assert_close(Projection().scale(c, w), level.expand(4))


def test_pcnns_gradients_are_its_formulas() -> None:
    c, w, d = weights(), drawn(3, 3, seed=3) + 1, drawn(4, 3, 3, 3, seed=2)
    binarizer = Projection(strength=0.1, step=0.05)
    dc, dw = gradients(binarizer, c, w, d)
    inside = d * ((w * c).abs() <= 1)
    assert 0 < (inside != 0).sum() < c.numel()
    error = 0.1 * (w * (c + 0.05 * d) - binarizer(c, w))
    torch.testing.assert_close(dc, inside * w + error * w)
    torch.testing.assert_close(dw, (inside * c + error * (c + 0.05 * d)).sum((0, 1)))


def test_pcnns_projection_part_is_the_gradient_of_its_loss() -> None:
    c, w, d = weights(), drawn(3, 3, seed=3) + 1, drawn(4, 3, 3, 3, seed=2)
    step = 0.05
    with_loss = gradients(Projection(strength=1.0, step=step), c, w, d)
    without = gradients(Projection(strength=0.0, step=step), c, w, d)
    projected = Projection()(c, w)

    def loss(values: Tensor, matrix: Tensor) -> Tensor:
        return (projected - matrix * (values + step * d)).square().sum() / 2

    expected = (numeric(lambda v: loss(v, w), c), numeric(lambda v: loss(c, v), w))
    for found, plain, exact in zip(with_loss, without, expected, strict=True):
        torch.testing.assert_close(found - plain, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("binarizer", [MCONV, PCNN], ids=["mconv", "pcnn"])
def test_a_layer_learns_its_scales_and_evaluates_as_it_trains(binarizer: object) -> None:
    torch.manual_seed(0)
    conv = BinaryConv(3, 4, 3, MCONV if binarizer is MCONV else PCNN)
    assert conv.learned is not None
    bits = signs(drawn(2, 3, 5, 5)).float()
    trained = conv(bits)
    trained.sum().backward()
    assert conv.learned.grad is not None
    assert bool(conv.learned.grad.any())
    torch.testing.assert_close(conv.eval()(bits), trained)


def test_what_was_learned_must_be_given() -> None:
    with pytest.raises(ValueError, match="initial"):
        LearnedScale()(weights())


def test_rsign_moves_its_threshold_by_the_gradient_of_the_sign() -> None:
    sign, x = Sign(3, REACTNET).double(), drawn(2, 3, 4, 4)
    assert sign.shift is not None
    with torch.no_grad():
        sign.shift.copy_(torch.tensor([0.0, 0.5, -0.5]))
    g = drawn(2, 3, 4, 4, seed=1)
    y = sign(x)
    assert torch.equal(y, signs(x + sign.shift[:, None, None].detach()))
    (found,) = torch.autograd.grad(y, sign.shift, g)
    slope = (2 - 2 * (x + sign.shift[:, None, None]).abs()).clamp(min=0)
    torch.testing.assert_close(found, (g * slope).sum((0, 2, 3)).detach())


def test_rprelu_equals_finite_differences() -> None:
    activation, x = Activation(3, REACTNET).double(), drawn(2, 3, 4, 4).requires_grad_()
    assert len(list(activation.parameters())) == 3
    with torch.no_grad():
        for place, parameter in enumerate(activation.parameters()):
            parameter.add_(drawn(3, seed=place + 5) / 3)
    assert torch.autograd.gradcheck(activation, (x,))
    slope, before, after = (p.detach() for p in activation.parameters())
    shifted = x.detach() + before[:, None, None]
    expected = torch.where(shifted >= 0, shifted, slope[:, None, None] * shifted)
    torch.testing.assert_close(activation(x).detach(), expected + after[:, None, None])
