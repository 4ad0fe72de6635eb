"""Models as OpenVINO graphs whose binary layers are BinaryConvolution operators.

OpenVINO fuses a two-level FakeQuantize into the operator before it, so between two binary layers it
passes packed bits as we do. Its weights are of type u1: bit 1 is +1, the first in the lowest place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.builder import Array
from benchmarks.macs import Conv
from benchmarks.parameters import Binary


class OpenVinoBuilder:
    """A `Builder` of OpenVINO nodes."""

    def __init__(self) -> None:
        """Load the package; it is wanted by nobody else."""
        import openvino  # noqa: PLC0415
        import openvino.opset1 as first  # noqa: PLC0415
        import openvino.opset8 as ops  # noqa: PLC0415

        self._openvino, self._first, self._ops = openvino, first, ops
        self._inputs: list[Any] = []

    def input(self, name: str, shape: tuple[int, ...]) -> Any:
        """The float32 input."""
        self._inputs.append(self._ops.parameter(list(shape), np.float32, name=name))
        return self._inputs[-1]

    def sign(self, x: Any, channels: int) -> Any:
        """Two levels around zero; stored as one bit each."""
        zeros, ones = self._row(np.zeros(channels)), self._row(np.ones(channels))
        return self._ops.fake_quantize(x, zeros, zeros, zeros, ones, 2)

    def binary(self, bits: Any, parameters: Binary) -> Any:
        """BinaryConvolution, scaled and shifted.

        Raises:
            NotImplementedError: Groups, which the operator does not have.
        """
        conv = parameters.conv
        if conv.groups != 1:
            raise NotImplementedError("BinaryConvolution has no groups")
        w = (parameters.w > 0).transpose(0, 3, 1, 2)
        packed = self._openvino.Tensor(self._openvino.Type.u1, self._openvino.Shape(list(w.shape)))
        packed.data.reshape(-1)[:] = np.packbits(w.reshape(-1), bitorder="little")
        pads = [conv.padding] * 2
        y = self._first.binary_convolution(
            bits,
            self._openvino.op.Constant(packed),
            [conv.stride] * 2,
            pads,
            pads,
            [conv.dilation] * 2,
            "xnor-popcount",
            0.0,
        )
        scaled = self._ops.multiply(y, self._row(parameters.scale))
        return self._ops.add(scaled, self._row(parameters.bias))

    def conv(self, x: Any, conv: Conv, w: Array, bias: Array) -> Any:
        """Convolution of reals."""
        pads = [conv.padding] * 2
        y = self._ops.convolution(
            x, self._ops.constant(w), [conv.stride] * 2, pads, pads, [conv.dilation] * 2
        )
        return self._ops.add(y, self._row(bias))

    def add(self, x: Any, y: Any) -> Any:
        """Elementwise sum."""
        return self._ops.add(x, y)

    def relu(self, x: Any) -> Any:
        """The larger of x and 0."""
        return self._ops.relu(x)

    def max_pool(self, x: Any) -> Any:
        """3x3, stride 2, padding 1."""
        pooled = self._ops.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3])
        return pooled.output(0)  # the other one says where the maxima were

    def average_pool(self, x: Any) -> Any:
        """2x2, stride 2."""
        return self._ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], exclude_pad=True)

    def mean(self, x: Any, channels: int) -> Any:
        """Mean over the image."""
        mean = self._ops.reduce_mean(x, np.array([2, 3]), keep_dims=True)
        return self._ops.reshape(mean, np.array([1, channels]), special_zero=False)

    def dense(self, x: Any, w: Array, bias: Array) -> Any:
        """Dense layer."""
        y = self._ops.matmul(x, self._ops.constant(w), transpose_a=False, transpose_b=True)
        return self._ops.add(y, self._ops.constant(bias.reshape(1, -1)))

    def finish(self, output: Any) -> Any:
        """The model."""
        return self._openvino.Model([output], self._inputs)

    def _row(self, values: Array) -> Any:
        row = np.asarray(values, np.float32).reshape(1, -1, 1, 1)
        return self._ops.constant(row)
