"""What a binary depthwise kernel reads besides taps: limits in bit slices, per border class.

Output rows for which the same kernel rows are inside the image are a run; columns likewise have a
class each, and vectors that hold pixels of several classes have limits of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.isa import Isa
from binas.compile.kernels import cutting, row_vectors
from binas.compile.kernels.row_vectors import Run
from binas.core import bits
from binas.core.layer import Layer


def wrapped(words: NDArray[np.int32], V: int) -> NDArray[np.int32]:
    """The words of a pixel [..., words], going round so that a vector may begin at any of them."""
    width = words.shape[-1]
    return words[..., np.arange(wrapped_size(width, V)) % width]


def wrapped_size(width: int, V: int) -> int:
    """Words of an array of `width` that goes round for vectors of V words."""
    return V if V % width == 0 else width + V - 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Neighbouring output rows for which the same kernel rows are inside the image.

    Attributes:
        first: The uppermost.
        units: How often `together` rows.
        kind: Their class.
        inside: Kernel rows.
        together: Rows that are made at once.
    """

    first: int
    units: int
    kind: int
    inside: range
    together: int


def row_runs(layer: Layer, together: int) -> list[Rows]:
    """The runs of output rows, from the top; what `together` leaves of a run is made singly."""
    rows, _ = cutting.classes(layer)
    kinds, found, first = sorted(set(rows), key=repr), [], 0
    for inside, members in groupby(rows):
        count = len(list(members))
        for height in dict.fromkeys((together, 1)):
            units = count // height
            if units:
                found.append(Rows(first, units, kinds.index(inside), inside, height))
            first, count = first + units * height, count - units * height
    return found


class Limits:
    """Thresholds in slices: per class a pixel's words, and vectors of mixed classes in full."""

    def __init__(self, layer: Layer, isa: Isa) -> None:
        """Where each class and each mixed vector of a layer has its planes."""
        rows, columns = cutting.classes(layer)
        self._V, self._layer = isa.lanes, layer
        self._rows = sorted(set(rows), key=repr)
        self._columns = sorted(set(columns), key=repr)
        self._pixel = wrapped_size(bits.words(layer.in_shape[3]), isa.lanes)
        runs = row_vectors.runs(layer, isa.lanes, range(layer.out_shape[2]))
        self._mixed = [run for run in runs if len(set(run.kinds)) > 1]
        R, S = layer.kernel
        self.planes = (R * S + 1).bit_length()  # the largest limit is above all counts
        self._per_row = self.planes * (
            len(self._columns) * self._pixel + len(self._mixed) * self._V
        )
        self.size = len(self._rows) * self._per_row

    def at(self, row: int, run: Run, word: Any) -> Any:
        """Where the lowest plane of a vector's limits is; planes are `stride` apart."""
        first = row * self._per_row
        if run in self._mixed:
            pixels = len(self._columns) * self.planes * self._pixel
            return first + pixels + self._mixed.index(run) * self.planes * self._V
        return first + run.kinds[0] * self.planes * self._pixel + word

    def stride(self, run: Run) -> int:
        """Words from one plane to the next."""
        return self._V if run in self._mixed else self._pixel

    def array(self, limits: NDArray[np.int32]) -> NDArray[np.int32]:
        """All planes of ~limit, to be added to counts, from [row class, column class, channel]."""
        width, V = bits.words(self._layer.in_shape[3]), self._V
        # [plane, row class, column class, word]
        planes = np.stack(
            [bits.pack((~limits >> i & 1) - 0.5).view(np.int32) for i in range(self.planes)]
        )
        parts = []
        for row in range(len(self._rows)):
            for column in range(len(self._columns)):
                parts.append(wrapped(planes[:, row, column], V).reshape(-1))
            for run in self._mixed:
                lanes = (np.arange(run.used) + run.start) % width
                part = np.zeros((self.planes, V), np.int32)
                part[:, : run.used] = planes[:, row, list(run.kinds), lanes]
                parts.append(part.reshape(-1))
        return np.concatenate(parts)
