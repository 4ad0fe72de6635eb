"""Each operator and each of its forms, against onnxruntime; what is refused names the node.

Two sides of one coin: for every form the numpy meaning of the fused plan equals what onnxruntime
makes of the file, and no form is accepted that would be computed wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from binas.compile import truth
from binas.compile.graph import Graph
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import plan
from binas.core import bits
from binas.core.errors import CompileError, UnsupportedOpError

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
    "all channels": lambda w: shapes(w, "Slice", w.whole(0), w.whole(2**62), w.whole(1)),
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


def unnamed(w: Writer, op: str, *inputs: str, **attributes: Any) -> str:
    """A node called `n`."""
    return w.node(op, list(inputs), name="n", **attributes)


UNSUPPORTED: dict[str, tuple[Form, str]] = {
    "sigmoid": (lambda w: shapes(w, "Sigmoid"), "no kernel for ai.onnx.Sigmoid"),
    "weights that are computed": (
        lambda w: unnamed(w, "Conv", image(w), w.input("w", (4, 6, 1, 1))),
        "'w' is computed, expected a constant",
    ),
    "add that broadcasts": (
        lambda w: unnamed(w, "Add", image(w), w.input("z", (2, 6, 1, 1))),
        "adds",
    ),
    "product of two values": (
        lambda w: twice(w, "Mul"),
        "Mul of two computed values",
    ),
    "constant divided by x": (
        lambda w: unnamed(w, "Div", w.random(1), image(w)),
        "Div of two computed values",
    ),
    "constant per pixel": (lambda w: shapes(w, "Mul", w.random(1, 1, 5, 7)), "constant of shape"),
    "constant along the columns": (
        lambda w: shapes(w, "Mul", w.random(6), shape=(2, 6, 6, 6)),
        "constant of shape (6,)",
    ),
    "constant that widens": (
        lambda w: shapes(w, "Mul", w.random(6, 1, 1), shape=(2, 1, 5, 7)),
        "constant of shape",
    ),
    "scalar that adds dimensions": (
        lambda w: shapes(w, "Mul", w.random(1, 1, 1, 1), shape=(3, 6)),
        "a form of it we have no kernel for",
    ),
    "gemm with a bias per row": (
        lambda w: shapes(w, "Gemm", w.random(9, 4), w.random(4, 1), shape=(4, 9)),
        "bias of shape (4, 1)",
    ),
    "gemm with a transposed input": (
        lambda w: shapes(w, "Gemm", w.random(2, 4), shape=(2, 9), transA=1),
        "transposed input",
    ),
    "matmul over columns": (lambda w: shapes(w, "MatMul", w.random(7, 4)), "weights (4, 7)"),
    "matmul of a single pixel": (
        lambda w: shapes(w, "MatMul", w.random(1, 4), shape=(1, 1, 1, 1)),
        "a form of it we have no kernel for",
    ),
    "ceil_mode": (lambda w: grid(w, "MaxPool", ceil_mode=1), "ceil_mode"),
    "a window of padding": (
        lambda w: unnamed(
            w,
            "MaxPool",
            w.input("x", (1, 2, 3, 3)),
            kernel_shape=[2, 2],
            dilations=[4, 4],
            pads=[1, 1, 1, 1],
        ),
        "nothing but padding",
    ),
    "mean over channels": (lambda w: shapes(w, "ReduceMean", w.whole(1)), "mean over axes [1]"),
    "concat of rows": (
        lambda w: twice(w, "Concat", axis=2),
        "concat along another axis",
    ),
    "concat of a constant": (
        lambda w: shapes(w, "Concat", w.random(2, 1, 5, 7), axis=1),
        "is a constant, expected data",
    ),
    "trailing channels": (
        lambda w: shapes(w, "Slice", w.whole(2), w.whole(6), w.whole(1)),
        "neither the leading ones nor whole parts",
    ),
    "every other channel": (
        lambda w: shapes(w, "Slice", w.whole(0), w.whole(6), w.whole(1), w.whole(2)),
        "only neighbouring channels can be sliced",
    ),
    "channels padded in front": (
        lambda w: shapes(w, "Pad", w.whole(0, 2, 0, 0, 0, 0, 0, 0)),
        "Pad other than zeros around the image or after the channels",
    ),
    "channels cut by a negative pad": (
        lambda w: shapes(w, "Pad", w.whole(0, 0, 0, 0, 0, -2, 0, 0)),
        "Pad other than zeros around the image or after the channels",
    ),
    "channels reflected": (
        lambda w: shapes(w, "Pad", w.whole(0, 0, 0, 0, 0, 2, 0, 0), mode="reflect"),
        "Pad other than zeros around the image or after the channels",
    ),
    "channels padded with ones": (
        lambda w: shapes(w, "Pad", w.whole(0, 0, 0, 0, 0, 2, 0, 0), w.constant(np.array(1.0))),
        "Pad other than zeros around the image or after the channels",
    ),
    "relu of a flattened image": (
        lambda w: unnamed(w, "Relu", w.node("Flatten", [image(w)])),
        "of a flattened image",
    ),
    "flatten of the batch": (lambda w: shapes(w, "Flatten", axis=2), "Flatten along axis"),
    "reshape to another image": (
        lambda w: shapes(w, "Reshape", w.whole(2, 5, 6, 7)),
        "Reshape of",
    ),
    "half a padding": (
        lambda w: w.binary(
            w.binary_quantize(image(w)), 6, 4, pads=(1, 1, 1, 1), pad_value=0.5, name="n"
        ),
        "pad_value is 0.5, expected 0, +1 or -1",
    ),
    "a padding of two": (
        lambda w: w.binary(
            w.binary_quantize(image(w)), 6, 4, pads=(1, 1, 1, 1), pad_value=2, name="n"
        ),
        "pad_value is 2.0",
    ),
    "real activations padded with one": (
        lambda w: w.binary(image(w), 6, 4, pads=(1, 1, 1, 1), pad_value=1, name="n"),
        "pads a float convolution",
    ),
}


@pytest.mark.parametrize("form", UNSUPPORTED)
def test_an_unsupported_form_names_its_node(form: str) -> None:
    write, said = UNSUPPORTED[form]
    w = Writer()
    with pytest.raises(UnsupportedOpError) as caught:
        plan(BinaryModel.of(w.finish([write(w)]), "form"))
    assert said in str(caught.value)
    assert "node 'n'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_norm_in_training_mode_is_refused() -> None:
    w = Writer()
    proto = w.finish([norm(w, image(w), 6)])
    proto.graph.node[0].attribute.append(helper.make_attribute("training_mode", 1))
    proto.graph.node[0].output.extend(["mean", "variance"])
    with pytest.raises(UnsupportedOpError, match="node 'n': training_mode"):
        plan(BinaryModel.of(proto, "m"))


def test_an_input_that_is_no_float32_is_refused() -> None:
    w = Writer()
    proto = w.finish([shapes(w, "Relu")])
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(UnsupportedOpError, match="input 'x' is not float32"):
        plan(BinaryModel.of(proto, "m"))


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "[0, 3]"), (-1, "[-1, 3]"), ("batch", "[batch, 3]"), (None, "[?, 3]")]
)
def test_a_shape_that_is_not_static_is_refused(size: int | str | None, shown: str) -> None:
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, 3])],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    with pytest.raises(CompileError, match="expected static sizes of at least 1") as caught:
        plan(BinaryModel.of(proto, "m"))
    assert f"'x' has shape {shown}" in str(caught.value)
    assert "fixed batch" in caught.value.hint


def test_a_slice_of_no_channels_is_refused() -> None:
    w = Writer()
    proto = w.finish([shapes(w, "Slice", w.whole(0), w.whole(0), w.whole(1))])
    with pytest.raises(CompileError, match="expected static sizes"):
        plan(BinaryModel.of(proto, "m"))


def test_an_absurd_size_is_refused_before_anything_is_allocated() -> None:
    w = Writer()
    proto = w.finish([shapes(w, "Relu", shape=(1, 3, 100_000, 100_000))])
    with pytest.raises(CompileError, match=r"'x' alone 111\.8 GiB"):
        plan(BinaryModel.of(proto, "m"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weights", "bias", "scale", "shift"])
def test_weights_that_are_not_finite_are_refused(bad: float, where: str) -> None:
    w = Writer()
    numbers = {"weights": np.ones((4, 6, 1, 1)), "bias": np.ones(4), "scale": np.ones((4, 1, 1))}
    numbers["shift"] = np.ones((4, 1, 1))
    numbers[where].reshape(-1)[1] = bad
    x = w.node("Conv", [image(w), w.constant(numbers["weights"]), w.constant(numbers["bias"])])
    y = w.node(
        "Add", [w.node("Mul", [x, w.constant(numbers["scale"])]), w.constant(numbers["shift"])]
    )
    with pytest.raises(CompileError, match="NaN, infinite or beyond float32"):
        plan(BinaryModel.of(w.finish([y]), "m"))


def test_division_by_zero_and_a_variance_of_zero_are_refused() -> None:
    for write in (
        lambda w: shapes(w, "Div", w.constant(np.zeros((6, 1, 1)))),
        lambda w: w.node(
            "BatchNormalization",
            [image(w), *(w.constant(np.full(6, v)) for v in (1.0, 0.0, 0.0, 0.0))],
            epsilon=0.0,
        ),
    ):
        w = Writer()
        with pytest.raises(CompileError, match="NaN, infinite or beyond float32"):
            plan(BinaryModel.of(w.finish([write(w)]), "m"))


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
