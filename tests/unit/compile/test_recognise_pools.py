"""Signs that other tools pool before a binary convolution reads them (FINN, Brevitas)."""

from __future__ import annotations

import pytest

from binas.compile.graph import Graph
from binas.compile.model import BinaryModel
from tests.unit.compile.spellings import EXACT, Writer, one_layer, same_as_the_original

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


@pytest.mark.parametrize("spelling", ["x >= 0", "x > 0", "above a border per channel", "ste_sign"])
def test_a_pool_of_signs_is_the_sign_of_a_pool(spelling: str) -> None:
    """As CNV_1W1A of Brevitas and FINN has it: quantized first, pooled then."""

    def pooled(w: Writer, x: str) -> str:
        y = EXACT[spelling](w, x)
        return w.node("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 1])

    graph = same_as_the_original(one_layer(pooled))
    assert graph.kinds["conv"][0] == "binary"
    assert "pool_max" in [node.op for node in graph.nodes]


def test_a_pool_of_signs_that_fall_stays_behind_them() -> None:
    """The largest of -sign(x) is the sign of the smallest x."""

    def pooled(w: Writer, x: str) -> str:
        return w.node("MaxPool", [EXACT["upside down"](w, x)], kernel_shape=[2, 2])

    assert same_as_the_original(one_layer(pooled)).kinds["conv"][0] == "weight-binary"


def test_signs_that_a_pool_and_others_read_stay_for_the_others() -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (1, 33, 4, 4)))
    y = w.node("Conv", [x, w.constant(w.ones(33, 33, 2, 2))], name="a", strides=[2, 2])
    z = w.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    z = w.node("Conv", [z, w.constant(w.ones(33, 33, 1, 1))], name="b")
    model = BinaryModel.of(w.finish([w.node("Add", [y, z])]), "m")
    assert {kind for kind, _ in same_as_the_original(model).kinds.values()} == {"binary"}
