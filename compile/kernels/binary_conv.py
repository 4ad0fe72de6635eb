"""Binary convolution on packed bits: xor, count, and the epilogue in registers.

    dot = n - 2 * popcount(x xor w)        n: taps inside the image times channels

How ones are counted is the ISA's (`Isa.counting`): a way of counting (`counting.py`) brings its
register tile, the order of its weights and its integers. This file holds the meaning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Affine, Node
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue, nest
from binas.compile.kernels.counting import Counted, Micro
from binas.compile.kernels.counting_bytes import Bytes
from binas.compile.kernels.counting_dot import Dot
from binas.compile.kernels.counting_nibbles import Nibbles
from binas.compile.kernels.counting_octets import Octets
from binas.compile.kernels.counting_popcount import Popcount
from binas.compile.kernels.counting_tree import AdderTree
from binas.compile.kernels.counting_words import FullAdder
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.compile.kernels.grouping import Grouping
from binas.compile.kernels.thresholds import threshold, thresholded
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer


def meaning(node: Node, x: NDArray[np.uint32]) -> NDArray[np.int32]:
    """The sums [N, P, Q, K], one group at a time, from packed x [N, H, W, words(C)]."""
    assert node.weights is not None  # noqa: S101
    C, G = node.in_shape[3], node.groups
    values = bits.unpack(x, C)
    per_in, per_out = C // G, node.out_channels // G
    sums = [
        bits.binary_conv2d(
            bits.pack(values[..., g * per_in : (g + 1) * per_in]),
            bits.pack(node.weights[g * per_out : (g + 1) * per_out]),
            per_in,
            stride=node.stride,
            padding=node.padding,
            dilation=node.dilation,
            pad_value=node.pad_value,
        )
        for g in range(G)
    ]
    return np.concatenate(sums, axis=3)


def way(layer: Layer, isa: Isa) -> type[Micro]:
    """How the ones of this layer are counted."""
    match isa.counting:
        case "full_adder":
            return FullAdder
        case "popcount":
            return Popcount
        case "dot" if Dot.holds(layer):
            return Dot
        case "adder_tree" if AdderTree.holds(layer):
            return AdderTree
        case "nibbles" | "adder_tree" if Nibbles.holds(layer):
            return Octets if Octets.suits(layer, isa) else Nibbles
    return Bytes


def default_tile(layer: Layer, isa: Isa) -> Tile:
    """The tile, where nothing is known of the layer but its shape."""
    return way(layer, isa).choose(layer, isa)


def tiles(layer: Layer, isa: Isa) -> list[Tile]:
    """Those that a tuner tries, and no others are taken from anybody."""
    return way(layer, isa).candidates(layer, isa)


def generate(layer: Layer, isa: Isa, symbol: str, tile: Tile | None = None) -> Kernel:
    """The kernel of a layer."""
    chosen, row = way(layer, isa), cutting.as_row(layer)
    tile = tile or default_tile(layer, isa)
    unit = chosen.bits_unit(tile)
    given, read = parameters(layer, isa, tile), chosen.operand_dtype
    with frame(symbol, layer, given, bits_in=read, bits_unit=unit) as made:
        micro = chosen(made, row, tile, isa)
        with micro.around():
            nest.emit(made, row, tile, _per_channel(layer, chosen), micro)
    what = "threshold" if thresholded(layer) else "affine"
    name = f"binary_conv {chosen.name} {what} {isa.cpu} {tile}"
    return Kernel(made.function, cutting.units(row, tile), name, cutting.sweeps(row, tile))


def parameters(layer: Layer, isa: Isa, tile: Tile) -> list[Parameter]:
    """Weights, the integers of the way of counting, then what the epilogue reads."""
    chosen, exact = way(layer, isa), thresholded(layer)
    size = cutting.weight_size(cutting.as_row(layer), tile, _per_channel(layer, chosen))
    found = [Parameter("w", size, chosen.weights_dtype)]
    grouping = Grouping.of(layer)
    if grouping.masked:
        found.append(Parameter("group_start", layer.groups, "int32"))
        size = layer.groups * grouping.words * chosen.operands_per_word
        found.append(Parameter("group_mask", size, chosen.operand_dtype))
    found += chosen.parameters(layer, isa, thresholded=exact)
    return found if exact else found + epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa, tile: Tile | None = None) -> list[NDArray[Any]]:
    """The values of `parameters`, in the same order."""
    layer = node.layer
    tile = tile or default_tile(layer, isa)
    assert node.weights is not None  # noqa: S101
    weights, limits = node.weights, None
    if thresholded(layer):
        affine = node.stages[0]
        assert isinstance(affine, Affine)  # noqa: S101
        limits, flip = threshold(affine, _taps(layer))
        # A channel whose scale is negative has its weights negated: then all compare one way.
        weights = np.where(flip[:, None, None, None], -weights, weights)
    found = [_packed(weights, layer, isa, tile)]
    grouping = Grouping.of(layer)
    if grouping.masked:
        found += [grouping.starts, grouping.masks().reshape(-1)]
    found += way(layer, isa).arrays(Counted(layer, weights, limits), isa)
    return found if limits is not None else found + epilogue.arrays(node, isa)


def _taps(layer: Layer) -> int:
    R, S = layer.kernel
    return R * S * (layer.in_shape[3] // layer.groups)


def _per_channel(layer: Layer, chosen: type[Micro]) -> int:
    """Weight elements of an output channel."""
    R, S = layer.kernel
    return R * S * Grouping.of(layer).words * chosen.weights_per_word


def _packed(weights: NDArray[Any], layer: Layer, isa: Isa, tile: Tile) -> NDArray[Any]:
    """[K, R, S, C] of ±1 → the words of each block as its way reads them, in nest order."""
    chosen, words = way(layer, isa), Grouping.of(layer).packed(weights)
    own = Grouping.of(layer).masks()
    row, per_group = cutting.as_row(layer), layer.out_channels // layer.groups
    parts = []
    for block in cutting.blocks(row, tile, _per_channel(layer, chosen)):
        for index in range(layer.groups * block.count):
            group, number = divmod(index, block.count)
            first = group * per_group + block.first + number * tile.channels
            part = np.zeros((block.vectors * tile.lanes, *words.shape[1:]), np.int32)
            part[: block.channels] = words[first : first + block.channels]
            parts.append(chosen.arrange(part, own[group], layer, isa))
    return np.concatenate(parts)
