"""The weights that layers multiply with: L_R of a network, R(w_m) of operations (DCP-NAS).

Source: Li et al., 2023, arXiv:2306.15390; in the numbering of the authors' book (Zhang et al.,
Binary Neural Networks, CRC 2023), eqs. 4.23 and 4.53.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from binas.search.networks.supernet import Supernet
from binas.search.ops import BinaryConv


def reconstruction_error(net: nn.Module) -> Tensor:
    """L_R = Σ over layers of the mean of (w - β ∘ sgn(w))², β = mean |w| per output channel.

    The book's is the sum over weights, which would exceed the cross entropy a hundredfold.
    """
    errors = []
    for layer in net.modules():
        if isinstance(layer, BinaryConv):
            w = layer.weight
            beta = w.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
            signs = torch.where(w.detach() >= 0, 1.0, -1.0)
            errors.append((w - beta * signs).square().mean())
    return torch.stack(errors).sum() if errors else torch.zeros(())


def operation_norm(net: Supernet, group: int, op: int) -> float:
    """R(w_m) = ‖w_m‖²₂ of an operation, of binary weights as reconstructed; NaN without weights.

    Over its learned convolutions on every edge of every cell of the group. The book gives pools a
    weight of 1/(K·K) and identities 1; those are not learned, and compared with sums over thousands
    of weights they are the smallest whatever the training has done (`decoupled.lagging`).
    """
    layers = [
        layer
        for module in net.op_modules(group, op)
        for layer in module.modules()
        if isinstance(layer, BinaryConv | nn.Conv2d)
    ]
    with torch.no_grad():
        if layers:
            return float(sum(_effective(layer).square().sum() for layer in layers))
    return math.nan


def _effective(layer: BinaryConv | nn.Conv2d) -> Tensor:
    """The weights a layer multiplies with."""
    if isinstance(layer, BinaryConv) and not layer.real:
        return layer.binarizer.weights(layer.weight, layer.learned)
    return layer.weight
