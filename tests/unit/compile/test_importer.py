"""Every form of every operator: what its fused plan means is what onnxruntime computes.

What is refused has tests of its own (`test_importer_refusals.py`): no form is accepted that would
be computed wrong.
"""

from __future__ import annotations

import numpy as np
import pytest

from binas.compile import truth
from binas.compile.graph import Graph
from binas.compile.model import BinaryModel
from binas.compile.plan import plan
from binas.core import bits
from tests.unit.compile.onnx_forms import (
    Form,
    Writer,
    around,
    grid,
    image,
    norm,
    padded_twice,
    shapes,
    swapped,
    twice,
)

SUPPORTED: dict[str, Form] = {
    "conv with a bias": lambda w: w.node("Conv", [image(w), w.random(4, 6, 3, 3), w.random(4)]),
    "conv with an empty bias": lambda w: w.node("Conv", [image(w), w.random(4, 6, 1, 1), ""]),
    "conv in groups": lambda w: w.node("Conv", [image(w), w.random(6, 2, 3, 3)], group=3),
    "conv SAME_UPPER": lambda w: grid(w, "Conv", auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv SAME_LOWER": lambda w: grid(w, "Conv", auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv VALID": lambda w: grid(w, "Conv", auto_pad="VALID"),
    "conv dilated": lambda w: grid(w, "Conv", dilations=[2, 3], pads=[2, 3, 2, 3]),
    "conv with uneven pads": lambda w: grid(w, "Conv", pads=[0, 1, 2, 3], strides=[1, 2]),
    "batch norm": lambda w: norm(w, image(w), 6, epsilon=1e-3),
    "batch norm of vectors": lambda w: norm(w, w.input("x", (3, 9)), 9),
    "add a constant": lambda w: shapes(w, "Add", w.random(6, 1, 1)),
    "a constant minus x": lambda w: w.node("Sub", [w.random(1, 6, 1, 1), image(w)]),
    "x minus a constant": lambda w: shapes(w, "Sub", w.random(6, 1, 1)),
    "add a grid": lambda w: shapes(w, "Add", w.random(1, 6, 5, 7)),
    "add a grid of one row and channel": lambda w: shapes(w, "Add", w.random(7)),
    "x minus a grid": lambda w: w.node("Relu", [shapes(w, "Sub", w.random(1, 5, 7))]),
    "a grid minus x": lambda w: w.node("Sub", [w.random(6, 5, 1), image(w)]),
    "signs of a grid plus x": lambda w: w.binary(
        w.binary_quantize(shapes(w, "Add", w.random(5, 7))), 6, 4, pads=(1, 1, 1, 1)
    ),
    "a row of numbers added to vectors": lambda w: shapes(w, "Add", w.random(2, 9), shape=(2, 9)),
    "times a scalar": lambda w: shapes(w, "Mul", w.constant(np.array(-2.5))),
    "a scalar times x": lambda w: w.node("Mul", [w.random(1), image(w)]),
    "divided by a constant": lambda w: shapes(w, "Div", w.random(6, 1, 1)),
    "vector times a row": lambda w: shapes(w, "Mul", w.random(9), shape=(2, 9)),
    "prelu": lambda w: shapes(w, "PRelu", w.random(6, 1, 1)),
    "prelu with one slope": lambda w: shapes(w, "PRelu", w.random(1)),
    "leaky relu": lambda w: shapes(w, "LeakyRelu", alpha=0.3),
    "leaky relu of default slope": lambda w: shapes(w, "LeakyRelu"),
    "add itself": lambda w: twice(w, "Add"),
    "max pool": lambda w: grid(w, "MaxPool", strides=[2, 2], pads=[1, 1, 1, 1]),
    "max pool dilated": lambda w: grid(w, "MaxPool", dilations=[2, 3]),
    "average pool": lambda w: grid(w, "AveragePool", strides=[2, 2], pads=[1, 0, 1, 2]),
    "average that counts pads": lambda w: grid(
        w, "AveragePool", pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "average SAME_UPPER": lambda w: grid(w, "AveragePool", auto_pad="SAME_UPPER", strides=[2, 2]),
    "global average": lambda w: shapes(w, "GlobalAveragePool"),
    "mean over rows and columns": lambda w: shapes(w, "ReduceMean", w.whole(2, 3)),
    "mean over the last two, dropped": lambda w: shapes(
        w, "ReduceMean", w.whole(-1, -2), keepdims=0
    ),
    "flatten into gemm": lambda w: w.node(
        "Gemm", [w.node("Flatten", [image(w)]), w.random(210, 4), w.random(4)], alpha=0.5, beta=2.0
    ),
    "reshape into gemm": lambda w: w.node(
        "Gemm", [w.node("Reshape", [image(w), w.whole(2, -1)]), w.random(4, 210)], transB=1
    ),
    "flatten and dropout into matmul": lambda w: w.node(
        "MatMul", [w.node("Dropout", [w.node("Flatten", [image(w)])]), w.random(210, 4)]
    ),
    "gemm with one bias": lambda w: shapes(w, "Gemm", w.random(9, 4), w.random(1), shape=(2, 9)),
    "gemm with a row of biases": lambda w: shapes(
        w, "Gemm", w.random(9, 4), w.random(1, 4), shape=(2, 9)
    ),
    "concat": lambda w: shapes(w, "Concat", w.input("z", (2, 3, 5, 7)), axis=-3),
    "concat of a value with itself": lambda w: twice(w, "Concat", axis=1),
    "concat of one": lambda w: shapes(w, "Concat", axis=1),
    "concat of vectors": lambda w: shapes(w, "Concat", w.input("z", (2, 3)), shape=(2, 9), axis=1),
    "leading channels": lambda w: shapes(w, "Slice", w.whole(0), w.whole(4), w.whole(1)),
    "leading channels, axis from behind": lambda w: shapes(
        w, "Slice", w.whole(0), w.whole(4), w.whole(-3), w.whole(1)
    ),
    "all but the last channels": lambda w: shapes(w, "Slice", w.whole(0), w.whole(-2), w.whole(1)),
    "trailing channels": lambda w: shapes(w, "Slice", w.whole(2), w.whole(6), w.whole(1)),
    "channels in the middle": lambda w: shapes(w, "Slice", w.whole(-4), w.whole(5), w.whole(1)),
    "all channels": lambda w: shapes(w, "Slice", w.whole(0), w.whole(2**62), w.whole(1)),
    "split in halves": lambda w: swapped(w, *w.split(image(w), num_outputs=2)),
    "split in parts of which the last is smaller": lambda w: swapped(
        w, *w.split(w.input("x", (2, 7, 5, 4)), parts=3, num_outputs=3)
    ),
    "split by sizes, axis from behind": lambda w: swapped(
        w, *w.split(image(w), w.whole(1, 3, 2), parts=3, axis=-3)
    ),
    "split of vectors": lambda w: swapped(
        w, *w.split(w.input("x", (2, 9)), w.whole(4, 5), axis=-1)
    ),
    "split of a concat, where its parts meet": lambda w: swapped(
        w, *w.split(swapped(w, image(w), w.input("z", (2, 3, 5, 7))), w.whole(3, 6))
    ),
    "split of signs": lambda w: swapped(w, *w.split(w.binary_quantize(image(w)), w.whole(2, 4))),
    "split into one": lambda w: w.split(image(w), parts=1, num_outputs=1)[0],
    "one part of a split": lambda w: w.split(image(w), parts=3, num_outputs=3)[1],
    "zero channels behind": lambda w: shapes(w, "Pad", w.whole(0, 0, 0, 0, 0, 3, 0, 0)),
    "zero channels behind, by axis": lambda w: shapes(w, "Pad", w.whole(0, 3), "", w.whole(-3)),
    "zeros around the image": around,
    "zeros around what a pool reads": lambda w: w.node(
        "MaxPool", [w.node("Relu", [around(w)])], kernel_shape=[3, 3], strides=[2, 2]
    ),
    "zeros around the sum of what is padded twice": lambda w: w.node(
        "Add", [around(w), w.node("Relu", [around(w, "z")])]
    ),
    "zeros around zeros around a sign, for a pool and for a convolution": padded_twice,
    "identity": lambda w: w.node("Relu", [shapes(w, "Identity")]),
    "nothing but an identity": lambda w: shapes(w, "Identity"),
    "identity of weights": lambda w: w.node(
        "Conv", [image(w), w.node("Identity", [w.random(4, 6, 1, 1)])]
    ),
    "identity of bits": lambda w: w.binary(
        w.node("Identity", [w.binary_quantize(image(w))]), 6, 4, pads=(1, 1, 1, 1)
    ),
    "reshape to an image of one pixel": lambda w: w.node(
        "Conv", [shapes(w, "Reshape", w.whole(2, 9, 1, 1), shape=(2, 9)), w.random(4, 9, 1, 1)]
    ),
    "output of a sign": lambda w: w.binary_quantize(image(w)),
    "sign of a sign": lambda w: w.binary_quantize(w.binary_quantize(image(w))),
    "output of a flattened image": lambda w: w.node("Flatten", [shapes(w, "Relu")]),
    "binary padded with -1": lambda w: w.binary(
        w.binary_quantize(image(w)), 6, 4, pads=(1, 1, 1, 1), pad_value=-1
    ),
    "binary weights on real activations": lambda w: w.binary(image(w), 6, 4, pads=(1, 1, 1, 1)),
}


def means_the_same(graph: Graph, model: BinaryModel) -> None:
    """The numpy meaning of every step equals onnxruntime's value."""
    reference = truth.taps(model, graph, truth.fixed_input(model))
    for name, got in truth.meanings(graph, reference).items():
        if graph.values[name].dtype == "bits":
            channels = graph.values[name].shape[3]
            differs = bits.unpack(got, channels) != bits.unpack(reference[name], channels)
            assert not (differs & (reference[f"margin:{name}"] > 1e-5)).any()
        else:
            np.testing.assert_allclose(got, reference[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", SUPPORTED)
def test_a_form_means_what_onnxruntime_computes(form: str) -> None:
    w = Writer()
    model = BinaryModel.of(w.finish([SUPPORTED[form](w)]), "form")
    graph = plan(model)
    means_the_same(graph, model)
    for name, port in zip(graph.outputs, model.outputs, strict=True):
        assert np.prod(graph.values[name].shape) == np.prod(port.shape)


def test_a_split_of_opset_13_that_says_no_sizes_has_equal_parts() -> None:
    w = Writer()
    proto = w.finish([swapped(w, *w.split(image(w), num_outputs=2))])
    proto.opset_import[0].version = 13
    del proto.graph.node[0].attribute[1]  # since opset 18
    model = BinaryModel.of(proto, "m")
    graph = plan(model)
    assert [node.name for node in graph.nodes][:2] == ["n/n:0", "n/n:01"]
    means_the_same(graph, model)


def test_a_part_of_a_split_that_nobody_reads_is_no_step() -> None:
    w = Writer()
    parts = w.split(image(w), w.whole(1, 3, 2), parts=3)
    proto = w.finish([swapped(w, parts[0], parts[2])])
    proto.graph.node[0].output[1] = ""
    model = BinaryModel.of(proto, "m")
    graph = plan(model)
    assert [node.op for node in graph.nodes] == ["concat", "slice", "concat"]
    means_the_same(graph, model)


def test_parts_of_a_concat_are_not_copied() -> None:
    w = Writer()
    parts = w.split(swapped(w, image(w), w.input("z", (2, 3, 5, 7))), w.whole(3, 6))
    graph = plan(BinaryModel.of(w.finish([w.node("Relu", [y]) for y in parts]), "m"))
    assert [node.inputs for node in graph.nodes] == [("z",), ("x",)]


def test_every_weighted_node_is_reported_with_its_kind_and_reason() -> None:
    w = Writer()
    x = w.node("Conv", [image(w), w.random(32, 6, 3, 3)], name="stem")
    q = w.binary_quantize(x)
    body = w.binary_conv2d(
        q, np.ones((32, 1, 1, 32)), scale=np.ones(32), bias=np.zeros(32), name="body"
    )
    narrow = w.binary_conv2d(
        w.binary_quantize(body),
        np.ones((32, 1, 1, 8)),
        scale=np.ones(32),
        bias=np.zeros(32),
        group=4,
        name="narrow",
    )
    kinds = plan(BinaryModel.of(w.finish([narrow]), "m")).kinds
    assert kinds == {
        "stem": ("float", "its weights are real; -s and +s per output channel make a bit"),
        "body": ("binary", "both operands are one bit"),
        "narrow": ("binary", "both operands are one bit"),
    }
