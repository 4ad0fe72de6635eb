"""Which words of a pixel a group of channels lies in, and which of their bits are its own.

Groups that fill whole words have them to themselves. Others begin and end inside words: all groups
then read equally many words, their weights lie where their channels do, and activations of other
groups are masked out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import sliced
from binas.core import bits
from binas.core.layer import Layer


def share_words(layer: Layer) -> bool:
    """Whether words of output bits hold channels of several groups.

    Such a word is written in turns, so all groups of some rows are one unit.
    """
    several = layer.op in ("conv", "binary_conv") and layer.groups > 1 and layer.bits_out
    of_words = (layer.op == "conv" and layer.depthwise) or sliced(layer)
    return several and not of_words and (layer.out_channels // layer.groups) % bits.WORD_BITS != 0


@dataclass(frozen=True)
class Grouping:
    """The groups of a binary convolution.

    Attributes:
        channels: Of the input.
        groups: How many.
    """

    channels: int
    groups: int

    @staticmethod
    def of(layer: Layer) -> Grouping:
        """The groups of a layer."""
        return Grouping(layer.in_shape[3], layer.groups)

    @property
    def per_group(self) -> int:
        """Input channels of a group."""
        return self.channels // self.groups

    @property
    def masked(self) -> bool:
        """Whether a word may hold channels of several groups."""
        return self.groups > 1 and self.per_group % bits.WORD_BITS != 0

    @property
    def of_bytes(self) -> bool:
        """Whether every group is some bytes of one word, but not all."""
        return self.masked and self.per_group % 8 == 0 and bits.WORD_BITS % self.per_group == 0

    @cached_property
    def words(self) -> int:
        """Words that a group reads of a pixel."""
        if not self.masked:
            return bits.words(self.per_group)
        ends = [(first, first + self.per_group - 1) for first in self._firsts]
        return max(last // bits.WORD_BITS - first // bits.WORD_BITS + 1 for first, last in ends)

    @cached_property
    def starts(self) -> NDArray[np.int32]:
        """The first word of every group; none reads beyond the pixel."""
        last = bits.words(self.channels) - self.words
        starts = [min(first // bits.WORD_BITS, last) for first in self._firsts]
        return np.array(starts, np.int32)

    def packed(self, weights: NDArray[np.float32]) -> NDArray[np.int32]:
        """Weights [K, R, S, C per group] of ±1 → [K, R, S, words], each where its channel lies."""
        if not self.masked:
            return bits.pack(weights).view(np.int32)
        K, R, S, C = weights.shape
        placed = np.full((K, R, S, self.words * bits.WORD_BITS), -1, np.float32)
        for k in range(K):
            at = self._offset(k * self.groups // K)
            placed[k, ..., at : at + C] = weights[k]
        return bits.pack(placed).view(np.int32)

    def masks(self) -> NDArray[np.int32]:
        """[groups, words]: 1 for the channels of the group."""
        own = np.full((self.groups, self.words * bits.WORD_BITS), -1, np.float32)
        for group in range(self.groups):
            at = self._offset(group)
            own[group, at : at + self.per_group] = 1
        return bits.pack(own).view(np.int32)

    @property
    def _firsts(self) -> range:
        return range(0, self.channels, self.per_group)

    def _offset(self, group: int) -> int:
        """Where a group's channels begin in the words it reads."""
        if not self.masked:
            return 0
        return group * self.per_group - int(self.starts[group]) * bits.WORD_BITS
