"""Channel shuffle of packed signs: bits of all groups, side by side, one of each in turn.

A word of the result takes as many neighbouring bits of every group. Where these lie in one word,
they are spread apart by doubling steps (Warren, Hacker's Delight, 2nd ed., 7-2); where a group
begins or ends elsewhere, bits are moved one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import shuffle
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, Kernel, Parameter, frame
from binas.core import bits
from binas.core.layer import Layer

_SIZE = bits.WORD_BITS


def meaning(node: Node, x: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The shuffled signs [N, H, W, C], ±1, from packed x."""
    return shuffle.meaning(node, bits.unpack(x, node.in_shape[3]))


def generate(layer: Layer, isa: Isa, symbol: str) -> Kernel:
    """The kernel of a layer; a unit is one row."""
    N, H, W, K = layer.out_shape
    spread = _in_words(layer)
    with (
        frame(symbol, layer, parameters(layer, isa)) as made,
        made.units(0, N * H) as unit,
        v.loop(0, W) as column,
    ):
        first = (unit * W + column) * bits.words(K)
        words = [
            v.Register("int32", 1, v.load(made.operands[0], first + i))
            for i in range(bits.words(K))
        ]
        for word in range(bits.words(K)):
            value = (_spread if spread else _moved)(made, [w.get() for w in words], word)
            v.store(made.bits_out, first + word, value)
    how = "spread" if spread else "moved"
    return Kernel(made.function, N * H, f"shuffle_bits {isa.cpu} {how}")


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """None."""
    return []


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """None."""
    return []


def _in_words(layer: Layer) -> bool:
    """Whether the bits that a word takes of a group always lie in one word."""
    if _SIZE % layer.groups:
        return False
    return (layer.out_channels // layer.groups) % (_SIZE // layer.groups) == 0


def _spread(made: Frame, words: list[Any], word: int) -> Any:
    """One word: a run of bits of each group, `groups` apart."""
    groups = made.layer.groups
    per_group, run = made.layer.out_channels // groups, _SIZE // groups
    found = v.const(0)
    for group in range(groups):
        at, shift = divmod(group * per_group + word * run, _SIZE)
        bits_apart = _apart(
            _shifted(words[at], shift) & v.const(_signed((1 << run) - 1)), run, groups
        )
        found = found | (bits_apart << v.const(group))
    return v.Register("int32", 1, found).get()


def _apart(value: Any, run: int, step: int) -> Any:
    """The `run` low bits of a value, bit i moved to bit i * step."""
    half = run // 2
    while half:
        # Blocks of `half` bits, now side by side in pairs, move `half * (step - 1)` apart.
        shifted = value | (value << v.const(half * (step - 1)))
        keep = sum(((1 << half) - 1) << block * half * step for block in range(run // half))
        value = v.Register("int32", 1, shifted & v.const(_signed(keep))).get()
        half //= 2
    return value


def _moved(made: Frame, words: list[Any], word: int) -> Any:
    """One word, bit by bit."""
    groups, K = made.layer.groups, made.layer.out_channels
    found = v.Register("int32", 1, v.const(0))
    for bit in range(min(_SIZE, K - word * _SIZE)):
        c, group = divmod(word * _SIZE + bit, groups)
        at, shift = divmod(group * (K // groups) + c, _SIZE)
        one = _shifted(words[at], shift) & v.const(1)
        found.set(found.get() | (one << v.const(bit)))
    return found.get()


def _shifted(word: Any, shift: int) -> Any:
    """The word moved down; what comes in from above is masked by the caller."""
    return word >> v.const(shift) if shift else word


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
