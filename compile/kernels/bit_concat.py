"""Concat of packed signs along the channels: words are copied, or shifted to where they begin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import elementwise
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, Kernel, Parameter, frame
from binas.core import bits
from binas.core.layer import Layer


def meaning(node: Node, *xs: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The signs [N, H, W, K], ±1, from each part's packed words."""
    parts = zip(xs, node.parts, strict=True)
    return np.concatenate([bits.unpack(x, part) for x, part in parts], axis=3)


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is one row."""
    N, H, W, _ = layer.out_shape
    whole = not any(part % bits.WORD_BITS for part in layer.parts[:-1])
    emit = _copied if whole else _shifted
    with (
        frame(symbol, layer, parameters(layer, isa)) as made,
        made.units(0, N * H) as unit,
        v.loop(0, W) as column,
    ):
        emit(made, unit * W + column, isa)
    return Kernel(made.function, N * H, f"concat_bits {isa.cpu} {'whole' if whole else 'shifted'}")


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """None."""
    return []


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """None."""
    return []


def _copied(made: Frame, pixel: Any, isa: Isa) -> None:
    """Every part begins a word: as many words at once as a register holds."""
    layer, first = made.layer, 0
    for operand, part in zip(made.operands, layer.parts, strict=True):
        width, done = bits.words(part), 0
        while done < width:
            n = min(isa.lanes, 1 << ((width - done).bit_length() - 1))
            to = pixel * bits.words(layer.out_channels) + first + done
            v.store(made.bits_out, to, v.load(operand, pixel * width + done, n), n)
            done += n
        first += width


def _shifted(made: Frame, pixel: Any, isa: Isa) -> None:
    """Parts begin inside words; what lies behind the last channel of a part is 0."""
    layer, k0 = made.layer, 0
    words = [v.Register("int32", 1, v.const(0)) for _ in range(bits.words(layer.out_channels))]
    for operand, part in zip(made.operands, layer.parts, strict=True):
        for i, start in enumerate(range(0, part, bits.WORD_BITS)):
            count = min(bits.WORD_BITS, part - start)
            word = v.Register("int32", 1, v.load(operand, pixel * bits.words(part) + i))
            elementwise.place(words, word.get(), k0, count)
            k0 += count
    for i, word in enumerate(words):
        v.store(made.bits_out, pixel * len(words) + i, word.get())
