"""The first step of `float_winograd_2d.py`: one transformed row of inputs, for a group of tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fractions import Fraction
from functools import partial
from typing import Any

from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, floordiv
from binas.compile.kernels.winograd_axes import Phase, Shape
from binas.compile.kernels.winograd_steps import madd

_COPY = [[Fraction(1)]]
Value = Callable[[Any, int], v.Register]  # from where in the input on, and how many


class Line:
    """Floats [column][C] on the stack: a weighted sum of input rows, 0 outside of the image."""

    def __init__(self, made: Frame, isa: Isa, shape: Shape, tiles: int) -> None:
        """Make room for so many tiles, and for what a wide vector reads behind the last."""
        self.frame, self.layer, self.isa, self.shape = made, made.layer, isa, shape
        self.values = v.array("float32", shape.along.inputs(tiles) * shape.channels + isa.lanes)

    def clear(self, w: Any, tiles: int) -> None:
        """What lies outside of the image is 0 in all rows of these tiles, from column `w` on.

        Stored behind each row, such zeros would not have reached the cache when the first tile is
        read, and a vector that is partly of them waits until they have.
        """
        first, last = self._inside(w, tiles)
        for begin, end in ((0, first), (last, self._size(tiles))):
            with v.loop(begin, end) as i:
                v.store(self.values, i, v.const(0.0, "float32"))

    def emit(self, image: Any, h: Any, w: Any, tiles: int, phase: Phase, product: Any) -> None:
        """Row `product` of a phase, of a cleared line; its tiles begin at row `h`, column `w`.

        Where all rows are inside of the image, those that have a part are added up one by one; at
        its borders a loop adds up all that are inside.
        """
        (_, H, W, C), stride = self.layer.in_shape, self.layer.stride[0]
        terms = phase.filtering.products if phase.filtered else 1
        inside = self._inside(w, tiles)
        h = h + phase.first + (0 if phase.filtered else product * stride)
        low = v.minimum(floordiv(v.maximum(stride - 1 - h, 0), stride), terms)
        stop = v.maximum(v.minimum(floordiv(v.maximum(H + stride - 1 - h, 0), stride), terms), low)
        source = ((image * H + h) * W + w) * C
        whole = tirx.And(low.equal(0), stop.equal(terms))

        with v.when(whole):
            matrix = phase.filtering.of_inputs() if phase.filtered else _COPY
            for number, row in enumerate(matrix):
                with v.when(product.equal(number)) if phase.filtered else nullcontext():
                    self._sum(source, inside, partial(self._known, row))
        with v.when(tirx.Not(whole)):
            self._sum(source, inside, partial(self._found, phase, product, (low, stop)))

    def _size(self, tiles: int) -> int:
        return self.shape.along.inputs(tiles) * self.shape.channels

    def _inside(self, w: Any, tiles: int) -> tuple[Any, Any]:
        """The elements of the line whose columns are inside of the image."""
        (_, _, W, C), size = self.layer.in_shape, self._size(tiles)
        first = v.minimum(v.maximum(-w * C, 0), size)
        return first, v.maximum(v.minimum((W - w) * C, size), first)

    def _sum(self, source: Any, inside: tuple[Any, Any], value: Value) -> None:
        """The columns inside of the image, whole vectors and then one by one."""
        (first, last), V = inside, self.isa.lanes
        vectors = floordiv(last - first, V)
        for begin, end, width in ((0, vectors, V), (vectors * V, last - first, 1)):
            with v.loop(begin, end) as i:
                at = first + i * width
                v.store(self.values, at, value(source + at, width).get(), width)

    def _known(self, row: Sequence[Fraction], at: Any, width: int) -> v.Register:
        """The sum where all rows are inside: of those that have a part in it."""
        step = madd(self.isa, width)
        start = row.index(1)  # the polynomials are monic
        total = self._load(start, at, width)
        for j, c in enumerate(row):
            if c and j != start:
                total = step(self._load(j, at, width), c, total)
        return total

    def _found(
        self, phase: Phase, product: Any, rows: tuple[Any, Any], at: Any, width: int
    ) -> v.Register:
        """The sum of the rows from one to another."""
        total = v.Register("float32", width, v.splat(0.0, width, "float32"))
        with v.loop(*rows) as row:
            x = self._load(row, at, width)
            if phase.filtered:
                matrix = phase.matrix + product * phase.filtering.products
                b = v.load(self.frame.parameters["f"], matrix + row)
                by = v.splat(b, width, "float32")
                total.set(v.fma(x.get(), by, total.get(), width, fused=self.isa.fused))
            else:
                total.set(x.get())
        return total

    def _load(self, row: Any, at: Any, width: int) -> v.Register:
        _, _, W, C = self.layer.in_shape
        x = v.load(self.frame.operands[0], at + row * (self.layer.stride[0] * W * C), width)
        return v.Register("float32", width, x)


def factors(made: Frame, phase: Phase, product: Any, isa: Isa) -> Sequence[v.Register]:
    """What each output row takes of a phase's row of products: a column of A."""
    f = phase.filtering
    at = phase.matrix + f.products * f.products + product * f.outputs
    loaded = (v.load(made.parameters["f"], at + row) for row in range(f.outputs))
    return [v.Register("float32", isa.lanes, v.splat(x, isa.lanes, "float32")) for x in loaded]
