"""What batch norms do inside a step: leave a batch's statistics behind, or take them as given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def taking_statistics(net: nn.Module) -> Iterator[None]:
    """What runs inside in training leaves its batch's statistics in the batch norms."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    moments = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    yield
    for norm, moment in zip(norms, moments, strict=True):
        norm.momentum = moment


@contextmanager
def fixed_statistics(net: nn.Module) -> Iterator[None]:
    """Batch norms inside are constants, so that images do not see each other."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
    yield
    for norm in norms:
        norm.train()
