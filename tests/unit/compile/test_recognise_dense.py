"""Dense layers of bits, flattened and padded images before them."""

from __future__ import annotations

import numpy as np
import pytest

from binas.compile.model import BinaryModel
from tests.unit.compile.spellings import EXACT, Writer, same_as_the_original


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("signed", ["before", "after"])
def test_a_binary_dense_layer_of_a_flattened_image_is_a_convolution(
    last: bool, signed: str
) -> None:
    w = Writer()
    x = w.node("Relu", [w.input("x", (1, 33, 3, 2))])
    x = w.node("Sub", [x, w.number(0.3)])
    x = EXACT["x > 0"](w, x) if signed == "before" else x
    x = w.node("Transpose", [x], perm=[0, 2, 3, 1]) if last else x
    x = (
        w.node("Flatten", [x])
        if not last
        else w.node("Reshape", [x, w.constant(np.array([-1, 198], np.int64))])
    )
    x = EXACT["x > 0"](w, x) if signed == "after" else x
    y = w.node("MatMul", [x, w.constant(w.ones(198, 9))], name="dense")
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert graph.kinds["dense"][0] == "binary"


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_a_dense_layer_of_bits_on_a_flattened_image_of_reals_stays_a_layer(last: bool) -> None:
    w = Writer()
    x = w.node("Relu", [w.input("x", (2, 33, 3, 2))])
    x = w.node("Relu", [w.node("Transpose", [x], perm=[0, 2, 3, 1])]) if last else x
    y = w.node("MatMul", [w.node("Flatten", [x]), w.constant(w.ones(198, 9))], name="dense")
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert graph.kinds["dense"][0] == "weight-binary"


def test_a_binary_dense_layer_reads_an_image_as_its_axes_lie() -> None:
    """Computed with channels last, then binarized, then flattened."""
    w = Writer()
    x = w.node("Transpose", [w.input("x", (2, 33, 3, 2))], perm=[0, 2, 3, 1])
    x = EXACT["x >= 0"](w, w.node("Add", [x, w.constant(w.random.standard_normal(33))]))
    y = w.node("MatMul", [w.node("Flatten", [x]), w.constant(w.ones(198, 9))], name="dense")
    graph = same_as_the_original(BinaryModel.of(w.finish([y]), "m"))
    assert graph.kinds["dense"][0] == "binary"


@pytest.mark.parametrize("signed", ["before", "after"])
def test_a_dense_layer_of_a_padded_image_of_signs_stays_the_same(signed: str) -> None:
    w = Writer()
    x = w.input("x", (1, 5, 3, 2))
    sizes = w.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
    x = EXACT["x >= 0"](w, x) if signed == "before" else x
    x = w.node("Pad", [x, sizes])
    x = EXACT["x >= 0"](w, x) if signed == "after" else x
    y = w.node("MatMul", [w.node("Flatten", [x]), w.constant(w.ones(60, 9))], name="dense")
    kind, reason = same_as_the_original(BinaryModel.of(w.finish([y]), "m")).kinds["dense"]
    assert kind == {"before": "float", "after": "binary"}[signed]
    assert signed == "after" or "padded image" in reason


@pytest.mark.parametrize("transposed", [False, True])
def test_a_gemm_of_bits_is_binary_with_its_factors(transposed: bool) -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (3, 65)))
    weights = w.ones(9, 65) if transposed else w.ones(65, 9)
    bias = w.constant(w.random.standard_normal(9))
    y = w.node(
        "Gemm",
        [x, w.constant(weights), bias],
        name="head",
        transB=int(transposed),
        alpha=0.5,
        beta=2.0,
    )
    assert same_as_the_original(BinaryModel.of(w.finish([y]), "m")).kinds["head"][0] == "binary"
