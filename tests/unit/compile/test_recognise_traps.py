"""What only looks like a sign, signs where no probe lies, and what costs nothing to ask."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from binas.compile.model import BinaryModel
from binas.compile.plan import plan
from binas.compile.recognise import proof, steps
from binas.core.errors import UnsupportedOpError
from tests.unit.compile.spellings import EXACT, Writer, one_layer, same_as_the_original

Array = NDArray[Any]
LIMIT_S = 2.0  # of CPU, as for fuzzing


def worked_s() -> float:
    """CPU time without the system's, which takes seconds to give a guest memory it never had."""
    return os.times().user


def window(low: float, high: float) -> Any:
    """A sign, but for a window of its operand where it says -1."""

    def spelled(w: Writer, x: str) -> str:
        x = w.node("Mul", [x, w.number(100)])
        inside = [w.node("Greater", [x, w.number(low)]), w.node("Less", [x, w.number(high)])]
        rest = EXACT["x >= 0"](w, x)
        return w.node("Where", [w.node("And", inside), w.number(-1), rest])

    return spelled


@pytest.mark.parametrize("edges", [(50, 80), (54, 55), (2000, 3000)], ids=str)
def test_a_sign_with_a_window_is_none(edges: tuple[float, float]) -> None:
    model = one_layer(window(*edges))
    x = np.random.default_rng(0).uniform(-0.99, 0.99, (1, 33, 6, 5)).astype(np.float32)
    x[0, :, 0] = (edges[0] + edges[1]) / 200
    (y,) = (port.name for port in model.outputs)
    as_written = proof.run_model(model.original, {"x": x}, [y])[y]
    np.testing.assert_allclose(proof.run_model(model.proto, {"x": x}, [y])[y], as_written)


@pytest.mark.parametrize("size", [3.0, 5000.0, 1e6])
def test_borders_per_channel_are_found_however_large_they_are(size: float) -> None:
    """Thresholds on sums of bytes, as a folded norm leaves them."""

    def spelled(w: Writer, x: str) -> str:
        borders = (w.random.standard_normal((33, 1, 1)) * size).astype(np.float32)
        large = w.node("Mul", [x, w.number(size)])
        return w.where("Greater", large, w.constant(borders), 1, -1)

    assert same_as_the_original(one_layer(spelled)).kinds["conv"][0] == "binary"


def test_a_step_that_is_not_proved_is_not_spelled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    w = Writer()
    x = w.input("x", (1, 33, 4, 4))
    proto = w.finish([w.where("GreaterOrEqual", x, w.number(0), 2, 1)])
    same_as_the_original(BinaryModel.of(proto, "m"))

    def wrong(before: Array, after: Array) -> float:
        return proof.difference(before, after + 1)

    monkeypatch.setattr(steps, "difference", wrong)
    kept = BinaryModel.of(proto, "m")
    assert [node.op_type for node in kept.proto.graph.node].count("Where") == 1


def test_a_sign_that_no_layer_reads_as_bits_needs_no_binary_layer_beside_it() -> None:
    proto = chain("Mul", 3, before=1)  # nothing in it imports our domain
    assert [node.op for node in same_as_the_original(BinaryModel.of(proto, "m")).nodes]


def chain(op: str, length: int, *, before: int | None = None) -> onnx.ModelProto:
    """One element-wise operator after another, a sign somewhere among them."""
    nodes = []
    for at in range(length):
        x, y = f"v{at}" if at else "x", f"v{at + 1}"
        if at == before:
            nodes.append(helper.make_node("Relu", [x], [f"{y}r"]))
            nodes.append(helper.make_node("Sign", [f"{y}r"], [y]))
        else:
            nodes.append(helper.make_node(op, [x, "c"], [y]))
    shape = [1, 8, 4, 4]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"v{length}", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(np.ones((), np.float32), "c")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    "proto",
    [
        chain("Mul", 2000),
        chain("Add", 1000, before=500),
        chain("Max", 300),
        chain("Sub", 300, before=0),
    ],
    ids=["products", "a sign in the middle", "maxima", "a sign at the start"],
)
def test_a_long_chain_of_elementwise_operators_is_read_in_no_time(proto: onnx.ModelProto) -> None:
    """Each of them might be the end of a sign's spelling; asking must not grow with the square."""
    BinaryModel.of(chain("Mul", 3), "m")  # whatever is imported once
    before_s = worked_s()
    BinaryModel.of(proto, "m")
    assert worked_s() - before_s < LIMIT_S


BOMBS = {
    "a small shape of something large": [
        helper.make_node("ConstantOfShape", ["sizes"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["r"], keepdims=0),
    ],
    "a product of products": [
        helper.make_node("Expand", ["one", "square"], ["a"]),
        *(helper.make_node("MatMul", ["a", "a"], [f"p{at}"]) for at in range(30)),
        helper.make_node("Sum", [f"p{at}" for at in range(30)], ["q"]),
        helper.make_node("ReduceSum", ["q"], ["r"], keepdims=0),
    ],
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_constants_that_are_traps_are_not_computed(bomb: str) -> None:
    graph = helper.make_graph(
        [*BOMBS[bomb], helper.make_node("Mul", ["x", "r"], ["y"])],
        "bomb",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 4, 4])],
        [
            onnx.numpy_helper.from_array(np.array([8, 8, 1024, 900], np.int64), "sizes"),
            onnx.numpy_helper.from_array(np.array([1500, 1500], np.int64), "square"),
            onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "one"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before_s = worked_s()
    model = BinaryModel.of(proto, "m")
    assert worked_s() - before_s < LIMIT_S
    assert sum(len(tensor.raw_data) for tensor in model.proto.graph.initializer) < 64 << 20
    with pytest.raises(UnsupportedOpError):
        plan(model)


def test_weights_that_the_file_spells_with_few_bytes_are_computed() -> None:
    """Eight weights in a byte become eight floats: 32 times the size."""
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (1, 1024, 2, 2)))
    octets = w.constant(w.random.integers(0, 256, (1024, 1024, 1, 1), dtype=np.uint8))
    shifts = w.constant(np.arange(8, dtype=np.uint8))
    shifted = w.node("BitShift", [octets, shifts], direction="RIGHT")
    ones = w.node("BitwiseAnd", [shifted, w.constant(np.array([1], np.uint8))])
    flat = w.node("Reshape", [ones, w.constant(np.array([1024, 1024, 4, 2], np.int64))])
    zeros_and_ones = w.node("Cast", [flat], to=TensorProto.FLOAT)
    signs = w.node("Sub", [w.node("Mul", [zeros_and_ones, w.number(2)]), w.number(1)])
    y = w.node("Conv", [x, signs], name="conv", pads=[1, 0, 2, 1])
    assert same_as_the_original(BinaryModel.of(w.finish([y]), "m")).kinds["conv"][0] == "binary"
