"""A layer that no image of its model can feed is refused with its name, before anybody runs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import plan
from binas.core.errors import CompileError


def layer(op: str, kernel: int, size: int, **attributes: Any) -> onnx.ModelProto:
    """A model of one convolution or pool, `n`, on 32 channels of size x size."""
    w = ModelWriter("m")
    x = w.input("x", (1, 32, size, size))
    ones = np.ones((8, kernel, kernel, 32))
    if op == "BinaryConv2d":
        y = w.binary_conv2d(
            w.binary_quantize(x), ones, scale=np.ones(8), bias=np.ones(8), name="n", **attributes
        )
    elif op == "Conv of signs":  # recognition runs it
        operands = [w.node("Sign", [x]), w.constant(ones.transpose(0, 3, 1, 2))]
        y = w.node("Conv", operands, name="n", **attributes)
    elif op == "Conv":
        real = np.random.default_rng(0).standard_normal((8, 32, kernel, kernel))
        y = w.node("Conv", [x, w.constant(real)], name="n", **attributes)
    else:
        y = w.node(op, [x], name="n", kernel_shape=[kernel, kernel], **attributes)
    return w.finish([y])


OPERATORS = ("BinaryConv2d", "Conv", "Conv of signs", "MaxPool", "AveragePool")


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize(
    ("kernel", "size", "attributes", "said"),
    [
        (5, 3, {}, "a kernel of 5x5 on "),
        (5, 3, {}, ", an image of 3x3; expected"),
        (4, 3, {}, "an image of 3x3;"),  # no pixel out, where 5 would be -1
        (6, 4, {"strides": [4, 4]}, "an image of 4x4;"),  # (4 - 6) / 4 rounds to one pixel in C++
        (6, 3, {"pads": [1, 1, 1, 1]}, "an image of 3x3, 5x5 with padding;"),
    ],
)
def test_a_kernel_larger_than_its_padded_image_is_refused(
    op: str, kernel: int, size: int, attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CompileError) as caught:
        BinaryModel.of(layer(op, kernel, size, **attributes), "toy")
    assert str(caught.value).startswith("toy: node 'n': a kernel of ")
    assert said in str(caught.value)
    assert "larger image" in caught.value.hint


def test_dilation_makes_a_kernel_larger() -> None:
    with pytest.raises(CompileError, match="of 3x3 that dilation spreads to 5x5 on 'x', an image"):
        BinaryModel.of(layer("Conv", 3, 4, dilations=[2, 2]), "toy")


@pytest.mark.parametrize("op", OPERATORS)
def test_a_kernel_as_large_as_its_padded_image_is_taken(op: str) -> None:
    padded = layer(op, 4, 3, pads=[0, 0, 1, 1])
    for proto in (layer(op, 3, 3), padded):
        assert plan(BinaryModel.of(proto, "toy")).nodes


def test_padding_that_onnx_works_out_always_fits() -> None:
    proto = layer("Conv", 5, 3, auto_pad="SAME_UPPER")
    assert plan(BinaryModel.of(proto, "toy")).nodes[-1].layer.out_shape == (1, 3, 3, 8)


def test_weights_for_other_channels_are_refused() -> None:
    w = ModelWriter("m")
    y = w.node("Conv", [w.input("x", (1, 4, 5, 5)), w.constant(np.ones((4, 3, 3, 3)))], name="n")
    with pytest.raises(
        CompileError, match=r"for 3 input channels \(group 1\), 'x' has 4"
    ) as caught:
        BinaryModel.of(w.finish([y]), "toy")
    assert "node 'n'" in str(caught.value)
    assert caught.value.hint
