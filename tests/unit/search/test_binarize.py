"""Binarisers: one forward for all, and each gradient by the formula of its source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from binas.core import bits
from binas.search.binarize import (
    BARS,
    BARS_LIMIT,
    BI_REAL,
    XNOR,
    Binarizer,
    ChannelScale,
    TensorScale,
    WeightBinarizer,
    XnorScale,
    clipped_sign,
    triangle_sign,
    widened_sign,
)

Sign = Callable[[Tensor], Tensor]
SIGNS = [clipped_sign, widened_sign, triangle_sign]
WEIGHTS = [TensorScale(), ChannelScale(), XnorScale()]
X = torch.tensor([-3.0, -1.31, -1.29, -1.01, -0.99, -0.5, -1e-30, -0.0, 0.0, 0.4, 0.99, 1.2, 2.0])


def gradient(function: Callable[[Tensor], Tensor], x: Tensor, upstream: Tensor) -> Tensor:
    """What comes back through a function for a given gradient of its result."""
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(leaf), leaf, upstream)
    assert torch.equal(leaf.detach(), x), "the saved input was changed in place"
    return found


def weights() -> Tensor:
    """[K, C, R, S], some beyond every limit, one exactly zero."""
    w = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w[0, 0, 0, 0], w[1, 0, 0, 0] = 0.0, 1.7
    return w


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_is_the_bit_of_the_kernels_and_zero_is_plus_one(
    sign: Sign, dtype: torch.dtype
) -> None:
    got = sign(X.to(dtype))
    assert got.dtype == dtype
    assert np.array_equal(got.numpy(), bits.sign(X.numpy()))
    assert got[7] == got[8] == 1


@pytest.mark.parametrize("sign", SIGNS)
def test_integers_have_no_gradient_and_are_refused(sign: Sign) -> None:
    with pytest.raises(TypeError, match="floating point"):
        sign(torch.tensor([1, -1]))


@pytest.mark.paper_check(number=9)
@pytest.mark.parametrize(
    ("sign", "slope"),
    [
        (clipped_sign, lambda x: (x.abs() < 1).double()),
        (widened_sign, lambda x: (x.abs() < BARS_LIMIT).double()),
        (triangle_sign, lambda x: (2 - 2 * x.abs()).clamp(min=0)),
    ],
)
def test_the_gradient_of_a_sign_is_its_formula(sign: Sign, slope: Sign) -> None:
    x = X.double()
    upstream = torch.linspace(-2, 3, len(x), dtype=torch.float64)
    assert torch.equal(gradient(sign, x, upstream), upstream * slope(x))


@pytest.mark.parametrize("binarizer", WEIGHTS, ids=lambda b: type(b).__name__)
def test_binary_weights_are_their_scale_times_their_sign(binarizer: WeightBinarizer) -> None:
    w = weights()
    expected = torch.where(w >= 0, 1.0, -1.0) * binarizer.scale(w)[:, None, None, None]
    assert torch.allclose(binarizer(w), expected, rtol=1e-12)


def test_the_scales_are_means_over_the_tensor_and_over_the_channel() -> None:
    w = weights()
    assert torch.allclose(TensorScale().scale(w), w.abs().mean().expand(4))
    assert torch.allclose(ChannelScale().scale(w), w.abs().flatten(1).mean(1))
    assert torch.equal(XnorScale().scale(w), ChannelScale().scale(w))


def test_weights_gradients_are_their_formulas() -> None:
    w = weights()
    upstream = torch.randn(w.shape, generator=torch.Generator().manual_seed(1), dtype=w.dtype)
    inside = w.abs() < BARS_LIMIT * w.abs().mean()
    assert 0 < inside.sum() < w.numel()
    assert torch.equal(gradient(TensorScale(), w, upstream), upstream * inside)
    assert torch.equal(gradient(ChannelScale(), w, upstream), upstream * (w.abs() < 1))


@pytest.mark.paper_check(number=9)
def test_xnors_gradient_through_the_scale_equals_finite_differences() -> None:
    w = weights()
    w[0, 0, 0, 0] = 0.2  # |w| has no derivative at 0
    upstream = torch.randn(w.shape, generator=torch.Generator().manual_seed(2), dtype=w.dtype)
    signs = torch.where(w >= 0, 1.0, -1.0)

    def through_scale(values: Tensor) -> float:
        return float((upstream * signs * XnorScale().scale(values)[:, None, None, None]).sum())

    numeric, step = torch.empty_like(w), 1e-6
    for i in range(w.numel()):
        up, down = w.clone(), w.clone()
        up.view(-1)[i] += step
        down.view(-1)[i] -= step
        numeric.view(-1)[i] = (through_scale(up) - through_scale(down)) / (2 * step)
    through_sign = upstream * (w.abs() <= 1) * XnorScale().scale(w)[:, None, None, None]
    found = gradient(XnorScale(), w, upstream)
    assert torch.allclose(found - through_sign, numeric, rtol=1e-6, atol=1e-8)


def test_the_named_pairs_are_what_their_papers_combine() -> None:
    assert Binarizer(widened_sign, TensorScale(), held=True) == BARS
    assert Binarizer(triangle_sign, ChannelScale()) == BI_REAL
    assert Binarizer(clipped_sign, XnorScale()) == XNOR
