"""DCP-NAS's coupling ψ̃ of weights and architecture: what it is, how it learns, what it corrects.

Source: Li et al., 2023, arXiv:2306.15390; steps in `decoupled.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from binas.search.strategy import decoupled

if TYPE_CHECKING:
    from binas.search.strategy.dcp_nas import DcpNasSettings


class Coupling:
    """ψ̃ of one model, and what it corrected last, per group.

    ψ̃ starts at 1e-3, one value per edge, shared by the operations of the edge.
    """

    def __init__(self, alphas: list[Tensor], settings: DcpNasSettings) -> None:
        """Nothing has been corrected."""
        self.settings = settings
        self.psi = [torch.full((len(alpha),), 1e-3) for alpha in alphas]
        self.before = [torch.zeros(alpha.shape) for alpha in alphas]
        self.corrected = [torch.zeros(alpha.shape[1], dtype=torch.bool) for alpha in alphas]
        self.columns = [torch.zeros(alpha.shape[1], dtype=torch.bool) for alpha in alphas]

    def tables(self) -> Iterator[tuple[str, Tensor]]:
        """All state, by name."""
        for key in ("psi", "before", "corrected", "columns"):
            yield from ((f"{key}{i}", table) for i, table in enumerate(getattr(self, key)))

    def rank(self, norms: list[Tensor]) -> None:
        """Choose what is backtracked from now on; norms per group, NaN without learned weights."""
        threshold, largest_first = self.settings.threshold, self.settings.largest_first
        for columns, norm in zip(self.columns, norms, strict=True):
            columns.copy_(decoupled.lagging(norm, threshold, largest_first=largest_first))

    def learn(self, gradients: tuple[Tensor, ...]) -> None:
        """ψ̃ᵗ⁺¹ = |ψ̃ᵗ - η_ψ ∂L/∂ψ̃ᵗ|, with the gradient at the parameters it corrected."""
        eta, rate = self.settings.backtracking, self.settings.coupling_rate
        tables = zip(self.psi, gradients, self.before, self.corrected, strict=True)
        for psi, gradient, before, columns in tables:
            psi.copy_(decoupled.coupling_step(psi, gradient, before, columns, eta=eta, rate=rate))

    def correct(self, alphas: list[Tensor], before: list[Tensor]) -> None:
        """α̃ᵗ⁺¹ = αᵗ⁺¹ + η ψ̃ᵗ ⊙ αᵗ in the columns that lag."""
        eta = self.settings.backtracking
        with torch.no_grad():
            for i, alpha in enumerate(alphas):
                alpha.copy_(
                    decoupled.backtracked(alpha, before[i], self.psi[i], self.columns[i], eta)
                )
                self.before[i].copy_(before[i])
                self.corrected[i].copy_(self.columns[i])
