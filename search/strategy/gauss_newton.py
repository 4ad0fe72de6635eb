"""Curvature of a log-likelihood in the architecture parameters, without second derivatives.

The expected Hessian of a log-likelihood is minus its Fisher matrix, so H v is replaced by -F v with
F = (1/N) Σ_n g_n g_nᵀ and g_n = ∂ log p_n/∂α, one gradient per image (generalised Gauss-Newton).
Source: DCP-NAS (Li et al., 2023, arXiv:2306.15390); in the numbering of the authors' book (Zhang
et al., Binary Neural Networks, CRC 2023), eqs. 4.36-4.41. The book prints ∂p_n where the identity
needs ∂ log p_n.

All g_n come from one backward pass: every image gets its own copy of α, which touches that image
alone, so the gradient in the copies is the table [images, parameters]. The sum of its rows is the
plain gradient. Batch norm over a batch couples images; a row then is the image's own share of the
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Parameters = Sequence[Tensor]


def copies(parameters: Parameters, images: int) -> list[Tensor]:
    """Leaves [images, ...], one copy of every parameter per image."""
    return [
        p.detach().expand(images, *p.shape).clone().requires_grad_()  # one leaf: one gradient
        for p in parameters
    ]


def image_gradients(scores: Tensor, spread: Parameters, *, keep_graph: bool = False) -> Tensor:
    """The rows g_n = ∂ Σ_m score_m / ∂ αⁿ, [images, parameters].

    Args:
        scores: log p_n per image, [images], computed from `spread`.
        spread: From `copies`.
        keep_graph: Whether another gradient is taken through the same graph.
    """
    found = torch.autograd.grad(
        scores.sum(), list(spread), retain_graph=keep_graph, materialize_grads=True
    )
    return torch.cat([g.flatten(1) for g in found], dim=1)


def product(gradients: Tensor, vector: Tensor) -> Tensor:
    """F v = (1/N) Σ_n g_n (g_nᵀ v); F itself is never formed.

    Args:
        gradients: [images, parameters].
        vector: [parameters].
    """
    return gradients.T @ (gradients @ vector) / len(gradients)


def hessian_product(
    score: Callable[[Parameters], Tensor], parameters: Parameters, vector: Tensor
) -> Tensor:
    """H v of a score by differentiating twice: the reference that `product` is compared with.

    Args:
        score: Mean log-likelihood as a function of the parameters.
        parameters: Where.
        vector: v, flat [parameters].

    Returns:
        Flat [parameters].
    """
    leaves = [p.detach().clone().requires_grad_() for p in parameters]
    first = flat(
        torch.autograd.grad(score(leaves), leaves, create_graph=True, materialize_grads=True)
    )
    second = torch.autograd.grad(first @ vector, leaves, materialize_grads=True)
    return flat(second)


def flat(tensors: Parameters) -> Tensor:
    """All values in one row."""
    return torch.cat([t.flatten() for t in tensors])
