"""Signs beside paddings, and of images and borders whose axes lie otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from binas.compile.model import BinaryModel
from tests.unit.compile.spellings import EXACT, Writer, larq, one_layer, same_as_the_original


@pytest.mark.parametrize(
    ("pad", "expected"), [(0.0, 0), (1.0, 1), (-1.0, -1), (0.5, None)], ids=str
)
def test_a_padding_of_its_own_becomes_the_layers(pad: float, expected: int | None) -> None:
    def padded(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64))
        return w.node("Pad", [EXACT["x >= 0"](w, x), sizes, w.number(pad)])

    model = one_layer(padded, pads=[0] * 4)
    if expected is None:
        assert "pads its bits with 0.5, expected 0, -1 or 1" in model.reasons["conv"]
        return
    graph = same_as_the_original(model)
    assert graph.kinds["conv"][0] == "binary"
    (node,) = [node for node in graph.nodes if node.op == "binary_conv"]
    assert (node.pad_value, node.padding) == (expected, (1, 2, 0, 1))


@pytest.mark.parametrize("comparison", ["GreaterOrEqual", "Greater"])
def test_padding_with_zeros_before_the_sign_counts_as_the_sign_of_zero(comparison: str) -> None:
    def signed(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return w.where(comparison, w.node("Pad", [x, sizes]), w.number(0), 1, -1)

    graph = same_as_the_original(one_layer(signed, pads=[0] * 4))
    assert graph.kinds["conv"][0] == "binary"
    # x > 0 is read as not(-x >= 0): the bit is flipped, and so is what is padded.
    assert [n.pad_value for n in graph.nodes if n.op == "binary_conv"] == [1]


@pytest.mark.parametrize(("pad", "expected"), [(None, 0), (2.0, 1), (-2.0, -1), (0.5, 1)], ids=str)
def test_what_onnx_sign_makes_of_a_padding_is_the_padding(pad: float | None, expected: int) -> None:
    """Zeros around the image are zeros after Sign, too: no bits that are never 0."""

    def signed(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return w.node(
            "Sign", [w.node("Pad", [x, sizes, *([] if pad is None else [w.number(pad)])])]
        )

    graph = same_as_the_original(one_layer(signed, pads=[0] * 4), zeros=False)
    assert [node.pad_value for node in graph.nodes if node.op == "binary_conv"] == [expected]


@pytest.mark.parametrize(("border", "expected"), [(0.3, -1), (-0.3, 1)])
def test_what_is_padded_before_a_border_is_on_one_side_of_it(border: float, expected: int) -> None:
    def signed(w: Writer, x: str) -> str:
        sizes = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return w.where("GreaterOrEqual", w.node("Pad", [x, sizes]), w.number(border), 1, -1)

    graph = same_as_the_original(one_layer(signed, pads=[0] * 4))
    assert [node.pad_value for node in graph.nodes if node.op == "binary_conv"] == [expected]


def test_channels_last_images_are_read_in_place() -> None:
    """Keras through tf2onnx: NHWC ports, and transposes around every operator."""
    w = Writer()
    x = w.input("x", (2, 6, 5, 33))
    x = w.node("Mul", [x, w.constant(w.random.uniform(0.5, 2, 33))])
    x = w.node("Transpose", [x], perm=[0, 3, 1, 2])
    x = w.node("Conv", [x, w.constant(w.random.standard_normal((33, 33, 1, 1)))], name="stem")
    for at in range(2):
        y = w.node("Transpose", [x], perm=[0, 2, 3, 1])
        y = w.node("Transpose", [larq(w, y)], perm=[0, 3, 1, 2])
        y = w.node("Conv", [y, w.constant(w.ones(33, 33, 3, 3))], name=f"c{at}", pads=[1] * 4)
        x = w.node("Add", [x, y])
    y = w.node("Transpose", [x], perm=[0, 2, 3, 1])
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert [kind for kind, _ in graph.kinds.values()] == ["float", "binary", "binary"]
    assert [node.op for node in graph.nodes] == ["elementwise", "conv", *["binary_conv"] * 2]


def test_an_image_with_its_channels_last_may_be_binarized_and_padded_before_it_is_turned() -> None:
    w = Writer()
    sizes = w.constant(np.array([0, 1, 1, 0, 0, 1, 1, 0], np.int64))
    x = w.node("Pad", [EXACT["x >= 0"](w, w.input("x", (1, 6, 5, 33))), sizes])
    x = w.node("Transpose", [x], perm=[0, 3, 1, 2])
    x = w.node("AveragePool", [x], kernel_shape=[2, 2])
    y = w.node("Conv", [x, w.constant(w.ones(7, 33, 1, 1))], name="conv")
    same_as_the_original(BinaryModel.of(w.finish([y]), "m"))


def test_borders_of_one_value_along_different_axes_are_different_signs() -> None:
    w = Writer()
    x, border = w.input("x", (1, 8, 8, 8)), w.random.standard_normal(8)
    ys = []
    for axes in ((8, 1, 1), (1, 8, 1), (1, 1, 8)):
        signed = w.where("Greater", x, w.constant(border.reshape(axes)), 1, -1)
        ys.append(w.node("Conv", [signed, w.constant(w.ones(8, 8, 3, 3))]))
    model = BinaryModel.of(w.finish([w.node("Concat", ys, axis=1)]), "m")
    assert {kind for kind, _ in same_as_the_original(model).kinds.values()} == {"binary"}


def test_a_shape_that_is_computed_from_an_image_of_known_shape_is_a_constant() -> None:
    """x.view(x.size(0), -1), exported with a variable batch that was made fixed afterwards."""
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (2, 33, 3, 2)))
    first = w.constant(np.array([0], np.int64))
    batch = w.node("Gather", [w.node("Shape", [x]), first], axis=0)
    sizes = w.node("Concat", [batch, w.constant(np.array([-1], np.int64))], axis=0)
    y = w.node("MatMul", [w.node("Reshape", [x, sizes]), w.constant(w.ones(198, 9))], name="head")
    model = BinaryModel.of(w.finish([y]), "m")
    assert same_as_the_original(model).kinds["head"][0] == "binary"
