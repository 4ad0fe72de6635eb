"""Signs as other tools spell them: bits where nothing changes, left float where it would.

Every network is judged twice: what the layer became, and whether the fused plan of the rewritten
model gives what onnxruntime makes of the file as it was.
"""

from __future__ import annotations

import pytest

from binas.compile.model import BinaryModel
from binas.compile.plan import plan
from binas.core import bits
from tests.unit.compile.spellings import (
    EXACT,
    Array,
    Spelling,
    Writer,
    one_layer,
    same_as_the_original,
)


@pytest.mark.parametrize("spelling", EXACT)
def test_a_sign_is_recognised_however_it_is_spelled(spelling: str) -> None:
    model = one_layer(EXACT[spelling])
    graph = same_as_the_original(model)
    assert graph.kinds["conv"] == ("binary", "both operands are one bit")
    assert not model.notes


def test_sign_of_zero_is_told_and_taken_where_no_zero_comes() -> None:
    model = one_layer(lambda w, x: w.node("Sign", [x]))
    assert same_as_the_original(model, zeros=False).kinds["conv"][0] == "binary"
    assert model.notes["conv"].startswith("Sign of exactly 0 was 0 and is +1 now (none of 990 ")


def test_sign_stays_float_where_zeros_come() -> None:
    """Sums of ±1 over an even number of taps are often 0, and Sign of 0 is no bit."""

    def signed_sums(w: Writer, x: str) -> str:
        bipolar = w.where("GreaterOrEqual", x, w.number(0), 1, -1)
        sums = w.node("Conv", [bipolar, w.constant(w.ones(34, 33, 1, 2))], name="first")
        return w.node("Sign", [sums])

    model = one_layer(signed_sums, Writer().ones(7, 34, 1, 1), pads=[0] * 4)
    graph = same_as_the_original(model)
    assert graph.kinds["first"][0] == "binary"
    kind, reason = graph.kinds["conv"]
    assert kind == "float"
    assert "Sign gives 0 for" in reason
    assert "Where(x >= 0, 1, -1)" in reason


# What looks like a sign from near is none from afar, or takes other values than -s and +s.
NOT_BITS: dict[str, tuple[Spelling, str]] = {
    "zero or one": (
        lambda w, x: w.where("GreaterOrEqual", x, w.number(0), 1, 0),
        "the values 0 and 1",
    ),
    "the sign of a relu": (
        lambda w, x: w.node("Sign", [w.node("Relu", [x])]),
        "the values 0 and 1",
    ),
    "the relu of a sign": (
        lambda w, x: w.node("Relu", [w.where("GreaterOrEqual", x, w.number(0), 1, -1)]),
        "the values 0 and 1",
    ),
    "one and two": (lambda w, x: w.where("Greater", x, w.number(0), 2, 1), "the values 1 and 2"),
    "zero from a border on": (
        lambda w, x: w.where("GreaterOrEqual", x, w.number(0.3), 1, 0),
        "the values 0 and 1",
    ),
}


@pytest.mark.parametrize("spelling", NOT_BITS)
def test_steps_that_are_no_bits_stay_float_with_their_reason(spelling: str) -> None:
    spelled, said = NOT_BITS[spelling]
    kind, reason = same_as_the_original(one_layer(spelled)).kinds["conv"]
    assert kind == "weight-binary"
    assert said in reason


def test_a_layer_without_a_sign_before_it_says_what_it_reads() -> None:
    def averaged(w: Writer, x: str) -> str:
        return w.node("AveragePool", [EXACT["x >= 0"](w, x)], kernel_shape=[2, 2], name="blur")

    reason = "its activations are of AveragePool 'blur', not quantized; a sign before it makes"
    assert one_layer(averaged).reasons["conv"].startswith(reason)
    assert "the network's input, not quantized" in one_layer(lambda _, x: x).reasons["conv"]


def test_activations_with_a_scale_per_channel_are_no_bits_and_say_so() -> None:
    def scaled(w: Writer, x: str) -> str:
        return w.node("Mul", [EXACT["x >= 0"](w, x), w.channels(33)])

    graph = same_as_the_original(one_layer(scaled))
    kind, reason = graph.kinds["conv"]
    assert kind == "weight-binary"
    assert "±s with another s per channel" in reason


def test_ternary_activations_are_not_taken_for_bits() -> None:
    def ternary(w: Writer, x: str) -> str:
        upper = w.where("Greater", x, w.number(0.5), 1, 0)
        return w.node("Sub", [upper, w.where("Less", x, w.number(-0.5), 1, 0)])

    model = one_layer(ternary)
    assert "the values -1, 0, 1; only -s and +s" in model.reasons["conv"]
    assert all(node.op_type != "BinaryQuantize" for node in model.proto.graph.node[:1])


def test_layers_that_read_one_sign_share_its_bits() -> None:
    w = Writer()
    x = EXACT["x >= 0"](w, w.input("x", (1, 33, 4, 4)))
    ys = [w.node("Conv", [x, w.constant(w.ones(33, 33, 1, 1))], name=f"c{at}") for at in range(3)]
    model = BinaryModel.of(w.finish([w.node("Add", [w.node("Add", ys[:2]), ys[2]])]), "m")
    same_as_the_original(model)
    assert [n.op_type for n in model.proto.graph.node].count("BinaryQuantize") == 1


def test_a_sign_with_other_readers_stays_for_them() -> None:
    w = Writer()
    x = EXACT["x > 0"](w, w.input("x", (1, 33, 4, 4)))
    y = w.node("Conv", [x, w.constant(w.ones(33, 33, 1, 1))], name="conv")
    graph = same_as_the_original(BinaryModel.of(w.finish([w.node("Add", [x, y])]), "m"))
    assert graph.kinds["conv"][0] == "binary"


def test_a_rewrite_that_would_change_the_result_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proof is what decides: let the weights be packed wrong, and the layer stays float."""
    from binas.compile.recognise import contract

    def wrong(values: Array) -> Array:
        return ~bits.pack_bytes(values)

    class Wrong:
        pack_bytes = staticmethod(wrong)

    monkeypatch.setattr(contract, "bits", Wrong)
    model = one_layer(EXACT["x >= 0"])
    assert "as one bit it would differ by" in model.reasons["conv"]
    monkeypatch.undo()
    assert plan(model).kinds["conv"][0] == "float"
