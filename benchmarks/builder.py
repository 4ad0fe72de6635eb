"""One description of a network, two files: what a model is made of, whoever runs it."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from benchmarks.macs import Conv
from benchmarks.parameters import Binary

Array = NDArray[Any]


class Builder(Protocol):
    """Writes a model value by value; what a value is, is the builder's own business."""

    def input(self, name: str, shape: tuple[int, ...]) -> Any:
        """The float32 input."""

    def sign(self, x: Any, channels: int) -> Any:
        """One bit per value."""

    def binary(self, bits: Any, parameters: Binary) -> Any:
        """Convolution by weights of one bit, scaled and shifted; `bits` may be reals."""

    def conv(self, x: Any, conv: Conv, w: Array, bias: Array) -> Any:
        """Convolution of reals, weights [K, C/groups, R, S]."""

    def add(self, x: Any, y: Any) -> Any:
        """Elementwise sum."""

    def relu(self, x: Any) -> Any:
        """The larger of x and 0."""

    def max_pool(self, x: Any) -> Any:
        """3x3, stride 2, padding 1."""

    def average_pool(self, x: Any) -> Any:
        """2x2, stride 2."""

    def mean(self, x: Any, channels: int) -> Any:
        """Mean over the image: [1, channels]."""

    def dense(self, x: Any, w: Array, bias: Array) -> Any:
        """Dense layer, weights [outputs, inputs]."""
