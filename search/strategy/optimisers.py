"""The optimisers of a search: of its networks' weights and of its architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from binas.search.held_weights import holding
from binas.search.strategy.settings import SearchSettings

MOMENTUM = 0.9  # of SGD, in every paper of the field
BETAS = (0.5, 0.999)  # of the architecture's Adam, in every code since DARTS


def of_weights(net: nn.Module, settings: SearchSettings) -> torch.optim.Optimizer:
    """Of a network's weights; it keeps in their range what its binarisers hold there."""
    rate, decay = settings.weight_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        sgd = torch.optim.SGD(net.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=decay)
        return holding(sgd, net)
    return holding(torch.optim.Adam(net.parameters(), lr=rate, weight_decay=decay), net)


def of_architecture(tensors: list[Tensor], settings: SearchSettings) -> torch.optim.Adam:
    """Of architecture parameters."""
    rate, decay = settings.architecture_rate, settings.architecture_decay
    return torch.optim.Adam(tensors, lr=rate, betas=BETAS, weight_decay=decay)
