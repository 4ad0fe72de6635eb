"""Whether an architecture still means something: how sure it is, and whether it still convolves."""

from __future__ import annotations

import torch
from torch import Tensor

from binas.core.errors import SearchError
from binas.search.networks.bars_supernet import Choice
from binas.search.space import Space

WEIGHT_FREE = ("none", "skip", "pool")


def entropy(p: Choice) -> Tensor:
    """Σ H(p) / log n over all choices of n alternatives; a cell counts as the mean of its edges.

    Each distribution is taken for itself; BARS' code mixes the depths of all stages in one.
    """
    parts = [
        -(v * v.clamp(min=1e-12).log()).sum(-1).mean() / torch.tensor(float(v.shape[-1])).log()
        for v in p.tensors()
        if v.shape[-1] > 1
    ]
    return torch.stack([torch.zeros(()), *parts]).sum()


def weight_free(space: Space, p: Choice) -> float:
    """Mean probability of operations without weights, over all edges of normal cells.

    Differentiable searches drift to them, since they carry gradients from the first step; what is
    left then convolves nothing (Zela et al., 2020, arXiv:1909.09656). Reductions are not counted:
    their shortcut convolves whatever their edges do.
    """
    free = torch.tensor([float(op in WEIGHT_FREE) for op in space.normal_ops])
    cells = [cell for stage in p.normal for cell in stage]
    return float((torch.stack(cells) @ free).mean())


def must_stand(share: float, limit: float) -> None:
    """Check that a search is worth going on with.

    Raises:
        SearchError: Operations without weights have all but won.
    """
    if share > limit:
        raise SearchError(
            f"the architecture collapsed: operations without weights hold {share:.1%} of the "
            f"probability, expected at most {limit:.0%}",
            hint="lower the architecture's rate, warm up for longer, or start from another --seed; "
            "the last good epoch is kept",
        )
