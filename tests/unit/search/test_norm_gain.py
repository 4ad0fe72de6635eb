"""The batch norm that a supernet scales by the weight of an operation."""

from __future__ import annotations

import torch

from binas.search.networks.cell_recipe import Norm


def test_a_gain_scales_a_norm_of_bfloat16_activations_as_it_does_one_of_float32() -> None:
    x = torch.randn(8, 5, 6, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    gain = torch.tensor(0.3, requires_grad=True)
    found = Norm(5, affine=False)(x, gain)
    wanted = Norm(5, affine=False)(x.float(), gain)
    torch.testing.assert_close(found.float(), wanted, rtol=1e-2, atol=1e-2)
    found.float().square().sum().backward()
    assert gain.grad is not None and gain.grad.dtype == torch.float32


def test_the_gradient_of_a_scaled_norm_is_the_same_in_every_layout() -> None:
    generator = torch.Generator().manual_seed(0)
    plain, above = (torch.randn(12, 8, 4, 4, generator=generator) for _ in range(2))
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = plain.clone(memory_format=layout).requires_grad_()
        gain = torch.tensor(0.125, requires_grad=True)
        Norm(8, affine=False)(x, gain).backward(above.clone(memory_format=layout))
        found.append((x.grad, gain.grad))
    torch.testing.assert_close(*found)
