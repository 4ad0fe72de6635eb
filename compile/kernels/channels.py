"""Blocks of channels for kernels that work pixel by pixel: 32 at a time, a word of bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v
from binas.core import bits


@dataclass(frozen=True, slots=True)
class Block:
    """`count` blocks of `channels` channels from `first` on, in `vectors` vectors each."""

    first: int
    count: int
    channels: int
    vectors: int

    @contextmanager
    def loop(self) -> Iterator[Any]:
        """A loop over the blocks; yields the first channel of each."""
        if self.count == 1:
            yield v.const(self.first)
            return
        with v.loop(0, self.count) as index:
            yield index * self.channels + self.first


def blocks(K: int, isa: Isa, first: int = 0) -> list[Block]:
    """Whole words of channels, then what is left of `K`, counted from channel `first`."""
    whole, rest = divmod(K, bits.WORD_BITS)
    found = []
    if whole:
        found.append(Block(first, whole, bits.WORD_BITS, bits.WORD_BITS // isa.lanes))
    if rest:
        found.append(Block(first + whole * bits.WORD_BITS, 1, rest, -(-rest // isa.lanes)))
    return found
