"""What an operand goes through before a kernel sums it up: an affine of its channels.

Of a 1x1 layer: whole vectors of activations go through it before they are used, each for many
output channels. A depthwise layer has it in its weights (`border_bias.py`).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import vector as v
from binas.compile.kernels.frame import Frame, Parameter, padded
from binas.core.layer import Layer


def parameters(layer: Layer, isa: Isa) -> list[Parameter]:
    """What is read per input channel, padded to whole vectors; nothing without an affine."""
    names = ("in_scale", "in_bias") if layer.in_affine else ()
    return [Parameter(name, _size(layer, isa), "float32") for name in names]


def arrays(node: Node, isa: Isa) -> list[NDArray[Any]]:
    """The values of `parameters`, in the same order."""
    if node.in_affine is None:
        return []
    size = _size(node.layer, isa)
    return [padded(values, size) for values in (node.in_affine.scale, node.in_affine.bias)]


def load(made: Frame, index: Any, channel: Any, isa: Isa) -> Any:
    """The vector of activations at `index`, whose first is of input channel `channel`."""
    V, x = isa.lanes, v.load(made.operands[0], index, isa.lanes)
    if not made.layer.in_affine:
        return x
    scale, bias = (v.load(made.parameters[name], channel, V) for name in ("in_scale", "in_bias"))
    return v.fma(x, scale, bias, V, fused=isa.fused)


def _size(layer: Layer, isa: Isa) -> int:
    return layer.in_shape[3] + isa.lanes - 1
