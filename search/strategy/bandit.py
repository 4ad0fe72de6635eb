"""Confidence bounds: an operation that was drawn seldom is neither trusted nor given up early.

Source: the bandit search of BNAS's authors (ABanditNAS: Zhang et al., Binary Neural Networks, CRC
2023, section 4.2, eqs. 4.1-4.14), after UCB1 (Auer et al., 2002). BNAS's journal version
(arXiv:2009.04247) uses the upper bound to abandon operations; its printed formula could not be had,
this form is the group's:

    p(o_k) = exp(-s_L(o_k)) / Σ_m exp(-s_L(o_m)),  s_L = m - √(2 ln N / n)           (4.9, 4.10)
    train what was drawn for an epoch; m ← (1 - λ) m + λ a, a its validation accuracy     (4.11)
    after K T samples O ← O - {argmin s_U(o_k)},  s_U = m + √(2 ln N / n)            (4.12, 4.13)
    until one operation is left: T Σ_{k=2..K} k samples                                   (4.14)

The first K samples, which give each operation its first m, are among these here; the book does not
say. λ and the form of 4.11 are from memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

DECAY = 0.7  # λ of the running mean


def radius(draws: Tensor) -> Tensor:
    """√(2 ln N / n_k), with N the draws on the edge and n_k those of operation k; inf undrawn.

    Both count from the first round on, and N also what has been dropped since (eqs. 4.3, 4.8).
    """
    total = draws.sum(dim=1, keepdim=True)
    return (2 * total.clamp(min=1).log() / draws).sqrt().where(draws > 0, torch.inf)


def upper(mean: Tensor, draws: Tensor) -> Tensor:
    """s_U(o_k) = m_k + √(2 ln N / n_k); of all shapes [rows, alternatives] (eq. 4.12)."""
    return mean + radius(draws)


def lower(mean: Tensor, draws: Tensor) -> Tensor:
    """s_L(o_k) = m_k - √(2 ln N / n_k) (eq. 4.9)."""
    return mean - radius(draws)


def probabilities(mean: Tensor, draws: Tensor, tested: Tensor) -> Tensor:
    """p(o_k) = exp(-s_L(o_k)) / Σ_m exp(-s_L(o_m)): what was drawn seldom or did badly comes more.

    Eq. 4.10.
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
    """The mean m ← (1 - λ) m + λ a; the first value as it is (eq. 4.11).

    Args:
        last: m before, [rows, alternatives].
        value: a, the value observed for each.
        draws: How often each was drawn before this value.
        decay: λ.
    """
    return torch.where(draws > 0, (1 - decay) * last + decay * value, value)
