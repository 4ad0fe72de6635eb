"""How rows and columns of a convolution are cut for minimal filtering: the phases of a stride.

At stride s, taps s apart meet inputs s apart: every s-th tap, from one of the first s on, is a
filter of its own over every s-th input. Such a phase takes F(m, r); one of a single tap is
multiplied as it is. The m outputs of a tile are the sum of all phases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binas.compile.kernels.minimal_filtering import Filtering
from binas.core.layer import Layer


@dataclass(frozen=True, slots=True)
class Phase:
    """Taps `first`, `first` + s, and so on.

    Attributes:
        first: First tap, and how far into a tile the first input lies.
        filtering: F(m, r) of its r taps.
        product: Its first product among those of all phases.
        weight: Its first set of weights, likewise.
        matrix: Its first element in `Axis.matrices`.
    """

    first: int
    filtering: Filtering
    product: int
    weight: int
    matrix: int

    @property
    def filtered(self) -> bool:
        """Whether products are fewer than outputs times taps."""
        return self.filtering.taps > 1

    @property
    def weights(self) -> int:
        """Sets of weights: one per product, or one for all where the tap is multiplied as it is."""
        return self.filtering.products if self.filtered else 1


@dataclass(frozen=True, slots=True)
class Axis:
    """Rows or columns of a convolution.

    Attributes:
        taps: Of the kernel.
        stride: Of the convolution.
        outputs: m, of a tile.
    """

    taps: int
    stride: int
    outputs: int

    @classmethod
    def of(cls, taps: int, stride: int, outputs: int) -> Axis | None:
        """None where a phase has no tap, or none has two, or one has more than points are known."""
        longest = Filtering(outputs, -(-taps // stride))
        fits = taps >= stride and longest.taps > 1 and longest.known
        return cls(taps, stride, outputs) if fits else None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All of them; their products, weights and matrices follow one another."""
        found: list[Phase] = []
        product = weight = matrix = 0
        for first in range(self.stride):
            f = Filtering(self.outputs, -(-(self.taps - first) // self.stride))
            phase = Phase(first, f, product, weight, matrix)
            product, weight = product + f.products, weight + phase.weights
            matrix += f.products * (f.products + f.outputs) if phase.filtered else 0
            found.append(phase)
        return tuple(found)

    @property
    def products(self) -> int:
        """Of a tile."""
        return sum(phase.filtering.products for phase in self.phases)

    @property
    def filtered(self) -> int:
        """Those of the phases that are filtered."""
        return sum(phase.filtering.products for phase in self.phases if phase.filtered)

    @property
    def weights(self) -> int:
        """Sets of weights."""
        return sum(phase.weights for phase in self.phases)

    def inputs(self, tiles: int) -> int:
        """What neighbouring tiles read."""
        return (tiles * self.outputs - 1) * self.stride + self.taps

    def matrices(self) -> NDArray[np.float32]:
        """Of every phase that is filtered B [n][n], then A transposed [n][m]."""
        parts = [np.zeros(0)]
        for phase in self.phases:
            if phase.filtered:
                parts.append(np.array(phase.filtering.of_inputs(), np.float64).reshape(-1))
                parts.append(np.array(phase.filtering.of_products(), np.float64).T.reshape(-1))
        return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Shape:
    """A layer as it is filtered: down its rows, along its columns."""

    down: Axis
    along: Axis
    channels: int  # C

    @classmethod
    def of(cls, layer: Layer, outputs: tuple[int, int]) -> Shape | None:
        """None where it cannot be filtered in tiles of so many rows and columns of outputs."""
        if layer.groups > 1 or layer.dilation != (1, 1):
            return None
        down, along = map(Axis.of, layer.kernel, layer.stride, outputs)
        return cls(down, along, layer.in_shape[3]) if down and along else None

    @property
    def per_channel(self) -> int:
        """Weight elements of an output channel."""
        return self.down.weights * self.along.weights * self.channels

    def tiles(self, layer: Layer) -> tuple[int, int]:
        """Of an image: rows of them, and how many in each."""
        _, P, Q, _ = layer.out_shape
        return -(-P // self.down.outputs), -(-Q // self.along.outputs)
