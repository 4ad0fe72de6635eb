"""Which family computes a layer, and its four functions under one roof."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node, sliced
from binas.compile.isa import Isa
from binas.compile.kernels import (
    binary_conv,
    binary_depthwise,
    elementwise,
    epilogue,
    float_conv,
    pool,
    softmax,
)
from binas.compile.kernels.frame import Kernel
from binas.core.layer import Layer, Op

_FAMILIES: dict[Op, Any] = {
    "binary_conv": binary_conv,
    "conv": float_conv,
    "pool_max": pool,
    "pool_avg": pool,
    "softmax": softmax,
    "elementwise": elementwise,
    "constant": elementwise,
    "concat": elementwise,
}


def of(layer: Layer) -> Any:
    """The module of a layer's family."""
    return binary_depthwise if sliced(layer) else _FAMILIES[layer.op]


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer for an ISA."""
    kernel: Kernel = of(layer).generate(layer, isa, symbol)
    return kernel


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The parameter arrays of a node, in the order in which its kernel takes them."""
    found: list[NDArray[Any]] = of(node.layer).arrays(node, isa)
    return found


def meaning(node: Node, reads: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """What a node computes, in numpy: the reference of its kernel.

    Args:
        node: The step.
        reads: The values of `node.reads`, in order: float32 [N, H, W, C] or packed words.

    Returns:
        The values of `node.writes`, in order.
    """
    return epilogue.outputs(node, staged(node, reads))


def staged(node: Node, reads: list[NDArray[Any]]) -> NDArray[np.float32]:
    """The same before it is stored: float32 [N, P, Q, K] after all stages."""
    operands, added = reads[: len(node.inputs)], reads[len(node.inputs) :]
    accumulator = of(node.layer).meaning(node, *operands)
    return epilogue.staged(node, accumulator, added)
