"""Forms of ONNX operators, a line each; one that may be refused has a node called `n`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.model import ModelWriter

Array = NDArray[Any]


class Writer(ModelWriter):
    """A writer with numbers at hand."""

    def __init__(self) -> None:
        super().__init__("form")
        self._random = np.random.default_rng(0)

    def random(self, *shape: int) -> str:
        """A constant of standard normal numbers."""
        return self.constant(self.numbers(*shape))

    def numbers(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self._random.standard_normal(shape).astype(np.float32)

    def whole(self, *values: int) -> str:
        """A constant of int64."""
        return self.constant(np.array(values, np.int64))

    def split(self, x: str, *sizes: str, parts: int = 2, **attributes: Any) -> list[str]:
        """The parts of a Split named `n`."""
        y = self.node("Split", [x, *sizes], name="n", **{"axis": 1, **attributes})
        self._nodes[-1].output.extend(f"{y}{i}" for i in range(1, parts))
        return list(self._nodes[-1].output)

    def binary(self, x: str, C: int, K: int, **fields: Any) -> str:
        """A binary convolution named `conv`."""
        w = np.where(self.numbers(K, 3, 3, C) >= 0, 1.0, -1.0)
        fields = {"scale": np.ones(K), "bias": np.zeros(K), "name": "conv", **fields}
        return self.binary_conv2d(x, w, **fields)


Form = Callable[[Writer], str]


def image(w: Writer) -> str:
    """The usual input."""
    return w.input("x", (2, 6, 5, 7))


def norm(w: Writer, x: str, C: int, **attributes: Any) -> str:
    """A batch norm whose scales are positive, negative and zero."""
    gamma = w.numbers(C)
    gamma[0] = 0
    arrays = (gamma, w.numbers(C), w.numbers(C), np.abs(w.numbers(C)))
    return w.node("BatchNormalization", [x, *map(w.constant, arrays)], name="n", **attributes)


def grid(w: Writer, op: str, **attributes: Any) -> str:
    """A pool or, with weights, a convolution of the usual input."""
    operands = [image(w)]
    if op == "Conv":
        operands.append(w.random(4, 6 // attributes.get("group", 1), 3, 3))
    else:
        attributes.setdefault("kernel_shape", [3, 3])
    return w.node(op, operands, name="n", **attributes)


def shapes(
    w: Writer, op: str, *more: str, shape: tuple[int, ...] = (2, 6, 5, 7), **rest: Any
) -> str:
    """One operator on an input of a shape."""
    return w.node(op, [w.input("x", shape), *more], name="n", **rest)


def swapped(w: Writer, *parts: str) -> str:
    """Parts side by side, the last in front: every one is read."""
    return w.node("Concat", list(reversed(parts)), axis=1)


def twice(w: Writer, op: str, **attributes: Any) -> str:
    """One operator that reads the usual input twice."""
    x = image(w)
    return w.node(op, [x, x], name="n", **attributes)


def around(w: Writer, name: str = "x") -> str:
    """An image with a border of zeros."""
    x = image(w) if name == "x" else w.input(name, (2, 6, 5, 7))
    return w.node("Pad", [x, w.whole(0, 0, 1, 2, 0, 0, 0, 1)])


def padded_twice(w: Writer) -> str:
    """One padded image, read by those who can pad and by those who cannot."""
    inner = w.node("Pad", [w.binary_quantize(image(w)), w.whole(0, 0, 1, 0, 0, 0, 1, 0)])
    outer = w.node("Pad", [inner, w.whole(0, 0, 0, 1, 0, 0, 0, 1)])
    pooled = w.node("AveragePool", [outer], kernel_shape=[3, 3])
    return w.node("Add", [pooled, w.node("Conv", [outer, w.random(6, 6, 3, 3)])])


def unnamed(w: Writer, op: str, *inputs: str, **attributes: Any) -> str:
    """A node called `n`."""
    return w.node(op, list(inputs), name="n", **attributes)
