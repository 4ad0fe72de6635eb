"""DCP-NAS's decoupled optimisation: pushes architecture parameters whose weights lag behind.

∂L/∂α misses the term through the weights, since what an operation's weights became depends on α
along the way. The missing factor, one per edge, has no explicit form and is learnt as ψ̃.
Source: DCP-NAS (Li et al., 2023, arXiv:2306.15390), section "Decoupled Optimization"; in the
numbering of the authors' book (Zhang et al., Binary Neural Networks, CRC 2023), eqs. 4.50-4.53. The
tail of 4.50 is reconstructed, and so is the direction of the ranking (`largest_first`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def lagging(norms: Tensor, threshold: int = 0, *, largest_first: bool = True) -> Tensor:
    """Operations to backtrack: those with ranking(R(w_m)) > τ; bool [operations] (eq. 4.52).

    Only operations with learned weights are ranked: ∂L/∂α of the others misses no term through
    weights. The book ranks all, with stand-ins for the norms of pools and identities.

    Args:
        norms: R(w_m) = ‖w_m‖²₂ per operation (eq. 4.53); NaN without learned weights.
        threshold: τ; 0: half of those ranked, so that one alone is backtracked.
        largest_first: Rank 1 is the largest norm, so what is little trained is pushed. The paper
            does not say which way it counts.
    """
    ranked = (~norms.isnan()).nonzero().flatten()
    order = ranked[norms[ranked].argsort(descending=largest_first, stable=True)]
    found = torch.zeros(len(norms), dtype=torch.bool)
    found[order[threshold or len(order) // 2 :]] = True
    return found


def backtracked(
    stepped: Tensor, before: Tensor, psi: Tensor, columns: Tensor, eta: float
) -> Tensor:
    """α̃ᵗ⁺¹ = αᵗ⁺¹ + η ψ̃ᵗ ⊙ αᵗ in the columns to backtrack, αᵗ⁺¹ in the others (eqs. 4.50, 4.52).

    Args:
        stepped: αᵗ⁺¹ after the plain gradient step, [edges, operations].
        before: αᵗ.
        psi: ψ̃ᵗ, [edges].
        columns: From `lagging`, bool [operations].
        eta: η; 0 turns backtracking off.
    """
    return stepped + eta * psi[:, None] * before * columns


def coupling_step(
    psi: Tensor, gradient: Tensor, before: Tensor, columns: Tensor, *, eta: float, rate: float
) -> Tensor:
    """ψ̃ᵗ⁺¹ = |ψ̃ᵗ - η_ψ ∂L/∂ψ̃ᵗ| with ∂L/∂ψ̃_e = η Σ_m (∂L/∂α̃_{e,m}) αᵗ_{e,m} (eq. 4.51).

    The sum is over the operations backtracked; the chain rule through `backtracked` gives it.

    Args:
        psi: ψ̃ᵗ, [edges].
        gradient: ∂L/∂α̃, [edges, operations].
        before: αᵗ, the parameters before the step that ψ̃ᵗ corrected.
        columns: The operations corrected then.
        eta: η.
        rate: η_ψ.
    """
    return (psi - rate * eta * (gradient * before * columns).sum(dim=1)).abs()
