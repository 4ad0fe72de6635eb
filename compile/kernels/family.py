"""Which family computes a layer, and its four functions under one roof."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node, sliced
from binas.compile.isa import Isa
from binas.compile.kernels import (
    binary_conv,
    binary_depthwise,
    bit_concat,
    bit_pool,
    bit_shuffle,
    elementwise,
    epilogue,
    float_conv,
    float_depthwise,
    pool,
    shuffle,
    softmax,
)
from binas.compile.kernels.frame import Kernel
from binas.compile.tile import Tile
from binas.core.layer import Layer, Op

_FAMILIES: dict[Op, Any] = {
    "binary_conv": binary_conv,
    "conv": float_conv,
    "pool_max": pool,
    "pool_avg": pool,
    "pool_bits": bit_pool,
    "softmax": softmax,
    "elementwise": elementwise,
    "constant": elementwise,
    "concat": elementwise,
    "slice": elementwise,
    "shuffle": shuffle,
    "shuffle_bits": bit_shuffle,
    "concat_bits": bit_concat,
}

_TILED = (binary_conv, float_conv)


def of(layer: Layer) -> Any:
    """The module of a layer's family."""
    if layer.op == "conv" and layer.depthwise:
        return float_depthwise
    return binary_depthwise if sliced(layer) else _FAMILIES[layer.op]


def modules(layer: Layer, isa: Isa) -> tuple[str, ...]:
    """The modules of a layer's kernel: its family, then what that alone is made of.

    What a family imports counts with the rest, but for a family that has several ways: then only
    the way that this layer goes.
    """
    module = of(layer)
    chosen = module
    if module is binary_conv:
        chosen = sys.modules[binary_conv.way(layer, isa).__module__]
    elif module is float_conv:
        chosen = float_conv.way(layer, isa)
    return tuple(one.__name__.rpartition(".")[2] for one in (module, chosen))


def default_tile(layer: Layer, isa: Isa) -> Tile | None:
    """A family's own choice of a tile; None where there is nothing to choose."""
    module = of(layer)
    return module.default_tile(layer, isa) if module in _TILED else None


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """The tiles that a kernel may have, the family's own choice first; perhaps none."""
    module = of(layer)
    return module.tiles(layer, isa) if module in _TILED else []


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer for an ISA, with one of its `tiles` or the family's own choice."""
    given = () if tile is None else (tile,)
    kernel: Kernel = of(layer).generate(layer, isa, symbol, *given)
    return kernel


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """The parameter arrays of a node, in the order in which its kernel of that tile takes them."""
    given = () if tile is None else (tile,)
    found: list[NDArray[Any]] = of(node.layer).arrays(node, isa, *given)
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
