"""The plain PC-DARTS supernet and ours are one network; with one part it is DARTS' own edge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.plain_pc_darts import PlainPcDarts
from benchmarks.supernet_step import copy_weights, ours
from binas.search.cells import CellSpace
from binas.search.networks.family import supernet


@pytest.mark.parametrize("partial", [1, 4])
def test_equal_weights_give_equal_logits_and_equal_gradients(partial: int) -> None:
    torch.manual_seed(0)
    channels = 2 * partial
    space = CellSpace(form="real", input_shape=(3, 8, 8), channels=channels, cells=3)
    plain = PlainPcDarts(channels, 3, k=partial).double()
    net = supernet(space, partial=partial).double()
    copy_weights(plain, net)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    alphas = [torch.randn(14, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    betas = [torch.randn(14, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    found: list[tuple[Tensor, ...]] = []
    for logits in (plain(x, alphas, betas), ours(net, x, alphas, betas)):
        grads = torch.autograd.grad(logits.square().sum(), [*alphas, *betas])
        found.append((logits.detach(), *grads))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters())
