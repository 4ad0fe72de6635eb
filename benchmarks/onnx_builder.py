"""Models as ONNX files: what binas compiles and onnxruntime runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from benchmarks.builder import Array
from benchmarks.macs import Conv
from benchmarks.parameters import Binary
from binas.compile.model import ModelWriter


class OnnxBuilder:
    """A `Builder` of ONNX values; a value is its name."""

    def __init__(self, name: str) -> None:
        """Start an empty model."""
        self._writer = ModelWriter(name)

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        """The float32 input."""
        return self._writer.input(name, shape)

    def sign(self, x: str, channels: int) -> str:
        """+1 or -1."""
        return self._writer.binary_quantize(x)

    def binary(self, bits: str, parameters: Binary) -> str:
        """Binary convolution, scaled and shifted."""
        conv = parameters.conv
        return self._writer.binary_conv2d(
            bits,
            parameters.w,
            scale=parameters.scale,
            bias=parameters.bias,
            strides=(conv.stride,) * 2,
            pads=(conv.padding,) * 4,
            dilations=(conv.dilation,) * 2,
            group=conv.groups,
        )

    def conv(self, x: str, conv: Conv, w: Array, bias: Array) -> str:
        """Convolution of reals."""
        inputs = [x, self._writer.constant(w), self._writer.constant(bias)]
        return self._writer.node(
            "Conv",
            inputs,
            kernel_shape=[conv.kernel] * 2,
            strides=[conv.stride] * 2,
            pads=[conv.padding] * 4,
            dilations=[conv.dilation] * 2,
            group=conv.groups,
        )

    def add(self, x: str, y: str) -> str:
        """Elementwise sum."""
        return self._writer.node("Add", [x, y])

    def relu(self, x: str) -> str:
        """The larger of x and 0."""
        return self._writer.node("Relu", [x])

    def max_pool(self, x: str) -> str:
        """3x3, stride 2, padding 1."""
        return self._writer.node(
            "MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        )

    def average_pool(self, x: str) -> str:
        """2x2, stride 2."""
        return self._writer.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def mean(self, x: str, channels: int) -> str:
        """Mean over the image."""
        return self._writer.node("Flatten", [self._writer.node("GlobalAveragePool", [x])], axis=1)

    def dense(self, x: str, w: Array, bias: Array) -> str:
        """Dense layer."""
        inputs = [x, self._writer.constant(w), self._writer.constant(bias)]
        return self._writer.node("Gemm", inputs, transB=1)

    def finish(self, output: str) -> onnx.ModelProto:
        """The checked model."""
        return self._writer.finish([output])


def saved(name: str, make: Callable[[OnnxBuilder], str], folder: Path) -> Path:
    """The file of a model, such as those of `benchmarks.models`."""
    build, path = OnnxBuilder(name), folder / f"{name}.onnx"
    onnx.save(build.finish(make(build)), path)
    return path
