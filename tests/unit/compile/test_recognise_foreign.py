"""Operators of other tools' own domains, and functions that a file brings along."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from binas.compile.model import BinaryModel
from tests.unit.compile.spellings import Array, same_as_the_original


def foreign(domain: str, body: list[onnx.NodeProto], *constants: tuple[str, Array]) -> BinaryModel:
    """A model with operators of another tool's domain."""
    w = np.where(np.random.default_rng(0).random((7, 33, 3, 3)) < 0.5, -1.0, 1.0)
    tensors = {"w": w.astype(np.float32), **dict(constants)}
    graph = helper.make_graph(
        [*body, helper.make_node("Conv", ["q", "v"], ["y"], name="conv", pads=[1, 1, 1, 1])],
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 33, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 7, 6, 5])],
        [onnx.numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    return BinaryModel.of(helper.make_model(graph, opset_imports=opsets, ir_version=8), "m")


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
def test_bipolar_quant_of_qonnx_is_a_sign_with_a_scale(domain: str) -> None:
    body = [
        helper.make_node("BipolarQuant", ["x", "sx"], ["q"], domain=domain),
        helper.make_node("BipolarQuant", ["w", "sw"], ["v"], domain=domain),
    ]
    model = foreign(domain, body, ("sx", np.array(0.5)), ("sw", np.full((7, 1, 1, 1), 0.1)))
    assert same_as_the_original(model).kinds["conv"][0] == "binary"


def test_fake_quantize_of_two_levels_is_a_sign() -> None:
    """As NNCF writes it: both ends of the input range at the border."""
    domain = "org.openvinotoolkit"
    body = [
        helper.make_node(
            "FakeQuantize", ["x", "t", "t", "low", "high"], ["q"], domain=domain, levels=2
        ),
        helper.make_node("Identity", ["w"], ["v"]),
    ]
    border = np.random.default_rng(1).standard_normal((1, 33, 1, 1))
    limits = ("t", border), ("low", np.array(-1.0)), ("high", np.array(1.0))
    assert same_as_the_original(foreign(domain, body, *limits)).kinds["conv"][0] == "binary"


def test_functions_of_the_file_are_inlined() -> None:
    """What an exporter keeps as a function is read like its body."""
    domain = "local"
    text = f"""<domain: "{domain}", opset_import: ["" : 17]> MySign (x) => (y) {{
      zero = Constant <value_float: float = 0.0> ()
      one = Constant <value_float: float = 1.0> ()
      minus = Constant <value_float: float = -1.0> ()
      c = GreaterOrEqual (x, zero)
      y = Where (c, one, minus)
    }}"""
    w = np.ones((1, 33, 1, 1), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MySign", ["x"], ["q"], domain=domain),
            helper.make_node("Conv", ["q", "w"], ["y"], name="conv"),
        ],
        "functions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 33, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 2])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    proto.functions.append(onnx.parser.parse_function(text))
    assert same_as_the_original(BinaryModel.of(proto, "m")).kinds["conv"][0] == "binary"
