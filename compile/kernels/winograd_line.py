"""The first step of `float_winograd_2d.py`: one transformed row of inputs, for a group of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, floordiv
from binas.compile.kernels.winograd_axes import Phase, Shape
from binas.core.layer import Layer


class Line:
    """Floats [column][C] on the stack: a weighted sum of input rows, 0 outside of the image."""

    def __init__(self, made: Frame, layer: Layer, isa: Isa, shape: Shape, tiles: int) -> None:
        """Make room for so many tiles, and for what a wide vector reads behind the last."""
        self.frame, self.layer, self.isa, self.shape = made, layer, isa, shape
        self.values = v.array("float32", shape.along.inputs(tiles) * shape.channels + isa.lanes)

    def emit(self, image: Any, h: Any, w: Any, tiles: int, phase: Phase, product: Any) -> None:
        """Row `product` of a phase; its tiles' inputs begin at row `h` and column `w`.

        Rows outside of the image are left out: where there are none, a loop knows which.
        """
        (_, H, W, C), stride = self.layer.in_shape, self.layer.stride[0]
        terms = phase.filtering.products if phase.filtered else 1
        h = h + phase.first + (0 if phase.filtered else product * stride)
        low = v.minimum(floordiv(v.maximum(stride - 1 - h, 0), stride), terms)
        stop = v.maximum(v.minimum(floordiv(v.maximum(H + stride - 1 - h, 0), stride), terms), low)
        size = self.shape.along.inputs(tiles) * C
        first = v.minimum(v.maximum(-w * C, 0), size)
        last = v.maximum(v.minimum((W - w) * C, size), first)
        source = ((image * H + h) * W + w) * C
        whole = tirx.And(low.equal(0), stop.equal(terms))

        with v.when(whole):
            self._sum(source, (first, last), phase, product, range(terms))
        with v.when(tirx.Not(whole)):
            self._sum(source, (first, last), phase, product, (low, stop))
        for begin, end in ((0, first), (last, size)):
            with v.loop(begin, end) as i:
                v.store(self.values, i, v.const(0.0, "float32"))

    def _sum(
        self,
        source: Any,
        inside: tuple[Any, Any],
        phase: Phase,
        product: Any,
        rows: range | tuple[Any, Any],
    ) -> None:
        """The columns inside of the image, whole vectors and then one by one."""
        (first, last), V = inside, self.isa.lanes
        vectors = floordiv(last - first, V)
        with v.loop(0, vectors) as i:
            self._values(source, first + i * V, V, phase, product, rows)
        with v.loop(first + vectors * V, last) as i:
            self._values(source, i, 1, phase, product, rows)

    def _values(
        self,
        source: Any,
        at: Any,
        width: int,
        phase: Phase,
        product: Any,
        rows: range | tuple[Any, Any],
    ) -> None:
        """Some neighbouring ones: all rows, unrolled, or those from one to another."""
        _, _, W, C = self.layer.in_shape
        apart, n = self.layer.stride[0] * W * C, phase.filtering.products
        total = v.Register("float32", width, v.splat(0.0, width, "float32"))

        def add(row: Any) -> None:
            x = v.load(self.frame.operands[0], source + row * apart + at, width)
            if not phase.filtered:
                total.set(x)
                return
            b = v.load(self.frame.parameters["f"], phase.matrix + product * n + row)
            by = v.splat(b, width, "float32")
            total.set(v.fma(x, by, total.get(), width, fused=self.isa.fused))

        if isinstance(rows, range):
            for row in rows:
                add(row)
        else:
            with v.loop(*rows) as row:
                add(row)
        v.store(self.values, at, total.get(), width)


def factors(made: Frame, phase: Phase, product: Any, isa: Isa) -> Sequence[v.Register]:
    """What each output row takes of a phase's row of products: a column of A."""
    f = phase.filtering
    at = phase.matrix + f.products * f.products + product * f.outputs
    loaded = (v.load(made.parameters["f"], at + row) for row in range(f.outputs))
    return [v.Register("float32", isa.lanes, v.splat(x, isa.lanes, "float32")) for x in loaded]
