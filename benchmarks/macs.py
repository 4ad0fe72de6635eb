"""Multiply-adds that a convolution cannot avoid, counted without a loop over pixels."""

from __future__ import annotations

from dataclasses import dataclass

from binas.core import bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """A square convolution whose padding keeps the size (divided by the stride).

    Attributes:
        channels: Of the input.
        filters: Channels of the output.
        size: Rows and columns of the input.
        kernel: Rows and columns of the kernel.
        stride: In both directions.
        dilation: In both directions.
        groups: Groups of channels.
    """

    channels: int
    filters: int
    size: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def padding(self) -> int:
        """On every side."""
        return self.dilation * (self.kernel - 1) // 2

    @property
    def out_size(self) -> int:
        """Rows and columns of the output."""
        reach = self.dilation * (self.kernel - 1) + 1
        return (self.size + 2 * self.padding - reach) // self.stride + 1

    @property
    def depthwise(self) -> bool:
        """Whether every filter reads one channel of its own."""
        return 1 < self.groups == self.channels == self.filters

    @property
    def contracted_bits(self) -> int:
        """Products per output value."""
        return self.channels // self.groups * self.kernel**2


def executed(conv: Conv, *, binary: bool) -> int:
    """Multiply-adds of one convolution.

    Taps that fall on the padding are left out. Binary operands fill whole words, so their channels
    (of a group) are padded; filters are not.
    """
    channels, filters = conv.channels // conv.groups, conv.filters
    if binary and conv.depthwise:
        filters = bits.words(filters) * bits.WORD_BITS  # words lie across the channels
    elif binary:
        channels = bits.words(channels) * bits.WORD_BITS
    return taps_inside(conv) ** 2 * channels * filters


def taps_inside(conv: Conv) -> int:
    """Pairs of an output row and a kernel row that meet inside the image; columns are alike."""
    count = 0
    for tap in range(conv.kernel):
        shift = tap * conv.dilation - conv.padding
        # 0 <= p * stride + shift < size
        first = max(0, -(shift // conv.stride))
        last = min(conv.out_size - 1, (conv.size - 1 - shift) // conv.stride)
        count += max(0, last - first + 1)
    return count
