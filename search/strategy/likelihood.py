"""BNAS's selection likelihood: how likely an operation of an edge is to be the best one.

Source: BNAS (Chen et al., 2020, arXiv:1911.10862), section "performance-based strategy for
reducing the search space".
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

CountT = TypeVar("CountT", int, Tensor)


def weakest(alpha: Tensor, alive: Tensor) -> Tensor:
    """V: on every edge the ⌈K/2⌉ operations of smallest α; none where one operation is left.

    Args:
        alpha: [rows, alternatives].
        alive: [rows, alternatives] bool.
    """
    order = alpha.masked_fill(~alive, float("inf")).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1)
    count = alive.sum(dim=1, keepdim=True)
    return (rank < half(count)) & (count > 1)


def half(count: CountT) -> CountT:
    """⌈K/2⌉."""
    return -(-count // 2)


def updated(
    last: Tensor, mean_accuracy: Tensor, tested: Tensor, temperature: float = 1.0
) -> Tensor:
    """s(o) after one round of tests.

    s_small(o_k) = exp(ȳ_k) / Σ_{m ∈ V} exp(ȳ_m)                                   for k in V
    s_large      = ½ [max_{m ∈ V} s_small(o_m) + (1/⌈K/2⌉) Σ_{m ∈ V} s_small(o_m)]   for the others
    s(o) ← ½ s(o) + (s_small(o) if o in V else s_large)

    Operations outside V were left out because their α is large, so they get more than the mean of
    V, and the same; what an operation got earlier counts half with every round.

    Args:
        last: s(o) before, [rows, alternatives]; zeros at first.
        mean_accuracy: ȳ, mean validation accuracy in [0, 1] of the networks that held o.
        tested: V, bool; rows without any are left as they are.
        temperature: Divides ȳ; the paper's is 1, at which accuracies one point apart give
            likelihoods one percent apart.
    """
    count = tested.sum(dim=1, keepdim=True)
    small = (mean_accuracy / temperature).masked_fill(~tested, float("-inf"))
    small = small.softmax(dim=1).nan_to_num(0.0)
    large = 0.5 * (small.amax(dim=1, keepdim=True) + small.sum(dim=1, keepdim=True) / count)
    found = 0.5 * last + small.where(tested, large)
    return found.where(count > 0, last)
