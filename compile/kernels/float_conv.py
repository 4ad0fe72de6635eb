"""Convolution and dense layers on real activations.

    y[n, p, q, k] = Σ_rsc x[n, p * sh - top + r * dh, q * sw - left + s * dw, c] * w[k, r, s, c]

Where it takes fewer instructions, products are saved by minimal filtering, along rows
(`float_winograd.py`) or in two dimensions (`float_winograd_2d.py`), or weights of one bit look
signed sums up, in a register (`float_lookup.py`) or in memory (`float_tables.py`); elsewhere every
tap is multiplied (`float_direct.py`). Dense layers are 1x1 convolutions of one pixel.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import (
    epilogue,
    float_direct,
    float_lookup,
    float_tables,
    float_winograd,
    float_winograd_2d,
)
from binas.compile.kernels.frame import Kernel
from binas.compile.tile import Tile
from binas.core.layer import Layer

_PAYS = 0.85  # of the direct way's instructions: beyond, what is not counted eats the gain


def meaning(node: Node, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sums [N, P, Q, K] in float64, one kernel tap at a time."""
    assert node.weights is not None  # noqa: S101
    layer, G = node.layer, node.groups
    (N, P, Q, K), (top, left, bottom, right) = layer.out_shape, node.padding
    if node.in_affine is not None:
        x = epilogue.through((node.in_affine,), x)
    image = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    per_in, per_out = node.in_shape[3] // G, K // G
    y = np.zeros((N, P, Q, K))
    for r in range(node.kernel[0]):
        for s in range(node.kernel[1]):
            row, column = r * node.dilation[0], s * node.dilation[1]
            taps = image[:, row :: node.stride[0], column :: node.stride[1]][:, :P, :Q]
            for g in range(G):
                w = node.weights[g * per_out : (g + 1) * per_out, r, s].astype(np.float64)
                part = taps[..., g * per_in : (g + 1) * per_in] @ w.T
                y[..., g * per_out : (g + 1) * per_out] += part
    return y


def way(layer: Layer, isa: Isa) -> ModuleType:
    """The module that computes this layer."""
    for module in (float_tables, float_lookup):
        if module.pays(layer, isa):
            return module
    least, found = _PAYS, float_direct
    for module in (float_winograd, float_winograd_2d):
        share = module.share(layer, isa)
        if share is not None and share < least:
            least, found = share, module
    return found


def instructions(layer: Layer, isa: Isa) -> float:
    """How many the inner loop takes for a vector of multiply-adds, at least."""
    module = way(layer, isa)
    found: float = module.instructions(layer, isa)
    looks_up = module in (float_tables, float_lookup)
    return found if isa.fused or looks_up else 2 * found


def default_tile(layer: Layer, isa: Isa) -> Tile:
    """The tile, where nothing is known of the layer but its shape."""
    tile: Tile = way(layer, isa).default_tile(layer, isa)
    return tile


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, and no others are taken from anybody."""
    found: list[Tile] = way(layer, isa).tiles(layer, isa)
    return found


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer."""
    made: Kernel = way(layer, isa).generate(layer, isa, symbol, tile)
    return made


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """Weights in the order of the layer's way, then what the epilogue reads."""
    found: list[NDArray[Any]] = way(node.layer, isa).arrays(node, isa, tile)
    return found
