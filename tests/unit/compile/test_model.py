"""The ONNX contract: what is written runs elsewhere, what breaks it is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from binas.compile import functions
from binas.compile.model import BinaryModel, ModelWriter
from binas.core import bits, record
from binas.core.errors import BinasError, CompileError, UsageError


def toy() -> onnx.ModelProto:
    """One binary convolution."""
    w = ModelWriter("toy")
    x = w.binary_quantize(w.input("x", (1, 33, 5, 4)), name="sign")
    ones = np.ones((7, 3, 3, 33))
    return w.finish([w.binary_conv2d(x, ones, scale=np.ones(7), bias=np.zeros(7), name="conv")])


@pytest.mark.parametrize("pad_value", [0, 1, -1])
@pytest.mark.parametrize("C", [1, 8, 31, 33, 64, 129])
def test_a_function_body_computes_what_the_bits_say(C: int, pad_value: int) -> None:
    generator = np.random.default_rng(C)
    x = generator.standard_normal((2, C, 6, 5)).astype(np.float32)
    x[0, 0, 0, :2] = 0.0, -0.0
    w = np.where(generator.random((9, 3, 2, C)) < 0.5, np.float32(1), np.float32(-1))
    scale, bias = generator.standard_normal((2, 9)).astype(np.float32)
    geometry: dict[str, Any] = {"pads": (1, 0, 2, 1), "strides": (2, 1), "dilations": (1, 2)}
    writer = ModelWriter("conv")
    q = writer.binary_quantize(writer.input("x", x.shape))
    y = writer.binary_conv2d(q, w, scale=scale, bias=bias, pad_value=pad_value, **geometry)
    options = onnxruntime.SessionOptions()
    # Otherwise it multiplies the scale into the weights, which rounds.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(writer.finish([y]).SerializeToString(), options)
    (got,) = session.run(None, {"x": x})
    sums = bits.binary_conv2d(
        bits.pack(x.transpose(0, 2, 3, 1)),
        bits.pack(w),
        C,
        stride=(2, 1),
        padding=(1, 0, 2, 1),
        dilation=(1, 2),
        pad_value=pad_value,
    )
    expected = sums.astype(np.float32) * scale + bias
    np.testing.assert_array_equal(got.transpose(0, 2, 3, 1), expected)


def test_weights_stay_packed_in_the_file() -> None:
    (packed,) = (t for t in toy().graph.initializer if t.name == "conv.w_packed")
    assert packed.data_type == TensorProto.UINT8
    assert list(packed.dims) == [7, 3, 3, 5]


def test_a_model_says_its_ports_labels_and_digest() -> None:
    w = ModelWriter("m")
    y = w.node("Relu", [w.input("x", (2, 3))])
    proto = w.finish([y], metadata={"labels": "cat\ndog"})
    model = BinaryModel.of(proto, "m")
    assert [(p.name, p.shape) for p in model.inputs] == [("x", (2, 3))]
    assert [p.shape for p in model.outputs] == [(2, 3)]
    assert model.labels == ("cat", "dog")
    assert model.digest == BinaryModel.of(proto, "other").digest
    assert model.digest != BinaryModel.of(toy(), "m").digest


def test_a_body_in_the_file_is_replaced_by_ours() -> None:
    proto = toy()
    del proto.functions[0].node[:]
    assert list(BinaryModel.of(proto, "m").proto.functions) == functions.functions()


def other_version(proto: onnx.ModelProto) -> None:
    proto.opset_import[1].version = 2


def old_opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 12


def new_opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 99


def external_data(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL


def no_in_channels(proto: onnx.ModelProto) -> None:
    kept = [a for a in proto.graph.node[1].attribute if a.name != "in_channels"]
    del proto.graph.node[1].attribute[:]
    proto.graph.node[1].attribute.extend(kept)


def with_attribute(proto: onnx.ModelProto, name: str, value: Any) -> None:
    kept = [a for a in proto.graph.node[1].attribute if a.name != name]
    del proto.graph.node[1].attribute[:]
    proto.graph.node[1].attribute.extend([*kept, helper.make_attribute(name, value)])


def channels_as_a_number(proto: onnx.ModelProto) -> None:
    with_attribute(proto, "in_channels", 33)


def groups_as_a_list(proto: onnx.ModelProto) -> None:
    with_attribute(proto, "in_channels", [2**40])
    with_attribute(proto, "group", [1])


def a_cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = proto.graph.node[1].output[0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_version, "uses ai.binas version 2, this binas knows 1"),
        (old_opset, "uses ONNX opset 12, expected 13 to 26"),
        (new_opset, "uses ONNX opset 99, expected 13 to 26"),
        (external_data, "lies in another file"),
        (no_in_channels, "is not a valid model"),
        (channels_as_a_number, "node 'conv': in_channels is 33 and group 1, expected"),
        (groups_as_a_list, "node 'conv': in_channels is [1099511627776] and group [1], expected"),
        (a_cycle, "is not a valid model"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_that_breaks_the_contract_is_refused(spoil: Any, said: str) -> None:
    proto = toy()
    spoil(proto)
    with pytest.raises(CompileError) as caught:
        BinaryModel.of(proto, "m")
    must_be_one_sentence(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no graph"),
        (b"hello there, general", "is not an ONNX file"),
        (toy().SerializeToString()[:-50], "is not an ONNX file"),
        (helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(), "no graph"),
    ],
    ids=["empty", "text", "truncated", "no nodes"],
)
def test_a_file_that_is_no_model_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        BinaryModel.load(path)
    must_be_one_sentence(caught.value)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        BinaryModel.load(tmp_path / "no.onnx")


def test_nodes_without_a_name_or_with_the_same_get_names_of_their_own() -> None:
    w = ModelWriter("m")
    x = w.input("x", (1, 4))
    for _ in range(4):
        x = w.node("Relu", [x])
    proto = w.finish([x])
    for node, name in zip(proto.graph.node, ("", "same", "same", "same#2"), strict=True):
        node.name = name
    names = [node.name for node in BinaryModel.of(proto, "m").proto.graph.node]
    assert names == [proto.graph.node[0].output[0], "same", "same#3", "same#2"]


@pytest.mark.parametrize("name", ["margin:x", "input:x", "output:x", "x#float"])
def test_a_value_named_as_artifacts_name_their_own_is_refused(name: str) -> None:
    w = ModelWriter("m")
    proto = w.finish([w.node("Relu", [w.input(name, (1, 4))])])
    with pytest.raises(CompileError, match="has a name that artifacts use themselves"):
        BinaryModel.of(proto, "m")


def must_be_one_sentence(error: BinasError) -> None:
    """What was found, on one line, and a way out."""
    assert "\n" not in str(error)
    assert error.hint


def test_a_model_larger_than_any_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    path.write_bytes(bytes(record.MAX_BYTES + 1))
    with pytest.raises(UsageError, match=r"is not an ONNX file|holds no graph"):
        BinaryModel.load(path)
