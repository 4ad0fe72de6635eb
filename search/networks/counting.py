"""What a network holds and does for one image: parameters and multiply-accumulates by kind."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from binas.search.ops import Activation, BinaryConv, Sign
from binas.search.published import NetworkCounts


def count_network(net: nn.Module, input_shape: tuple[int, int, int]) -> NetworkCounts:
    """Count a network without computing anything: it runs on torch's meta device.

    Args:
        net: The network; it is used up.
        input_shape: C, H, W of one image.
    """
    macs = {"wa": 0, "w": 0, "real": 0}

    def add(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if isinstance(module, BinaryConv):
            kind = "real" if module.real else "wa" if module.binary_input else "w"
            taps = math.prod(module.weight.shape[1:])
        elif isinstance(module, nn.Conv2d):
            kind, taps = "real", math.prod(module.weight.shape[1:])
        else:
            kind, taps = "real", cast(nn.Linear, module).in_features
        macs[kind] += taps * output.numel()

    net = net.to("meta").eval()
    for module in net.modules():
        if isinstance(module, BinaryConv | nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
        elif isinstance(module, nn.BatchNorm2d | Sign | Activation):
            # These change no shape, and torch takes its time to find that out.
            module.__dict__["forward"] = _unchanged
    with torch.no_grad():
        net(torch.empty(1, *input_shape, device="meta"))
    binary = [m for m in net.modules() if isinstance(m, BinaryConv) and not m.real]
    return NetworkCounts(
        params=sum(p.numel() for p in net.parameters()),
        scales=sum(m.learned.numel() for m in binary if m.learned is not None),
        binary_weights=sum(m.weight.numel() for m in binary),
        wa_macs=macs["wa"],
        w_macs=macs["w"],
        real_macs=macs["real"],
    )


def _unchanged(x: Tensor, _gain: Tensor | None = None) -> Tensor:
    return x
