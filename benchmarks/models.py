"""The models that are timed: layers in chains and branches, Bi-Real-Net-18, ResNet-18."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import parameters
from benchmarks.builder import Builder
from benchmarks.macs import Conv, executed
from benchmarks.works import Form, Work

STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels, size
CLASSES = 1000
STEM = Conv(channels=3, filters=64, size=224, kernel=7, stride=2)
BIREAL_IMAGE = (1, 3, 224, 224)


def layer_model(build: Builder, work: Work, depth: int) -> Any:
    """A model of `depth` layers of a work; the difference of two depths costs only layers."""
    conv = work.conv
    if not work.binary and work.form != "weights":
        return real_twin(build, work, depth)
    x = _image(build, conv)
    if work.form == "weights":
        return _summed_bits(build, x, conv, depth)
    if work.form == "branches":
        return _summed_bits(build, build.sign(x, conv.channels), conv, depth)
    return _chain(build, x, conv, work.form, depth)


def real_twin(build: Builder, work: Work, depth: int) -> Any:
    """Real weights and activations: what a user would run instead; in a chain where it can be."""
    conv = work.conv
    x = _image(build, conv)
    if not work.binary:
        return _summed_reals(build, x, conv, depth)
    for index in range(depth):
        x = build.conv(x, conv, *parameters.real(conv, index))
    return x


def _image(build: Builder, conv: Conv) -> Any:
    shape = (1, conv.channels, conv.size, conv.size)
    return build.input("x", shape[:2] if conv.size == 1 else shape)


def _chain(build: Builder, x: Any, conv: Conv, form: Form, depth: int) -> Any:
    """In bits form one layer more than `depth`: the last one gives floats, in every depth."""
    for index in range(depth + 1 if form == "bits" else depth):
        y = build.binary(build.sign(x, conv.channels), parameters.binary(conv, form, index))
        x = y if form == "bits" else build.add(y, x)
    return x


def _summed_bits(build: Builder, x: Any, conv: Conv, depth: int) -> Any:
    """Of weights of one bit; `x` may hold bits or reals."""
    total = build.binary(x, parameters.binary(conv, "branches", 0))
    for index in range(1, depth + 1):
        total = build.add(total, build.binary(x, parameters.binary(conv, "branches", index)))
    return total


def _summed_reals(build: Builder, x: Any, conv: Conv, depth: int) -> Any:
    total = _real(build, x, conv, 0)
    for index in range(1, depth + 1):
        total = build.add(total, _real(build, x, conv, index))
    return total


def _real(build: Builder, x: Any, conv: Conv, index: int) -> Any:
    w, bias = parameters.real(conv, index)
    return build.dense(x, w[:, :, 0, 0], bias) if conv.size == 1 else build.conv(x, conv, w, bias)


def bireal18(build: Builder) -> Any:
    """Bi-Real-Net-18 at 224x224: a shortcut around every binary convolution.

    The parameters keep every value before the final mean exact in float32, and none of those whose
    sign is taken zero: after the stem they are odd multiples of 1/32, after each average pool and
    its shortcut convolution odd multiples of a quarter of that.
    """
    rng = np.random.default_rng(18)
    x = build.input("x", BIREAL_IMAGE)
    weights = parameters.even(rng, (64, 3, 7, 7), 8, 2)
    x = build.max_pool(build.conv(x, STEM, weights, parameters.odd(rng, 64, 32, 16)))
    channels, grain = 64, 32
    for filters, size in STAGES:
        for block in range(4):
            first = block == 0 and filters != channels
            conv = Conv(
                channels=channels,
                filters=filters,
                size=size * 2 if first else size,
                stride=2 if first else 1,
            )
            y = build.binary(build.sign(x, channels), _dyadic(rng, conv))
            if first:
                grain *= 4
                x = build.average_pool(x)
                pointwise = Conv(channels=channels, filters=filters, size=size, kernel=1)
                bias = parameters.odd(rng, filters, grain, 16)
                x = build.conv(x, pointwise, _sparse(rng, filters, channels), bias)
                channels = filters
            x = build.add(y, x)
    return _classifier(build, x, rng)


def bireal18_gmacs() -> float:
    """1e9 executed multiply-adds of its binary layers."""
    total, channels = 0, 64
    for filters, size in STAGES:
        total += (3 if filters != channels else 4) * executed(
            Conv(channels=filters, filters=filters, size=size), binary=True
        )
        if filters != channels:
            halved = Conv(channels=channels, filters=filters, size=2 * size, stride=2)
            total += executed(halved, binary=True)
        channels = filters
    return total / 1e9


def resnet18(build: Builder) -> Any:
    """ResNet-18 at 224x224 with its batch norms folded, as it is deployed."""
    rng = np.random.default_rng(19)
    x = build.input("x", BIREAL_IMAGE)
    x = build.max_pool(build.relu(build.conv(x, STEM, *_he(rng, STEM))))
    channels = 64
    for filters, size in STAGES:
        for block in range(2):
            halved = block == 0 and filters != channels
            before = size * 2 if halved else size
            stride = 2 if halved else 1
            first = Conv(channels=channels, filters=filters, size=before, stride=stride)
            second = Conv(channels=filters, filters=filters, size=size)
            y = build.relu(build.conv(x, first, *_he(rng, first)))
            y = build.conv(y, second, *_he(rng, second))
            if halved:
                short = Conv(
                    channels=channels, filters=filters, size=before, kernel=1, stride=stride
                )
                x = build.conv(x, short, *_he(rng, short))
            x, channels = build.relu(build.add(y, x)), filters
    return _classifier(build, x, rng)


def resnet18_gmacs() -> float:
    """1e9 executed multiply-adds of its 3x3 layers: those that Bi-Real-Net-18 has in binary."""
    return bireal18_gmacs()  # the same shapes, and no channels to pad


def network_image() -> parameters.Array:
    """An input of both networks: multiples of 1/4 between -2 and 2."""
    rng = np.random.default_rng(20)
    return (rng.integers(-8, 9, BIREAL_IMAGE) / 4).astype(np.float32)


def _dyadic(rng: np.random.Generator, conv: Conv) -> parameters.Binary:
    K, C, R = conv.filters, conv.channels, conv.kernel
    scale = np.full(K, 1 / 16, np.float32) * rng.integers(1, 4, K).astype(np.float32)
    bias = parameters.even(rng, K, 32, 8)
    return parameters.Binary(conv, parameters.signs(rng, (K, R, R, C)), scale, bias)


def _sparse(rng: np.random.Generator, filters: int, channels: int) -> parameters.Array:
    """Four ±1 per filter: sums stay as small as their terms. No engine looks for zeros."""
    w = np.zeros((filters, channels, 1, 1), np.float32)
    for row in w:
        row[rng.choice(channels, 4, replace=False), 0, 0] = parameters.signs(rng, (4,))
    return w


def _he(rng: np.random.Generator, conv: Conv) -> tuple[parameters.Array, parameters.Array]:
    deviation = np.sqrt(1 / (conv.channels * conv.kernel**2))
    w = deviation * rng.standard_normal((conv.filters, conv.channels, conv.kernel, conv.kernel))
    return w.astype(np.float32), (0.1 * rng.standard_normal(conv.filters)).astype(np.float32)


def _classifier(build: Builder, x: Any, rng: np.random.Generator) -> Any:
    w = (rng.standard_normal((CLASSES, 512)) / np.sqrt(512)).astype(np.float32)
    return build.dense(build.mean(x, 512), w, rng.standard_normal(CLASSES).astype(np.float32))
