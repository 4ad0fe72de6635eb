"""Counting in registers, whichever way: what a binary convolution asks of one.

A way of counting (`counting_words.py`, `counting_dot.py`) is a micro-kernel for the loop nest
together with what must fit it: the register tile, the order of the packed weights and the
per-channel integers that turn counts into sums or bits.
"""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import Phase
from binas.compile.kernels.frame import Frame, Parameter
from binas.compile.kernels.grouping import Grouping, share_words
from binas.compile.kernels.nest import At
from binas.compile.tile import Tile
from binas.core import bits
from binas.core.layer import Layer


@dataclass(frozen=True, slots=True)
class Counted:
    """What the integers of a way are made from.

    Attributes:
        layer: The convolution.
        weights: [K, R, S, C per group] of ±1, as counted.
        limits: Per channel, the least sum whose bit is 1; None where sums leave as floats.
    """

    layer: Layer
    weights: NDArray[Any]
    limits: NDArray[np.int32] | None


class Micro:
    """What all ways share: addresses, and which pixels are of which border class.

    Attributes:
        name: Of the way, for people.
        operand_dtype: How it reads activations, "int32" or the bytes of it, "uint8".
        operands_per_word: Elements of that dtype per word.
        weights_dtype: How it stores weights.
        weights_per_word: Elements of that dtype per word of 32 weights.
    """

    name: ClassVar[str]
    operand_dtype: ClassVar[str] = "int32"
    operands_per_word: ClassVar[int] = 1
    weights_dtype: ClassVar[str] = "int32"
    weights_per_word: ClassVar[int] = 1

    @staticmethod
    def choose(layer: Layer, isa: Isa) -> Tile:
        """The tile, where nothing is known of the layer but its shape."""
        raise NotImplementedError

    @staticmethod
    def candidates(layer: Layer, isa: Isa) -> list[Tile]:
        """Tiles worth trying; whether one is fast is measured."""
        raise NotImplementedError

    @staticmethod
    def bits_unit(tile: Tile) -> int:
        """Output bits that are stored at once."""
        return bits.WORD_BITS

    @staticmethod
    def arrange(
        words: NDArray[np.int32], own: NDArray[np.int32], layer: Layer, isa: Isa
    ) -> NDArray[Any]:
        """The packed weights of a block, in the order they are read.

        Args:
            words: [lanes, R, S, words].
            own: [words], the bits that are channels of the block's group.
            layer: The convolution.
            isa: Hardware facts.
        """
        raise NotImplementedError

    @staticmethod
    def parameters(layer: Layer, isa: Isa, *, thresholded: bool) -> list[Parameter]:
        """The integers that the way reads besides the weights."""
        raise NotImplementedError

    @staticmethod
    def arrays(counted: Counted, isa: Isa) -> list[NDArray[Any]]:
        """The values of `parameters`."""
        raise NotImplementedError

    def __init__(self, made: Frame, layer: Layer, tile: Tile, isa: Isa) -> None:
        """Keep the buffers, the layer as the nest sees it, the tile and the hardware facts."""
        self.frame, self.layer, self.tile, self.isa = made, layer, tile, isa
        self.thresholded = "t" in made.parameters
        self.epilogue = epilogue.Epilogue(made, isa)
        self.grouping = Grouping.of(layer)
        self.words = self.grouping.words
        _, self.columns = cutting.classes(layer)
        self.column_kinds = sorted(set(self.columns), key=repr)

    @property
    def lanes(self) -> int:
        """Channels of a vector, as in the tile."""
        raise NotImplementedError

    def around(self) -> AbstractContextManager[None]:
        """What a function needs in which this counts."""
        return nullcontext()

    def flat(self, rows: int) -> bool:
        """Kernel rows are a loop."""
        return False

    def begin(self, at: At) -> None:
        """Clear the accumulators."""
        raise NotImplementedError

    def contract(self, at: At, r: Any, in_row: Any, phase: Phase) -> None:
        """Count kernel row `r` over one phase, in runs of neighbouring words."""
        S, lanes = self.layer.kernel[1], at.block.vectors * self.lanes
        row = at.weight + r * (S * self.words * lanes * self.weights_per_word)
        runs = (
            [(phase.start, phase.count)]
            if joined(self.layer)
            else [(s, 1) for s in range(phase.start, phase.start + phase.count)]
        )
        for s, count in runs:
            word = self._activations(at, in_row, s)
            self.run(at, row, s * self.words, count * self.words, word, phase.pixels)

    def run(self, at: At, row: Any, first: int, n: int, word: Any, pixels: tuple[int, ...]) -> None:
        """Count over words [first, first + n) of a kernel row.

        Args:
            at: Where the nest stands.
            row: First weight element of the kernel row.
            first: First word within the row.
            n: Number of words.
            word: Index of the first activation word, by pixel.
            pixels: Those that take part.
        """
        raise NotImplementedError

    def end_row(self, at: At) -> None:
        """Nothing to do after a kernel row."""

    def finish(self, at: At) -> None:
        """Sums, then threshold or epilogue."""
        raise NotImplementedError

    def own(self, at: At, x: Any, k: Any, n: int = 1) -> Any:
        """Activations from element `k` of a group's words on, without other groups' bits."""
        if not self.grouping.masked:
            return x
        width = self.words * self.operands_per_word
        return x & v.load(self.frame.parameters["group_mask"], at.group * width + k, n)

    def fill_words(self, at: At, pixels: list[Any]) -> None:
        """Clear the units beyond the last channel in the last word of bits."""
        if self.frame.bits_out is None:
            return
        if share_words(self.layer):
            self.epilogue.clear_beyond(at.channel + at.block.channels, pixels)
            return
        if not at.block.rest:
            return
        unit = self.frame.bits_unit
        beyond = range(
            -(-at.block.channels // unit),
            -(-at.block.channels // bits.WORD_BITS) * bits.WORD_BITS // unit,
        )
        for index, i in itertools.product(pixels, beyond):
            self.epilogue.store_unit(index, at.channel, i, v.const(0), 0)

    def column_kind(self, at: At, pixel: int) -> int:
        """Border class of a pixel's column."""
        return self.column_kinds.index(self.columns[at.span.start + pixel])

    def _activations(self, at: At, in_row: Any, s: int) -> Any:
        """First word of kernel column `s` for each pixel of the tile."""
        _, H, W, C = self.layer.in_shape
        line = (at.image * H + in_row) * W + (s * self.layer.dilation[1] - self.layer.padding[1])
        stride, width = self.layer.stride[1], bits.words(C)
        offset = at.group * self.words
        if self.grouping.masked:
            offset = v.load(self.frame.parameters["group_start"], at.group)
        return lambda pixel: (line + (at.column + pixel) * stride) * width + offset


def row_words(layer: Layer) -> int:
    """Words of a kernel row that are counted in one go, where all of them are inside the image."""
    return Grouping.of(layer).words * (layer.kernel[1] if joined(layer) else 1)


def joined(layer: Layer) -> bool:
    """Neighbouring kernel columns are neighbouring words unless dilated or grouped."""
    return layer.dilation[1] == 1 and layer.groups == 1


def bases(counted: Counted) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """What sums are without a mismatch, by the taps that lie inside the image.

    Returns:
        The class of every output row; n [row class, column class], the ones counted there; and
        [row class, column class, K], n plus what the padded taps add.
    """
    layer, weights = counted.layer, counted.weights
    rows, columns = cutting.classes(layer)
    row_kinds, column_kinds = sorted(set(rows), key=repr), sorted(set(columns), key=repr)
    per_tap = weights.sum(axis=3).astype(np.int32)  # [K, R, S]
    n = np.zeros((len(row_kinds), len(column_kinds)), np.int32)
    base = np.zeros((*n.shape, len(weights)), np.int32)
    for i, row in enumerate(row_kinds):
        for j, column in enumerate(column_kinds):
            inner = per_tap[:, row.start : row.stop, column.start : column.stop]
            n[i, j] = len(row) * len(column) * weights.shape[3]
            padded = per_tap.sum(axis=(1, 2)) - inner.sum(axis=(1, 2))
            base[i, j] = n[i, j] + layer.pad_value * padded
    kinds = np.array([row_kinds.index(row) for row in rows], np.int32)
    return kinds, n, base
