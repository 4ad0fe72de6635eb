"""How a row is cut for minimal filtering: units of `stride` pixels, tiles, groups and bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from binas.compile.kernels.minimal_filtering import Filtering
from binas.core.layer import Layer

_BAND, _BAND_BYTES = 8, 16 << 10  # of input rows that are transformed once


@dataclass(frozen=True, slots=True)
class Shape:
    """A layer as it is filtered.

    Attributes:
        filtering: F(m, r) along the row.
        run: Channels of a unit, stride * C.
        last: Channels of the last tap's unit that have weights: all that counts at infinity.
    """

    filtering: Filtering
    run: int
    last: int

    @property
    def runs(self) -> tuple[int, ...]:
        """Channels at each point."""
        return (*[self.run] * (self.filtering.products - 1), self.last)

    @classmethod
    def of(cls, layer: Layer) -> Shape | None:
        """None where it cannot be filtered."""
        S, stride, C = layer.kernel[1], layer.stride[1], layer.in_shape[3]
        taps = -(-S // stride)
        filtering = Filtering.of(taps)
        if filtering is None or layer.groups > 1 or layer.dilation != (1, 1):
            return None
        return cls(filtering, stride * C, (S - (taps - 1) * stride) * C)

    def per_channel(self, layer: Layer) -> int:
        """Weight elements of an output channel."""
        return layer.kernel[0] * sum(self.runs)

    def row_bytes(self, tiles: int) -> int:
        """What the transformed units of some tiles take."""
        return 4 * tiles * sum(self.runs)


class Group(NamedTuple):
    """`repeat` neighbouring groups of `tiles` tiles, from tile `start` on."""

    start: int
    tiles: int
    repeat: int


def groups(tiles: int, most: int) -> list[Group]:
    """Tiles that follow one another, in groups of `most` at most and of about equal sizes."""
    count = -(-tiles // most)
    shorter, wider = divmod(tiles, count)
    first = Group(0, shorter + 1, wider)
    second = Group(wider * (shorter + 1), shorter, count - wider)
    return [group for group in (first, second) if group.repeat]


def band(layer: Layer, shape: Shape, tiles: int) -> tuple[int, int]:
    """Output rows that share what is transformed, and their input rows."""
    stride, R = layer.stride[0], layer.kernel[0]
    held = _BAND_BYTES // shape.row_bytes(tiles)
    rows = min(_BAND, layer.out_shape[1], max(1, (held - R) // stride + 1))
    return rows, (rows - 1) * stride + R


def pieces(channels: int, lanes: int) -> list[tuple[int, int]]:
    """Vectors (first channel, width) that cover some channels, the last perhaps with more."""
    found = [(first, lanes) for first in range(0, channels - lanes + 1, lanes)]
    rest = channels % lanes
    return [*found, (channels - rest, 1 << (rest - 1).bit_length())] if rest else found
