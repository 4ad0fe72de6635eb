"""How batch norms and shifts per channel become ONNX: folded in float64, rounded by the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from binas.compile.model import ModelWriter

Doubles = NDArray[np.float64]


def affine(norm: nn.BatchNorm2d) -> tuple[Doubles, Doubles]:
    """a, b [C] float64 with norm(x) = a·x + b in evaluation."""
    mean, variance = _statistics(norm)
    a = 1 / np.sqrt(variance.double().numpy() + norm.eps)
    b = -a * mean.double().numpy()
    if norm.affine:
        gamma = norm.weight.detach().double().numpy()
        a, b = gamma * a, gamma * b + norm.bias.detach().double().numpy()
    return a, b


def write_norm(writer: ModelWriter, norm: nn.BatchNorm2d, x: str, name: str) -> str:
    """A BatchNormalization node with the module's statistics."""
    mean, variance = _statistics(norm)
    channels = norm.num_features
    gamma = norm.weight.detach().numpy() if norm.affine else np.ones(channels, np.float32)
    beta = norm.bias.detach().numpy() if norm.affine else np.zeros(channels, np.float32)
    values = (gamma, beta, mean.numpy(), variance.numpy())
    names = ("gamma", "beta", "mean", "variance")
    constants = [writer.constant(v, f"{name}.{n}") for v, n in zip(values, names, strict=True)]
    return writer.node("BatchNormalization", [x, *constants], name=name, epsilon=norm.eps)


def write_shift(writer: ModelWriter, x: str, shift: Tensor | None, name: str) -> str:
    """Shift per channel, where there is one."""
    if shift is None:
        return x
    constant = writer.constant(shift.detach().numpy()[:, None, None], f"{name}.shift")
    return writer.node("Add", [x, constant], name=f"{name}.shifted")


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a batch norm without running statistics")
    return mean, variance
