"""What the import refuses, by the name of the node, before anything is computed wrong."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from binas.compile.model import BinaryModel
from binas.compile.plan import plan
from binas.core.errors import CompileError, UnsupportedOpError
from tests.unit.compile.onnx_forms import Form, Writer, grid, image, norm, shapes, twice, unnamed

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
    "every other channel": (
        lambda w: shapes(w, "Slice", w.whole(0), w.whole(6), w.whole(1), w.whole(2)),
        "only neighbouring channels can be sliced",
    ),
    "split of rows": (
        lambda w: w.split(image(w), w.whole(2, 3), axis=2)[0],
        "Split along axis 2, expected 1, the channels",
    ),
    "split into fewer parts than it says": (
        lambda w: w.split(image(w), num_outputs=3)[0],
        "Split of 6 channels into [2, 2], expected 6 in all",
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


@pytest.mark.parametrize(
    "form",
    [
        lambda w: shapes(w, "Slice", w.whole(0), w.whole(0), w.whole(1)),
        lambda w: shapes(w, "Slice", w.whole(4), w.whole(2), w.whole(1)),
        lambda w: w.split(image(w), w.whole(0, 6))[1],
        lambda w: w.split(image(w), parts=4, num_outputs=4)[0],  # 2, 2, 2 and none
    ],
)
def test_a_part_of_no_channels_is_refused(form: Form) -> None:
    w = Writer()
    proto = w.finish([form(w)])
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
