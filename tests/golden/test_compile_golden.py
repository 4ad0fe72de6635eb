"""What a cell becomes, and the plan of a toy as C: refreshed with --snapshot-update."""

from __future__ import annotations

import numpy as np
from syrupy.assertion import SnapshotAssertion

from binas.compile.build import plan_layers
from binas.compile.memory import plan_memory
from binas.compile.model import BinaryModel, ModelWriter
from binas.compile.plan import plan
from binas.compile.plan_source import Call, plan_source


class Cell(ModelWriter):
    """A writer with the two blocks of which cells of BARS are made."""

    def norm(self, x: str, C: int) -> str:
        """A batch norm."""
        arrays = (np.ones(C), np.zeros(C), np.zeros(C), np.ones(C))
        return self.node("BatchNormalization", [x, *map(self.constant, arrays)])

    def conv(self, x: str, C: int, K: int, stride: int = 1) -> str:
        """Batch norm, sign, binary convolution."""
        return self.binary_conv2d(
            self.binary_quantize(self.norm(x, C)),
            np.ones((K, 3, 3, C)),
            scale=np.ones(K),
            bias=np.zeros(K),
            pads=(1, 1, 1, 1),
            strides=(stride, stride),
        )


def cell() -> BinaryModel:
    """Stem, a normal cell with shortcuts, a reduction with a pool, a classifier."""
    w = Cell("cell")
    stem = w.node("Conv", [w.input("x", (1, 3, 16, 16)), w.constant(np.ones((32, 3, 3, 3)))])
    stem = w.norm(stem, 32)
    a = w.node("Add", [w.conv(stem, 32, 32), stem])
    b = w.node("Add", [w.conv(stem, 32, 32), w.conv(a, 32, 32)])
    b = w.node("Add", [b, a])
    joined = w.node("Concat", [a, b], axis=1)
    pooled = w.node("MaxPool", [joined], kernel_shape=[2, 2], strides=[2, 2])
    reduced = w.node("Add", [w.conv(joined, 64, 64, stride=2), pooled])
    mean = w.node("GlobalAveragePool", [w.node("Relu", [w.norm(reduced, 64)])])
    head = [w.node("Flatten", [mean]), w.constant(np.ones((64, 10))), w.constant(np.ones(10))]
    return BinaryModel.of(w.finish([w.node("Gemm", head)]), "cell")


def test_the_fused_plan_of_a_cell(snapshot: SnapshotAssertion) -> None:
    lines = [f"{name}: {layer}" for name, layer in plan_layers(cell())]
    assert "\n".join(lines) == snapshot


def test_the_plan_of_a_toy_as_c(snapshot: SnapshotAssertion) -> None:
    w = Cell("toy")
    x = w.input("x", (1, 32, 4, 4))
    y = w.node("Add", [w.conv(x, 32, 32), x])
    graph = plan(BinaryModel.of(w.finish([y]), "toy"))
    calls = [Call(node, f"kernel_{i}", 4, 2, (64 * i,)) for i, node in enumerate(graph.nodes)]
    assert plan_source(graph, calls, plan_memory(graph), bytes(range(64))) == snapshot
