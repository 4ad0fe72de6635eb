"""Models at the corners of what is compiled: widths around the word, every padding, odd graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.model import ModelWriter

Array = NDArray[Any]
STRADDLING = (1, 31, 32, 33, 63, 65, 127, 129)


class Corner(ModelWriter):
    """A writer with random weights, the same on every run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._random = np.random.default_rng(len(name))

    def numbers(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self._random.standard_normal(shape).astype(np.float32)

    def conv(self, x: str, C: int, K: int, size: int = 3, **fields: Any) -> str:
        """A binary convolution of x's sign; padded to the same size unless told otherwise."""
        w = np.where(self.numbers(K, size, size, C // fields.get("group", 1)) >= 0, 1.0, -1.0)
        fields.setdefault("pads", (size // 2,) * 4)
        fields.setdefault("scale", np.full(K, 0.1))
        fields.setdefault("bias", self.numbers(K))
        quantized = x if x in fields.pop("as_is", ()) else self.binary_quantize(x)
        return self.binary_conv2d(quantized, w, **fields)

    def norm(self, x: str, C: int, *, gamma: Array | None = None) -> str:
        """A batch norm; its scales have both signs and one is 0."""
        scale = self.numbers(C) if gamma is None else gamma
        scale[C // 2] = 0
        arrays = (scale, self.numbers(C), self.numbers(C), np.abs(self.numbers(C)) + 0.1)
        return self.node("BatchNormalization", [x, *map(self.constant, arrays)], epsilon=1e-5)

    def relu(self, x: str) -> str:
        """Relu."""
        return self.node("Relu", [x])

    def add(self, x: str, y: str) -> str:
        """A sum."""
        return self.node("Add", [x, y])

    def pool(self, x: str, op: str = "MaxPool") -> str:
        """A 2x2 pool."""
        return self.node(op, [x], kernel_shape=[2, 2], strides=[2, 2])

    def halves(self, x: str) -> list[str]:
        """The first and the last channels."""
        first = self.node("Split", [x], axis=1, num_outputs=2)
        self._nodes[-1].output.append(f"{first}1")
        return list(self._nodes[-1].output)

    def shuffle(self, x: str, *shape: int) -> str:
        """The channels of N, C, H, W dealt out in two groups."""
        (N, C, H, W), whole = shape, np.array(shape)
        apart = self.node("Reshape", [x, self.constant(np.array([N, 2, C // 2, H, W]))])
        dealt = self.node("Transpose", [apart], perm=[0, 2, 1, 3, 4])
        return self.node("Reshape", [dealt, self.constant(whole)])

    def dense(self, x: str, features: int, K: int) -> str:
        """A dense layer."""
        return self.node(
            "Gemm", [x, self.constant(self.numbers(features, K)), self.constant(self.numbers(K))]
        )


def channels_around_the_word() -> tuple[Corner, list[str]]:
    """One binary convolution after another, from each number of channels to the next."""
    w = Corner("channels")
    x = w.input("x", (1, STRADDLING[0], 5, 5))
    for C, K in zip(STRADDLING, (*STRADDLING[1:], 10), strict=True):
        x = w.conv(w.norm(x, C), C, K)
    return w, [x]


def paddings_and_strides() -> tuple[Corner, list[str]]:
    """Padding 0, +1 and -1 at strides 1 and 2, symmetric and not, one output each."""
    w = Corner("paddings")
    x = w.input("x", (1, 33, 6, 7))
    outputs = []
    for value in (0, 1, -1):
        for stride, pads in ((1, (1, 1, 1, 1)), (2, (0, 1, 2, 0)), (2, (3, 3, 3, 4))):
            y = w.conv(x, 33, 34, pad_value=value, strides=(stride, stride), pads=pads)
            # The second convolution makes the first write bits, and bits alone.
            outputs.append(w.conv(w.norm(y, 34), 34, 3, 1))
    return w, outputs


def residuals() -> tuple[Corner, list[str]]:
    """Residuals before and after the activation, around a block, of a tensor and itself."""
    w = Corner("residuals")
    x = w.input("x", (1, 32, 5, 5))
    a = w.relu(w.add(w.norm(w.conv(x, 32, 32), 32), x))
    b = w.add(w.relu(w.norm(w.conv(a, 32, 32), 32)), a)
    slopes = w.constant(w.numbers(32, 1, 1))
    c = w.add(w.node("PRelu", [w.add(w.conv(b, 32, 32), b), slopes]), x)
    d = w.add(c, c)
    return w, [w.conv(d, 32, 4), w.add(x, x)]


def both_outputs_of_one_convolution() -> tuple[Corner, list[str]]:
    """A value that is output, added, and packed with two thresholds of its own."""
    w = Corner("outputs")
    x = w.input("x", (1, 40, 4, 4))
    y = w.conv(x, 40, 40)
    first, second = w.conv(w.norm(y, 40), 40, 5), w.conv(w.norm(y, 40), 40, 5)
    third = w.conv(y, 40, 5)
    return w, [y, w.add(w.add(first, second), third)]


def norms_after_pools() -> tuple[Corner, list[str]]:
    """Binary, pool, batch norm with negative scales, binary: the order may not be changed."""
    w = Corner("pools")
    x = w.input("x", (1, 33, 8, 8))
    a = w.pool(w.conv(x, 33, 33))
    b = w.pool(w.conv(w.norm(a, 33, gamma=-np.abs(w.numbers(33))), 33, 33), "AveragePool")
    c = w.node("GlobalAveragePool", [w.norm(b, 33)])
    return w, [w.dense(w.node("Flatten", [c]), 33, 7), b]


def two_images_and_a_flattened_one() -> tuple[Corner, list[str]]:
    """Batch 2; a dense layer on a flattened image; an output that is a flattened image."""
    w = Corner("batch")
    x = w.input("x", (2, 3, 8, 8))
    stem = w.node("Conv", [x, w.constant(w.numbers(32, 3, 3, 3))], strides=[2, 2], pads=[1] * 4)
    y = w.norm(w.conv(stem, 32, 32), 32)
    flat = w.node("Flatten", [y])
    return w, [w.dense(flat, 512, 10), w.node("Flatten", [w.relu(y)])]


def vectors() -> tuple[Corner, list[str]]:
    """A two-dimensional input, dense layers, sums, scales and shifts."""
    w = Corner("vectors")
    x = w.input("x", (2, 70))
    y = w.relu(w.norm(w.dense(x, 70, 33), 33))
    z = w.node("Mul", [w.node("Sub", [w.constant(w.numbers(33)), y]), w.constant(w.numbers(1))])
    return w, [w.node("Concat", [y, z], axis=1), w.add(y, z)]


def groups_and_parts() -> tuple[Corner, list[str]]:
    """Groups, concats and pads whose parts start inside a word, all packed afterwards."""
    w = Corner("parts")
    x, z = w.input("x", (1, 64, 4, 4)), w.input("z", (1, 24, 4, 4))
    a = w.conv(x, 64, 66, group=2)  # groups of 33 outputs
    b = w.conv(a, 66, 64)
    c = w.node("Concat", [z, a], axis=1)
    d = w.node("Pad", [z, w.constant(np.array([0, 0, 0, 0, 0, 16, 0, 0]))])
    bounds = [w.constant(np.array(bound)) for bound in ([0], [33], [1])]
    e = w.node("Slice", [b, *bounds])
    f = w.conv(w.conv(x, 64, 64, group=2, dilations=(2, 2), pads=(2, 2, 2, 2)), 64, 3)
    return w, [w.conv(c, 90, 3), w.conv(d, 40, 3), w.conv(e, 33, 3), f]


def bits_that_are_moved() -> tuple[Corner, list[str]]:
    """Pools, concats and shuffles of packed values, whole words of them and parts of words."""
    w = Corner("moved")
    x = w.input("x", (1, 33, 8, 8))
    a, b = w.conv(x, 33, 63), w.conv(x, 33, 65)
    joined = w.node("Concat", [w.pool(w.norm(a, 63)), w.pool(b)], axis=1)
    mixed = w.shuffle(w.norm(joined, 128), 1, 128, 4, 4)
    wide = w.node("MaxPool", [w.norm(w.conv(x, 33, 129), 129)], kernel_shape=[3, 3], pads=[1] * 4)
    return w, [w.conv(mixed, 128, 128, group=128), w.conv(mixed, 128, 3), w.conv(wide, 129, 3)]


def halves_that_are_shuffled() -> tuple[Corner, list[str]]:
    """Blocks of ShuffleNet v2: half of the channels pass, the others do not; then all are dealt."""
    w = Corner("halves")
    x = w.input("x", (1, 3, 9, 9))
    x = w.relu(w.node("Conv", [x, w.constant(w.numbers(116, 3, 3, 3))], strides=[2, 2]))
    for real in (False, True):
        left, right = w.halves(x)
        if real:
            right = w.node("Conv", [right, w.constant(w.numbers(58, 58, 1, 1))])
        else:
            right = w.conv(right, 58, 58)
        joined = w.node("Concat", [left, w.relu(w.norm(right, 58))], axis=1)
        x = w.shuffle(joined, 1, 116, 4, 4)
    return w, [x, w.conv(w.halves(x)[1], 58, 5)]


def real_activations() -> tuple[Corner, list[str]]:
    """Binary weights on real activations, depthwise too, and float convolutions of odd sizes."""
    w = Corner("real")
    x = w.input("x", (1, 12, 7, 7))
    weights = np.where(w.numbers(20, 3, 3, 12) >= 0, 1.0, -1.0)
    a = w.binary_conv2d(x, weights, scale=np.ones(20), bias=np.zeros(20), pads=(1, 1, 1, 1))
    b = w.conv(x, 12, 12, group=12)
    c = w.node("Conv", [x, w.constant(w.numbers(9, 12, 5, 5))], pads=[2] * 4, dilations=[1, 1])
    return w, [a, b, w.node("LeakyRelu", [c], alpha=0.2), w.conv(c, 9, 3, strides=(2, 2))]


def degenerate_graphs() -> tuple[Corner, list[str]]:
    """Signs of signs, signs as outputs, an unused input, values that nobody reads."""
    w = Corner("degenerate")
    x, _ = w.input('a "name" ??/ %s ü', (1, 33, 3, 3)), w.input("unused", (1, 2))
    w.conv(x, 33, 4)
    q = w.binary_quantize(w.binary_quantize(x), name="c\U0001f600*/ #")
    y = w.conv(q, 33, 33, as_is=(q,))
    joined = w.node("Concat", [x, x], axis=1)
    return w, [w.binary_quantize(y), y, joined, w.node("Identity", [y])]


CORNERS: tuple[Callable[[], tuple[Corner, list[str]]], ...] = (
    channels_around_the_word,
    paddings_and_strides,
    residuals,
    both_outputs_of_one_convolution,
    norms_after_pools,
    two_images_and_a_flattened_one,
    vectors,
    groups_and_parts,
    bits_that_are_moved,
    halves_that_are_shuffled,
    real_activations,
    degenerate_graphs,
)
