"""Tile: what a convolution kernel may do in more than one way, with the same results.

Which tile is fastest depends on the layer and the CPU. A family has a rule of its own
(`family.default_tile`); a tuning database may know better (`tuning.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from binas.core.layer import Layer


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """How much of the output is held in registers at once, and in which order it is made.

    Attributes:
        pixels: Output columns, at most.
        vectors: Vectors of output channels.
        lanes: Channels per vector; the ISA's, and no choice.
        unroll: Elements of the reduction (words, or channels of reals) that a loop's body takes;
            one of a run that is no longer has no loop.
        rows_first: A row's channels follow each other; otherwise a channel block's rows do.
    """

    pixels: int
    vectors: int
    lanes: int
    unroll: int = 1
    rows_first: bool = False

    @property
    def channels(self) -> int:
        """Output channels of a full block."""
        return self.vectors * self.lanes

    def __str__(self) -> str:
        """`4x32 u2`, with `rows` behind where rows come first: for people."""
        order = " rows" if self.rows_first else ""
        return f"{self.pixels}x{self.channels} u{self.unroll}{order}"


class Choice(NamedTuple):
    """What decides a kernel's code, besides the ISA.

    Attributes:
        layer: What it computes.
        tile: How; None: as the family chooses, or where there is nothing to choose.
    """

    layer: Layer
    tile: Tile | None = None
