"""CP-NAS's performance indicator: how good a 1-bit network is, and how much better it could be.

Source: CP-NAS (Zhuo et al., 2020, arXiv:2005.00057), eqs. 3 and 4; in the numbering of the authors'
book (Zhang et al., Binary Neural Networks, CRC 2023), eqs. 4.15 and 4.16.
"""

from __future__ import annotations

from torch import Tensor


def indicator(parent: float, child: float, beta: float) -> float:
    """The indicator z = β_P (A_P - A_C) + A_C.

    The ability A_C, and with a positive sign the loss A_P - A_C to the real-valued twin: where the
    Parent is far ahead the architecture has room left.

    Args:
        parent: A_P, validation accuracy of the real-valued network.
        child: A_C, of the 1-bit network of the same architecture.
        beta: β_P; the paper's ablation peaks near 2.
    """
    return beta * (parent - child) + child


def evaluation(mean: Tensor, alive: Tensor) -> Tensor:
    """e(o_k) = exp(z̄_k) / Σ_m exp(z̄_m), over the operations an edge has left; no memory.

    Args:
        mean: z̄, mean indicator of the networks that held the operation, [rows, alternatives].
        alive: [rows, alternatives] bool.
    """
    return mean.masked_fill(~alive, float("-inf")).softmax(dim=1)
