"""Stored weights that a binariser keeps in [-1, 1], as BARS' does.

Source: BARS' code, which clamps them at each forward pass (walkerning/aw_nas, aw_nas/ops/
bnn_ops.py). Here it is done after each step, and once before the first, which gives the same
weights to every pass and leaves passes free of side effects.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from binas.search.ops import BinaryConv

OptimiserT = TypeVar("OptimiserT", bound=torch.optim.Optimizer)


def holding(optimiser: OptimiserT, net: nn.Module) -> OptimiserT:
    """The optimiser, whose steps from now on leave such weights of the net in [-1, 1].

    A layer whose weights are real for the time being (retraining's first step) is left alone.
    """
    layers = [m for m in net.modules() if isinstance(m, BinaryConv) and m.binarizer.held]

    def hold(*_: object) -> None:
        with torch.no_grad():
            for layer in layers:
                if not layer.real:
                    layer.weight.clamp_(-1, 1)

    if layers:
        hold()
        optimiser.register_step_post_hook(hold)
    return optimiser
