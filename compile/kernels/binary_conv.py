"""Binary convolution on packed bits: xor, count, and the epilogue in registers.

    dot = n - 2 * popcount(x xor w)        n: taps inside the image times channels

How ones are counted is the ISA's (`Isa.counting`, `counting.py`); this file holds the meaning, the
register tile, and the layout of weights, thresholds and the sums that padding adds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Affine, Node
from binas.compile.isa import Isa
from binas.compile.kernels import counting, epilogue, nest
from binas.compile.kernels.frame import Kernel, Parameter, frame
from binas.compile.kernels.nest import Tile
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


def choose(layer: Layer, isa: Isa) -> Tile:
    """The register tile: enough accumulators to hide latency, few enough not to spill."""
    limit = 8 if isa.counting == "full_adder" or isa.registers == 16 else 16
    V, Q = isa.lanes, nest.as_row(layer).out_shape[2]
    needed = -(-(layer.out_channels // layer.groups) // V)
    step = bits.WORD_BITS // V  # whole words of output bits
    vectors = min(step, needed)
    pixels = min(max(1, limit // vectors), Q)
    while vectors + step <= needed and pixels * (vectors + step) <= limit:
        vectors += step
    return Tile(pixels, vectors, V)


def thresholded(layer: Layer) -> bool:
    """Bits alone after one affine: an integer comparison per channel decides them."""
    return layer.stages == ("affine",) and not layer.float_out and not layer.bits_affine


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer."""
    tile, row = choose(layer, isa), nest.as_row(layer)
    with frame(symbol, layer, parameters(layer, isa)) as made:
        micro = counting.FullAdder if isa.counting == "full_adder" else counting.Bytes
        per_channel = _words_per_channel(layer)
        nest.emit(made, row, tile, per_channel, micro(made, row, isa))
    what = "threshold" if thresholded(layer) else "affine"
    name = f"binary_conv {isa.counting} {what} {isa.cpu} {tile.pixels}x{tile.channels}"
    return Kernel(made.function, nest.units(row, tile), name)


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """Weights, then what the epilogue reads."""
    size = nest.weight_size(nest.as_row(layer), choose(layer, isa), _words_per_channel(layer))
    found = [Parameter("w", size, "int32")]
    if layer.pad_value and any(layer.padding):
        channels = epilogue.channel_size(layer, isa)
        rows, columns = nest.classes(layer)
        found.append(Parameter("row_class", layer.out_shape[1], "int32"))
        found.append(Parameter("base", len(set(rows)) * len(set(columns)) * channels, "int32"))
    if thresholded(layer):
        return [*found, Parameter("t", epilogue.channel_size(layer, isa), "int32")]
    return found + epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`, in the same order."""
    layer = node.layer
    assert node.weights is not None  # noqa: S101
    weights, tail = node.weights, epilogue.arrays(node, isa)
    if thresholded(layer):
        affine = node.stages[0]
        assert isinstance(affine, Affine)  # noqa: S101
        limit, flip = threshold(affine, _taps(layer))
        # A channel whose scale is negative has its weights negated: then all compare one way.
        weights = np.where(flip[:, None, None, None], -weights, weights)
        size = epilogue.channel_size(layer, isa)
        tail = [np.concatenate([limit, np.zeros(size - limit.size, np.int32)]).astype(np.int32)]
    found = [_packed(weights, layer, choose(layer, isa))]
    if layer.pad_value and any(layer.padding):
        found += _padding_tables(weights, layer, epilogue.channel_size(layer, isa))
    return found + tail


def threshold(affine: Affine, bound: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Integer thresholds t and flips f with  a * dot + b >= 0  ⟺  (f ? -dot : dot) >= t.

    Args:
        affine: a and b per channel, rounded to the float32 values the contract stores.
        bound: No |dot| exceeds this; thresholds beyond it mean always or never.
    """
    a = affine.scale.astype(np.float32).astype(np.float64)
    b = affine.bias.astype(np.float32).astype(np.float64)
    flip = a < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.ceil(-b / np.abs(a))
    limit = np.where(a == 0, np.where(b >= 0, -np.inf, np.inf), limit)
    return np.clip(limit, -bound - 1, bound + 1).astype(np.int32), flip


def _taps(layer: Layer) -> int:
    R, S = layer.kernel
    return R * S * (layer.in_shape[3] // layer.groups)


def _words_per_channel(layer: Layer) -> int:
    R, S = layer.kernel
    return R * S * bits.words(layer.in_shape[3] // layer.groups)


def _packed(weights: NDArray[Any], layer: Layer, tile: Tile) -> NDArray[np.int32]:
    """[K, R, S, C] of ±1 → per block [R][S][words][lanes of the block], blocks in nest order."""
    words = bits.pack(weights).view(np.int32)
    row, per_group = nest.as_row(layer), layer.out_channels // layer.groups
    parts = []
    for block in nest.blocks(row, tile, _words_per_channel(layer)):
        lanes = block.vectors * tile.lanes
        for index in range(layer.groups * block.count):
            group, number = divmod(index, block.count)
            first = group * per_group + block.first + number * tile.channels
            part = np.zeros((lanes, *words.shape[1:]), np.int32)
            part[: block.channels] = words[first : first + block.channels]
            parts.append(part.transpose(1, 2, 3, 0).reshape(-1))
    return np.concatenate(parts)


def _padding_tables(weights: NDArray[Any], layer: Layer, size: int) -> list[NDArray[Any]]:
    """Row class per output row, and per class pair and channel: n + what the padded taps add."""
    rows, columns = nest.classes(layer)
    row_kinds, column_kinds = sorted(set(rows), key=repr), sorted(set(columns), key=repr)
    per_tap = weights.sum(axis=3).astype(np.int32)  # [K, R, S]
    channels = layer.in_shape[3] // layer.groups
    base = np.zeros((len(row_kinds), len(column_kinds), size), np.int32)
    for i, row in enumerate(row_kinds):
        for j, column in enumerate(column_kinds):
            inner = per_tap[:, row.start : row.stop, column.start : column.stop]
            padded = per_tap.sum(axis=(1, 2)) - inner.sum(axis=(1, 2))
            base[i, j, : len(padded)] = len(row) * len(column) * channels
            base[i, j, : len(padded)] += layer.pad_value * padded
    kinds = np.array([row_kinds.index(row) for row in rows], np.int32)
    return [kinds, base.reshape(-1)]
