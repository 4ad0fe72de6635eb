"""Steps that only move values through an epilogue: elementwise, concat and slice of channels.

An elementwise step is a concat of one part. A part takes the leading channels of its input;
channels that no part fills are zero. A slice is one part that begins behind the channels it leaves
out. A constant is an elementwise step whose input is a parameter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import channels, epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Kernel, Parameter, frame, padded
from binas.core import bits
from binas.core.layer import Layer


def meaning(node: Node, *xs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values before the epilogue [N, H, W, K]."""
    if node.op == "constant":
        assert node.weights is not None  # noqa: S101
        return node.weights.astype(np.float32, copy=False)
    if node.op == "elementwise":
        return xs[0]
    N, H, W, K = node.layer.out_shape
    if node.op == "slice":
        (left,) = node.parts
        return xs[0][..., left : left + K]
    y = np.zeros((N, H, W, K), np.float32)
    first = 0
    for x, part in zip(xs, node.parts, strict=True):
        y[..., first : first + part] = x[..., :part]
        first += part
    return y


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is one row."""
    N, H, W, K = layer.out_shape
    left = layer.parts[0] if layer.op == "slice" else 0
    parts = (K,) if layer.op == "slice" else layer.parts or (K,)
    widths = parts if len(parts) > 1 else (layer.in_shape[3],)
    firsts = [sum(parts[:i]) for i in range(1, len(parts) + (sum(parts) < K))]
    if layer.bits_out and any(first % bits.WORD_BITS for first in firsts):
        return _joined(layer, isa, symbol, widths)
    with frame(symbol, layer, parameters(layer, isa)) as made:
        finish = epilogue.Epilogue(made, isa)
        with made.units(0, N * H) as unit, v.loop(0, W) as column:
            pixel, first = unit * W + column, 0
            operands = made.operands or [made.parameters["constant"]]
            for operand, part, width in zip(operands, parts, widths, strict=True):
                for block in channels.blocks(part, isa, first):
                    with block.loop() as k0:
                        element = pixel * width + k0 - first + left
                        finish.emit(pixel, k0, _loads(operand, element, block, isa), block.channels)
                first += part
            for block in channels.blocks(K - first, isa, first):
                with block.loop() as k0:
                    zeros = [v.splat(0.0, isa.lanes, "float32")] * block.vectors
                    finish.emit(pixel, k0, zeros, block.channels)
    return Kernel(made.function, N * H, f"{layer.op} {isa.cpu} 1x{min(K, 32)}")


def _joined(layer: Layer, isa: Isa, symbol: str, widths: tuple[int, ...]) -> Kernel:
    """A concat whose parts begin inside words: bits are shifted to their places in registers."""
    N, H, W, K = layer.out_shape
    with frame(symbol, layer, parameters(layer, isa)) as made:
        finish = epilogue.Epilogue(made, isa)
        sources = [*zip(made.operands, layer.parts, widths, strict=True)]
        sources += [(None, K - sum(layer.parts), 0)]  # zeros up to K
        with made.units(0, N * H) as unit, v.loop(0, W) as column:
            pixel, k0 = unit * W + column, 0
            words = [v.Register("int32", 1, v.const(0)) for _ in range(bits.words(K))]
            for operand, part, width in sources:
                for start in range(0, part, bits.WORD_BITS):
                    count = min(bits.WORD_BITS, part - start)
                    block = channels.Block(start, 1, count, -(-count // isa.lanes))
                    values = (
                        [v.splat(0.0, isa.lanes, "float32")] * block.vectors
                        if operand is None
                        else _loads(operand, pixel * width + start, block, isa)
                    )
                    word = v.Register(
                        "int32", 1, finish.word(finish.masks(pixel, k0, values, count), count)
                    )
                    place(words, word.get(), k0, count)
                    k0 += count
            for i, word in enumerate(words):
                finish.store_unit(pixel, 0, i, word.get(), bits.WORD_BITS)
    return Kernel(made.function, N * H, f"{layer.op} joined {isa.cpu} 1x32")


def place(words: list[v.Register], word: Any, k0: int, count: int) -> None:
    """Or the `count` low bits of a word into the bits from `k0` on."""
    at, shift = divmod(k0, bits.WORD_BITS)
    words[at].set(words[at].get() | (word << v.const(shift)))
    over = shift + count - bits.WORD_BITS
    if over > 0:
        moved = (word >> v.const(bits.WORD_BITS - shift)) & v.const((1 << over) - 1)
        words[at + 1].set(words[at + 1].get() | moved)


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """The constant, if that is what is moved; and what the epilogue reads."""
    moved = []
    if layer.op == "constant":
        moved = [Parameter("constant", _constant_size(layer, isa), "float32")]
    return moved + epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`."""
    moved: list[NDArray[Any]] = []
    if node.op == "constant":
        moved = [padded(meaning(node).reshape(-1), _constant_size(node.layer, isa))]
    return moved + epilogue.arrays(node, isa)


def _constant_size(layer: Layer, isa: Isa) -> int:
    """Elements: parameters have no slack behind them, and the last vector is loaded whole."""
    N, H, W, C = layer.in_shape
    return N * H * W * C + isa.lanes - 1


def _loads(operand: Any, element: Any, block: channels.Block, isa: Isa) -> list[Any]:
    V = isa.lanes
    return [v.load(operand, element + j * V, V) for j in range(block.vectors)]
