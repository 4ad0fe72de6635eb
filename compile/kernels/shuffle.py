"""Channel shuffle of real values: channel g * (C / groups) + c goes to c * groups + g."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, Kernel, Parameter, frame
from binas.core import bits
from binas.core.layer import Layer


def meaning(node: Node, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The shuffled values [N, H, W, C]."""
    N, H, W, C = node.in_shape
    groups = x.reshape(N, H, W, node.groups, C // node.groups)
    return groups.swapaxes(3, 4).reshape(N, H, W, C)


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is one row."""
    N, H, W, K = layer.out_shape
    whole = K // bits.WORD_BITS
    looped = bits.WORD_BITS % layer.groups == 0 and whole > 1
    with (
        frame(symbol, layer, parameters(layer, isa)) as made,
        made.units(0, N * H) as unit,
        v.loop(0, W) as column,
    ):
        emit = _Shuffled(made, isa, unit * W + column).word
        if looped:
            with v.loop(0, whole) as word:
                emit(word, bits.WORD_BITS)
        for word in range(whole if looped else 0, bits.words(K)):
            emit(word, min(bits.WORD_BITS, K - word * bits.WORD_BITS))
    return Kernel(made.function, N * H, f"shuffle {isa.cpu} 1x{min(K, bits.WORD_BITS)}")


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """What the epilogue reads."""
    return epilogue.parameters(layer, isa)


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`."""
    return epilogue.arrays(node, isa)


class _Shuffled:
    """Emits the words of channels of one pixel."""

    def __init__(self, made: Frame, isa: Isa, pixel: Any) -> None:
        self.operand, self.layer, self.isa, self.pixel = made.operands[0], made.layer, isa, pixel
        self.finish = epilogue.Epilogue(made, isa)

    def word(self, word: Any, channels: int) -> None:
        """The channels of one word; its index is a Python number where a word has no period."""
        V, size = self.isa.lanes, bits.WORD_BITS
        vectors = [self._vector(word, lane) for lane in range(0, channels, V)]
        k0 = v.const(word * size) if isinstance(word, int) else word * size
        self.finish.emit(self.pixel, k0, vectors, channels)

    def _vector(self, word: Any, lane: int) -> Any:
        """The vector that begins `lane` channels behind a word's first."""
        V, groups, K = self.isa.lanes, self.layer.groups, self.layer.out_channels
        if V % groups == 0:
            run = V // groups
            first = self._source(word, lane, 0)
            parts = [
                v.load(self.operand, first + group * (K // groups), run) for group in range(groups)
            ]
            order = [(at % groups) * run + at // groups for at in range(V)]
            return tirx.Shuffle(parts, [v.const(at) for at in order])
        sources = [self._source(word, lane, at) for at in range(V)]
        values = [v.load(self.operand, source) for source in sources]
        return tirx.Shuffle(values, [v.const(at) for at in range(V)])

    def _source(self, word: Any, lane: int, at: int) -> Any:
        """Where the value of a channel lies; beyond the last channel, that of the last."""
        groups, K, size = self.layer.groups, self.layer.out_channels, bits.WORD_BITS
        pixel = self.pixel * K
        if isinstance(word, int):
            c, group = divmod(min(word * size + lane + at, K - 1), groups)
            return pixel + (group * (K // groups) + c)
        c, group = divmod(lane + at, groups)
        return pixel + word * (size // groups) + (group * (K // groups) + c)
