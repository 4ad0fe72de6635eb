"""Signs that other tools pool before a binary convolution reads them (FINN, Brevitas)."""

from __future__ import annotations

import pytest

from binas.compile.graph import Graph
from binas.compile.model import BinaryModel
from tests.unit.compile.test_recognise import EXACT, Writer, same_as_the_original

OTHERS = {"upside down", "negated twice"}  # where a sign falls it is not taken behind a pool


def planned(w: Writer, x: str, channels: int = 33) -> Graph:
    """A binary convolution of what is ±1; the plan means what the file meant."""
    weights = w.constant(w.ones(8, channels, 3, 3) * 0.5)
    y = w.node("Conv", [x, weights], pads=[1] * 4, name="binary")
    return same_as_the_original(BinaryModel.of(w.finish([y]), "pooled"))


def pooled(w: Writer, x: str, size: int = 2) -> str:
    """A max pool at stride 2."""
    return w.node("MaxPool", [x], kernel_shape=[size] * 2, strides=[2, 2], pads=[size // 2] * 4)


@pytest.mark.parametrize("spelling", EXACT)
def test_pooled_signs_that_rise_are_bits(spelling: str) -> None:
    w = Writer()
    x = w.input("x", (1, 33, 9, 9))
    graph = planned(w, pooled(w, pooled(w, EXACT[spelling](w, x), 3)))
    assert graph.kinds["binary"][0] == ("weight-binary" if spelling in OTHERS else "binary")


def test_a_convolution_a_sign_a_pool_and_a_convolution_move_nothing_but_bits() -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (1, 33, 8, 8)))
    first = w.constant(w.ones(33, 33, 3, 3))
    y = w.node("Conv", [x, first], pads=[1] * 4)
    graph = planned(w, pooled(w, EXACT["x > 0"](w, w.node("Add", [y, w.channels(33)]))))
    ops = [node.op for node in graph.nodes]
    assert ops == ["elementwise", "binary_conv", "pool_bits", "binary_conv"]
