"""How other tools spell what is one bit, and what a plan of theirs must still compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from binas.compile.graph import Graph
from binas.compile.kernels import family
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import plan
from binas.compile.recognise import proof

Array = NDArray[Any]


class Writer(ModelWriter):
    """A writer with numbers at hand."""

    def __init__(self) -> None:
        super().__init__("spelled")
        self.random = np.random.default_rng(0)

    def unused(self, stem: str) -> str:
        """A name that nobody has."""
        return self._fresh(stem)

    def number(self, value: float) -> str:
        """A scalar constant."""
        return self.constant(np.array(value, np.float32))

    def ones(self, *shape: int) -> Array:
        """±1."""
        return np.where(self.random.random(shape) < 0.5, np.float32(1), np.float32(-1))

    def channels(self, C: int) -> str:
        """A number per channel, of both signs."""
        return self.constant(self.random.standard_normal((C, 1, 1)).astype(np.float32))

    def where(self, comparison: str, x: str, border: str, yes: float, no: float) -> str:
        """Where(x <comparison> border, yes, no)."""
        condition = self.node(comparison, [x, border])
        return self.node("Where", [condition, self.number(yes), self.number(no)])


def run_plan(graph: Graph, model: BinaryModel, feeds: dict[str, Array]) -> list[Array]:
    """The outputs that numpy makes of the fused plan, [N, H, W, C] each."""
    values: dict[str, Array] = {}
    for name in graph.inputs:
        x = feeds[name]
        image = x if graph.values[name].channels_last else np.moveaxis(x, 1, -1)
        values[name] = image.reshape(graph.values[name].shape)
    for node in graph.nodes:
        results = family.meaning(node, [values[name] for name in node.reads])
        values.update(zip(node.writes, results, strict=True))
    return [values[name] for name in graph.outputs]


def feeds_of(model: BinaryModel, *, zeros: bool) -> dict[str, Array]:
    """An input with exact zeros of both signs, or with none."""
    random = np.random.default_rng(1)
    found = {}
    for port in model.inputs:
        x = random.standard_normal(port.shape).astype(np.float32)
        if zeros:
            x[random.random(port.shape) < 0.2] = 0.0
            x[random.random(port.shape) < 0.2] = -0.0
        found[port.name] = x
    return found


def same_as_the_original(model: BinaryModel, *, zeros: bool = True) -> Graph:
    """The plan, which must give what onnxruntime makes of the file before recognition."""
    graph = plan(model)
    feeds = feeds_of(model, zeros=zeros)
    names = [port.name for port in model.outputs]
    expected = proof.run_model(model.original, feeds, names)
    for at, (name, got) in enumerate(zip(names, run_plan(graph, model, feeds), strict=True)):
        image = got if at in graph.outputs_last else np.moveaxis(got, -1, 1)
        np.testing.assert_allclose(
            image.reshape(expected[name].shape), expected[name], rtol=1e-5, atol=1e-5
        )
    return graph


Spelling = Callable[[Writer, str], str]


def floats(w: Writer, condition: str) -> str:
    """A truth value as 0.0 or 1.0."""
    return w.node("Cast", [condition], to=TensorProto.FLOAT)


def estimator(w: Writer, x: str) -> str:
    """ReActNet's BinaryActivation as exported: sign(x) - out3 + out3."""
    square = w.node("Mul", [x, x])
    double = w.node("Mul", [x, w.number(2)])
    left, right = w.node("Add", [square, double]), w.node("Sub", [double, square])
    negative = floats(w, w.node("Less", [x, w.number(0)]))
    positive = w.node("Sub", [w.number(1), negative])
    middle = w.node("Add", [w.node("Mul", [left, negative]), w.node("Mul", [right, positive])])
    below = floats(w, w.node("Less", [x, w.number(-1)]))
    inside = w.node("Sub", [w.number(1), below])
    low = w.node("Sub", [w.node("Mul", [middle, inside]), below])
    above = floats(w, w.node("Greater", [x, w.number(1)]))
    rest = w.node("Sub", [w.number(1), above])
    out3 = w.node("Add", [w.node("Mul", [low, rest]), above])
    forward = w.where("GreaterOrEqual", x, w.number(0), 1, -1)
    return w.node("Add", [w.node("Sub", [forward, out3]), out3])


def larq(w: Writer, x: str) -> str:
    """Larq's ste_sign."""
    return w.node("Sign", [w.node("Add", [w.node("Sign", [x]), w.number(0.1)])])


# All of them say what happens at 0, so the results are equal there, too.
EXACT: dict[str, Spelling] = {
    "x >= 0": lambda w, x: w.where("GreaterOrEqual", x, w.number(0), 1, -1),
    "x > 0": lambda w, x: w.where("Greater", x, w.number(0), 1, -1),
    "x < 0 is -1": lambda w, x: w.where("Less", x, w.number(0), -1, 1),
    "x <= 0 is -1": lambda w, x: w.where("LessOrEqual", x, w.number(0), -1, 1),
    "0 <= x": lambda w, x: w.node(
        "Where", [w.node("LessOrEqual", [w.number(0), x]), w.number(1), w.number(-1)]
    ),
    "not x < 0": lambda w, x: w.node(
        "Where", [w.node("Not", [w.node("Less", [x, w.number(0)])]), w.number(1), w.number(-1)]
    ),
    "upside down": lambda w, x: w.where("GreaterOrEqual", x, w.number(0), -1, 1),
    "scaled by 0.25": lambda w, x: w.where("GreaterOrEqual", x, w.number(0), 0.25, -0.25),
    "a border of 0.3": lambda w, x: w.where("GreaterOrEqual", x, w.number(0.3), 1, -1),
    "above a border per channel": lambda w, x: w.where("Greater", x, w.channels(33), 1, -1),
    "ste_sign": larq,
    "twice a truth minus one": lambda w, x: w.node(
        "Sub",
        [
            w.node("Mul", [floats(w, w.node("GreaterOrEqual", [x, w.number(0)])), w.number(2)]),
            w.number(1),
        ],
    ),
    "a sign plus its zeros": lambda w, x: w.node(
        "Add", [w.node("Sign", [x]), floats(w, w.node("Equal", [x, w.number(0)]))]
    ),
    "an estimator left inside": estimator,
    "behind a hard tanh": lambda w, x: w.where(
        "GreaterOrEqual", w.node("Clip", [x, w.number(-1), w.number(1)]), w.number(0), 1, -1
    ),
    "a learned shift before": lambda w, x: w.where(
        "GreaterOrEqual", w.node("Add", [x, w.channels(33)]), w.number(0), 1, -1
    ),
    "negated twice": lambda w, x: w.node(
        "Neg", [w.where("GreaterOrEqual", w.node("Neg", [x]), w.number(0), 1, -1)]
    ),
    "through an Identity": lambda w, x: w.node(
        "Identity", [w.where("GreaterOrEqual", w.node("Identity", [x]), w.number(0), 1, -1)]
    ),
}


def one_layer(spelled: Spelling, weights: Array | None = None, **attributes: Any) -> BinaryModel:
    """A convolution named `conv` of 33 channels whose activations are spelled so."""
    w = Writer()
    x = w.input("x", (1, 33, 6, 5))
    kernel = w.constant(w.ones(7, 33, 3, 3) if weights is None else weights)
    attributes.setdefault("pads", [1, 1, 1, 1])
    y = w.node("Conv", [spelled(w, x), kernel], name="conv", **attributes)
    return BinaryModel.of(w.finish([y]), "m")
