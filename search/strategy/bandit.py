"""Confidence bounds: an operation that was drawn seldom is neither trusted nor given up early.

Source: the bandit search of BNAS's authors (Zhang et al., Binary Neural Networks, CRC 2023, eqs.
4.1-4.14), after UCB1 (Auer et al., 2002). BNAS's journal version (arXiv:2009.04247) uses the upper
bound to abandon operations; its printed formula could not be had, this form is the group's.
"""

from __future__ import annotations

import torch
from torch import Tensor

DECAY = 0.7  # λ of the running mean


def radius(draws: Tensor) -> Tensor:
    """√(2 ln N / n_k), with N the draws on the edge and n_k those of operation k; inf undrawn."""
    total = draws.sum(dim=1, keepdim=True)
    return (2 * total.clamp(min=1).log() / draws).sqrt().where(draws > 0, torch.inf)


def upper(mean: Tensor, draws: Tensor) -> Tensor:
    """UCB(o_k) = m_k + √(2 ln N / n_k); of all shapes [rows, alternatives]."""
    return mean + radius(draws)


def lower(mean: Tensor, draws: Tensor) -> Tensor:
    """LCB(o_k) = m_k - √(2 ln N / n_k)."""
    return mean - radius(draws)


def probabilities(mean: Tensor, draws: Tensor, tested: Tensor) -> Tensor:
    """p(o_k) = exp(-LCB(o_k)) / Σ_m exp(-LCB(o_m)): what was drawn seldom or did badly comes more.

    Operations that were never drawn come first, each alike.

    Args:
        mean: Running means m, [rows, alternatives].
        draws: n.
        tested: What may be drawn, bool, at least one per row.
    """
    fresh = tested & (draws == 0)
    known = (-lower(mean, draws)).masked_fill(~tested | (draws == 0), float("-inf")).softmax(dim=1)
    some = fresh.any(dim=1, keepdim=True)
    return torch.where(some, fresh / fresh.sum(dim=1, keepdim=True).clamp(min=1), known)


def running_mean(last: Tensor, value: Tensor, draws: Tensor, decay: float = DECAY) -> Tensor:
    """The mean m ← (1 - λ) m + λ a; the first value as it is.

    Args:
        last: m before, [rows, alternatives].
        value: a, the value observed for each.
        draws: How often each was drawn before this value.
        decay: λ.
    """
    return torch.where(draws > 0, (1 - decay) * last + decay * value, value)
