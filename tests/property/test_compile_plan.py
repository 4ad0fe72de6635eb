"""Random small networks: the fused plan means what onnxruntime makes of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from binas.compile import truth
from binas.compile.memory import plan_memory
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import import_model, plan
from binas.core import bits

CHANNELS = (1, 16, 31, 32, 33, 64)
STEPS = (
    "binary",
    "grouped",
    "conv",
    "depthwise",
    "norm",
    "relu",
    "prelu",
    "add",
    "sign",
    "max pool",
    "average pool",
    "concat",
    "shuffle",
    "slice",
    "pad",
    "shift",
)


class Grower:
    """A network that grows by one operator at a time, each on values drawn at random."""

    def __init__(self, data: st.DataObject, seed: int) -> None:
        self._data, self._random = data, np.random.default_rng(seed)
        self.writer = ModelWriter("random")
        C = self._pick(CHANNELS)
        self._shapes = {self.writer.input("x", (1, C, 5, 5)): (C, 5)}

    def _pick(self, options: Any) -> Any:
        return self._data.draw(st.sampled_from(list(options)))

    def _numbers(self, *shape: int) -> NDArray[np.float32]:
        return self._random.standard_normal(shape).astype(np.float32)

    def _per_channel(self, C: int) -> str:
        return self.writer.constant(self._numbers(C, 1, 1))

    def _weights(self, *shape: int) -> NDArray[np.float32]:
        return np.where(self._numbers(*shape) >= 0, np.float32(1), np.float32(-1))

    def grow(self) -> None:
        """One more operator."""
        x = self._pick(self._shapes)
        step = self._pick(STEPS)
        kept = self._elementwise(step, x)
        if kept is not None:
            self._shapes[kept] = self._shapes[x]
        elif step == "binary" or (step == "grouped" and self._shapes[x][0] == 64):
            self._binary(x, 2 if step == "grouped" else 1)
        else:
            self._other(step, x)

    def _elementwise(self, step: str, x: str) -> str | None:
        """An operator that keeps the shape, if `step` is one."""
        w, C = self.writer, self._shapes[x][0]
        if step == "norm":
            arrays = [self._numbers(C) for _ in range(3)] + [np.abs(self._numbers(C)) + 0.1]
            return w.node("BatchNormalization", [x, *map(w.constant, arrays)])
        if step == "add":
            alike = [name for name, shape in self._shapes.items() if shape == self._shapes[x]]
            return w.node("Add", [x, self._pick(alike)])
        if step == "prelu":
            return w.node("PRelu", [x, self._per_channel(C)])
        if step == "shift":
            return w.node("Sub", [self._per_channel(C), x])
        if step == "relu":
            return w.node("Relu", [x])
        return w.binary_quantize(x) if step == "sign" else None

    def _other(self, step: str, x: str) -> None:
        """An operator that changes the shape."""
        w, (C, size) = self.writer, self._shapes[x]
        if step == "conv":
            K = self._pick((1, 8, 33))
            y = w.node("Conv", [x, w.constant(self._numbers(K, C, 1, 1))])
            self._shapes[y] = (K, size)
        elif step == "depthwise":
            w3 = w.constant(self._numbers(C, 1, 3, 3))
            y = w.node("Conv", [x, w3], group=C, pads=[1, 1, 1, 1])
            self._shapes[y] = (C, size)
        elif step.endswith("pool") and size > 2:
            op = "MaxPool" if step == "max pool" else "AveragePool"
            y = w.node(op, [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
            self._shapes[y] = (C, (size - 1) // 2 + 1)
        elif step == "concat":
            other = self._pick([name for name, shape in self._shapes.items() if shape[1] == size])
            total = C + self._shapes[other][0]
            self._shapes[w.node("Concat", [x, other], axis=1)] = (total, size)
        elif step == "shuffle":
            groups = self._pick(n for n in (1, 2, 3, 4, C) if C % n == 0)
            apart, whole = (
                np.array([1, groups, C // groups, size, size]),
                np.array([1, C, size, size]),
            )
            y = w.node(
                "Transpose", [w.node("Reshape", [x, w.constant(apart)])], perm=[0, 2, 1, 3, 4]
            )
            self._shapes[w.node("Reshape", [y, w.constant(whole)])] = (C, size)
        elif step == "slice" and C > 1:
            first = self._pick((0, 1))
            bounds = [w.constant(np.array([bound])) for bound in (first, first + C - 1, 1)]
            self._shapes[w.node("Slice", [x, *bounds])] = (C - 1, size)
        elif step == "pad":
            pads = w.constant(np.array([0, 0, 0, 0, 0, 9, 0, 0]))
            self._shapes[w.node("Pad", [x, pads])] = (C + 9, size)

    def _binary(self, x: str, groups: int) -> None:
        C, size = self._shapes[x]
        K, stride = self._pick((2, 32, 34, 64)), self._pick((1, 2))
        scale, bias = self._numbers(2, K)
        y = self.writer.binary_conv2d(
            self.writer.binary_quantize(x),
            self._weights(K, 3, 3, C // groups),
            scale=scale * self._pick((0.0, 0.1, 1.0)),
            bias=bias,
            group=groups,
            pads=(1, 1, 1, 1),
            strides=(stride, stride),
            pad_value=self._pick((0, 1, -1)),
        )
        self._shapes[y] = (K, (size - 1) // stride + 1)

    def finish(self) -> BinaryModel | None:
        """The model, some of its values as outputs; None while nothing has grown."""
        made = [name for name in self._shapes if name != "x"]
        if not made:
            return None
        others = self._data.draw(st.sets(st.sampled_from(made), max_size=2))
        outputs = dict.fromkeys([made[-1], *sorted(others)])
        return BinaryModel.of(self.writer.finish(list(outputs)), "random")


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.data(), st.integers(0, 2**32 - 1), st.integers(1, 14))
def test_a_fused_plan_means_what_the_file_means(data: st.DataObject, seed: int, steps: int) -> None:
    grower = Grower(data, seed)
    for _ in range(steps):
        grower.grow()
    model = grower.finish()
    if model is None:
        return
    plain, fused = import_model(model), plan(model)
    assert len(fused.nodes) <= len(plain.nodes)
    assert fused.outputs == plain.outputs
    assert fused.kinds == plain.kinds
    plan_memory(fused)
    for graph in (plain, fused):
        reference = truth.taps(model, graph, truth.fixed_input(model))
        for name, got in truth.meanings(graph, reference).items():
            expected = reference[name]
            if graph.values[name].dtype == "bits":
                far = reference[f"margin:{name}"] > 1e-5
                channels = graph.values[name].shape[3]
                differs = bits.unpack(got, channels) != bits.unpack(expected, channels)
                assert not (differs & far).any(), name
            else:
                limit = 1e-5 * max(1.0, float(np.abs(expected).max()))
                np.testing.assert_allclose(got, expected, rtol=0, atol=limit)
