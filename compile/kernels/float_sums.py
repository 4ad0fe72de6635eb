"""What convolutions of reals share: sums in registers, from beginning to epilogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from binas.compile.isa import Isa
from binas.compile.kernels import epilogue
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame
from binas.compile.kernels.nest import At
from binas.core.layer import Layer

Loads = Sequence[Callable[[], Any]]  # each reads a vector at the place where it is called


def room(isa: Isa) -> int:
    """Sums that are held at once: half of the registers, three quarters of sixteen."""
    return isa.registers // 2 + (4 if isa.registers == 16 else 0)


class FloatSums:
    """All of `nest.Micro` but `contract`: `sums[pixel * vectors + j]` is vector j of a pixel."""

    def __init__(self, made: Frame, layer: Layer, isa: Isa) -> None:
        """Keep the buffers, the layer as the nest sees it, and the hardware facts."""
        self.frame, self.layer, self.isa = made, layer, isa
        self.epilogue = epilogue.Epilogue(made, isa)

    def flat(self, rows: int) -> bool:
        """Kernel rows are a loop."""
        return False

    def begin(self, at: At) -> None:
        """Let the sums begin."""
        self.sums = [
            v.Register("float32", self.isa.lanes, self.begun(at, pixel, j))
            for pixel in range(at.span.width)
            for j in range(at.block.vectors)
        ]

    def begun(self, at: At, pixel: int, j: int) -> Any:
        """What vector `j` of a pixel of the tile begins with: 0."""
        return v.splat(0.0, self.isa.lanes, "float32")

    def end_row(self, at: At) -> None:
        """Nothing to do after a kernel row."""

    def finish(self, at: At) -> None:
        """Hand each pixel's sums to the epilogue."""
        for pixel, index in enumerate(self.pixels(at)):
            first = pixel * at.block.vectors
            sums = [total.get() for total in self.sums[first : first + at.block.vectors]]
            self.epilogue.emit(index, at.channel, sums, at.block.channels)

    def pixels(self, at: At) -> list[Any]:
        """Indices of a tile's output pixels."""
        _, P, Q, _ = self.layer.out_shape
        first = (at.image * P + at.row) * Q + at.column
        return [first + pixel for pixel in range(at.span.width)]


def outer(held: Loads, passing: Loads, sums: Sequence[Sequence[v.Register]], isa: Isa) -> None:
    """Add the outer product of two vectors of vectors: sums[i][j] += passing[i] * held[j]."""
    kept = [v.Register("float32", isa.lanes, load()) for load in held]
    for load, row in zip(passing, sums, strict=True):
        x = v.Register("float32", isa.lanes, load())
        for y, total in zip(kept, row, strict=True):
            total.set(v.fma(x.get(), y.get(), total.get(), isa.lanes, fused=isa.fused))
