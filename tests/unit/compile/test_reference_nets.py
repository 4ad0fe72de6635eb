"""The field's networks as their authors' code exports them, at small widths: every block form once.

Bi-Real-18, ReActNet-A, XNOR-Net, a QuickNet and a MeliusNet; all but the stem, the shortcuts and
the head become binary, and the plan gives what onnxruntime makes of the file as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from binas.compile.model import BinaryModel
from tests.unit.compile.spellings import EXACT, Writer, estimator, larq, same_as_the_original


def norm(w: Writer, x: str, C: int) -> str:
    """BatchNormalization with statistics as training leaves them."""
    arrays = [w.random.uniform(-1, 1, C), w.random.uniform(-1, 1, C)]
    arrays += [w.random.uniform(-1, 1, C), w.random.uniform(0.5, 2, C)]
    return w.node("BatchNormalization", [x, *(w.constant(array) for array in arrays)])


def conv(w: Writer, x: str, C: int, K: int, R: int = 3, stride: int = 1, group: int = 1) -> str:
    """A real convolution, padded to the same size."""
    weights = w.constant(w.random.standard_normal((K, C // group, R, R)) / R)
    return w.node("Conv", [x, weights], pads=[R // 2] * 4, strides=[stride] * 2, group=group)


def binary(w: Writer, x: str, C: int, K: int, R: int = 3, stride: int = 1) -> str:
    """A convolution with weights ±s per channel, as an exporter folds them."""
    s = w.random.uniform(0.1, 1, (K, 1, 1, 1)).astype(np.float32)
    weights = w.constant(w.ones(K, C, R, R) * s)
    return w.node(
        "Conv", [x, weights], pads=[R // 2] * 4, strides=[stride] * 2, name=w.unused("binary")
    )


def head(w: Writer, x: str, C: int) -> str:
    """Global average, flatten, a dense layer."""
    x = w.node("Flatten", [w.node("GlobalAveragePool", [x])])
    return w.node("Gemm", [x, w.constant(w.random.standard_normal((C, 5)))], name="head")


def birealnet(w: Writer) -> str:
    """Bi-Real-18 (Liu et al. 2018): a shortcut around every binary convolution; stages of two."""
    C = 8
    x = norm(w, conv(w, w.input("x", (1, 3, 32, 32)), 3, C, 7, 2), C)
    x = w.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for K in (8, 16, 31, 33):
        for block in range(4):
            stride = 2 if block == 0 and C != K else 1
            y = norm(w, binary(w, w.node("Sign", [x]), C, K, stride=stride), K)
            if C != K:
                pooled = w.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
                x = norm(w, conv(w, pooled, C, K, 1), K)
            x, C = w.node("Add", [y, x]), K
    return head(w, x, C)


def reactnet(w: Writer) -> str:
    """ReActNet-A (Liu et al. 2020): shifted signs and PReLUs, channels doubled by a second 1x1."""
    C = 16
    x = norm(w, conv(w, w.input("x", (1, 3, 16, 16)), 3, C, 3, 2), C)

    def rsign(x: str, C: int) -> str:
        return estimator(w, w.node("Add", [x, w.channels(C)]))

    def rprelu(x: str, C: int) -> str:
        x = w.node("Add", [x, w.channels(C)])
        return w.node("Add", [w.node("PRelu", [x, w.channels(C)]), w.channels(C)])

    for K, stride in ((32, 1), (32, 1), (64, 2)):
        y = norm(w, binary(w, rsign(x, C), C, C, 3, stride), C)
        if stride == 2:
            x = w.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        x = rprelu(w.node("Add", [y, x]), C)
        signed = rsign(x, C)
        halves = []
        for _ in range(K // C):
            y = norm(w, binary(w, signed, C, C, 1), C)
            halves.append(rprelu(w.node("Add", [y, x]), C))
        x, C = (w.node("Concat", halves, axis=1) if len(halves) > 1 else halves[0]), K
    return head(w, x, C)


def xnornet(w: Writer) -> str:
    """XNOR-Net (Rastegari et al. 2016), AlexNet's form: norm, sign, convolution, ReLU, pool."""
    x = conv(w, w.input("x", (1, 3, 67, 67)), 3, 16, 11, 4)
    x = w.node("Relu", [norm(w, x, 16)])
    x = w.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    for C, K, R, pooled in ((16, 33, 5, True), (33, 48, 3, False), (48, 32, 3, True)):
        x = w.node("Relu", [binary(w, EXACT["x >= 0"](w, norm(w, x, C)), C, K, R)])
        if pooled:
            x = w.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = norm(w, x, 32)
    for F, K in ((32 * 4, 65), (65, 63)):
        x = w.node("Flatten", [x])
        x = EXACT["x >= 0"](w, x)
        weights = w.constant(w.ones(F, K) * w.random.uniform(0.1, 1, K).astype(np.float32))
        x = w.node("MatMul", [x, weights], name=w.unused("binary"))
        x = w.node("Relu", [w.node("Add", [x, w.constant(w.random.standard_normal(K))])])
        x = w.node("Sub", [x, w.number(1.5)])
    return w.node("Gemm", [x, w.constant(w.random.standard_normal((63, 5)))], name="head")


def quicknet(w: Writer) -> str:
    """QuickNet (Bannink et al. 2021): one-padding, ReLU first, blur pools; norms as Mul, Add."""
    C = 32
    x = norm(w, conv(w, w.input("x", (1, 3, 16, 16)), 3, C, 3, 2), C)
    pads = w.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    for K in (32, 65):
        if C != K:
            x = w.node("MaxPool", [w.node("Relu", [x])], kernel_shape=[3, 3], pads=[1] * 4)
            x = norm(w, conv(w, conv(w, x, C, C, 3, 2, group=C), C, K, 1), K)
        for _ in range(2):
            signed = w.node("Pad", [larq(w, x), pads, w.number(1)])
            weights = w.constant(w.ones(K, K, 3, 3))
            y = w.node("Conv", [signed, weights], name=w.unused("binary"))
            y = w.node("Add", [w.node("Mul", [w.node("Relu", [y]), w.channels(K)]), w.channels(K)])
            x = w.node("Add", [x, y])
        C = K
    return head(w, x, C)


def meliusnet(w: Writer) -> str:
    """MeliusNet (Bethge et al. 2020): dense blocks widen, improvement blocks mend the new part."""
    C, grown = 33, 32
    x = norm(w, conv(w, w.input("x", (1, 3, 12, 12)), 3, C, 3, 2), C)
    edges = [w.constant(np.array([value], np.int64)) for value in (0, 1, 2**31 - 1)]
    for _ in range(2):
        new = binary(w, EXACT["x >= 0"](w, norm(w, x, C)), C, grown)
        x, old, C = w.node("Concat", [x, new], axis=1), C, C + grown
        better = binary(w, EXACT["x >= 0"](w, norm(w, x, C)), C, grown)
        border = w.constant(np.array([old], np.int64))
        first = w.node("Slice", [x, edges[0], border, edges[1]])
        last = w.node("Slice", [x, border, edges[2], edges[1]])
        x = w.node("Concat", [first, w.node("Add", [last, better])], axis=1)
    return head(w, w.node("Relu", [norm(w, x, C)]), C)


NETS: dict[str, Callable[[Writer], str]] = {
    "Bi-Real-18": birealnet,
    "ReActNet-A": reactnet,
    "XNOR-Net": xnornet,
    "QuickNet": quicknet,
    "MeliusNet": meliusnet,
}


@pytest.mark.parametrize("name", NETS)
def test_a_network_of_the_field_becomes_binary_and_stays_the_same(name: str) -> None:
    w = Writer()
    model = BinaryModel.of(w.finish([NETS[name](w)]), name)
    graph = same_as_the_original(model, zeros=False)
    kinds = {layer: kind for layer, (kind, _) in graph.kinds.items()}
    named = {layer for layer in kinds if layer.startswith("binary")}
    assert {layer for layer, kind in kinds.items() if kind == "binary"} == named
    assert len(named) >= 4
