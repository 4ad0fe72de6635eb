"""Is this value the sign of another one? Asked of what the operators compute, not of their names.

Between a value y and a value x on which alone it depends, element by element, stands a function f
of one number (one per channel, where constants differ by channel). f is evaluated on numbers of
both signs, both zeros, and the smallest and largest that matter. It is a sign where it takes -s
below a border and +s from it on. So one rule reads them all:

    Where(x >= 0, 1, -1)            Greater, Less, Not ... in any nesting
    Sign(Sign(x) + 0.1)             Larq's ste_sign
    2 * Cast(x >= 0) - 1            0/1 with arithmetic
    Sign(x) - p(x) + p(x)           a straight-through estimator left in the graph (ReActNet)
    Clip(x, -1, 1) before any       a hard tanh in front
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.recognise.network import Network
from binas.compile.recognise.proof import run_nodes
from binas.core.errors import CompileError

Array = NDArray[Any]

POINTWISE = {
    *("Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Div", "Equal", "Floor", "Greater"),
    *("GreaterOrEqual", "HardSigmoid", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Max"),
    *("Min", "Mul", "Neg", "Not", "Or", "Pow", "PRelu", "Relu", "Round", "Sign", "Sub", "Sum"),
    *("Tanh", "Where", "Xor"),
}
MAX_NODES = 64  # between y and x

# From the smallest that is no denormal on: some processors and libraries take those for zeros.
_MAGNITUDES: tuple[float, ...] = (
    2e-38,
    1e-30,
    1e-20,
    1e-10,
    1e-6,
    1e-4,
    1e-3,
    0.01,
    0.1,
    0.25,
    0.4,
    0.5,
    0.6,
)
_MAGNITUDES += (0.75, 0.9, 0.999, 1.0, 1.001, 1.2, 1.5, 1.75, 2.0, 2.5, 3.0, 5.0, 10.0, 100.0, 1e3)
_SNAP = 1e-5  # (1 - p) + p is 1 but for rounding


@dataclass(frozen=True, slots=True)
class Step:
    """A value: above where x is on the upper side of the border, else below.

    Attributes:
        root: x.
        below: y for x under the border.
        above: y for x over it.
        at_zero: y at the border itself; neither of both for ONNX's Sign, which gives 0 there.
        border: The smallest x on the upper side, in the shape that broadcasts to x; None for 0.
    """

    root: str
    below: float
    above: float
    at_zero: float
    border: Array | None = None

    @property
    def is_sign(self) -> bool:
        """Whether its values are -s and +s."""
        return self.below == -self.above

    @property
    def is_exact(self) -> bool:
        """Whether a bit can say what happens at the border."""
        return self.at_zero in (self.below, self.above)

    @property
    def zero_is_below(self) -> bool:
        """Whether the border itself belongs to the lower side: x > 0 and not x >= 0."""
        return self.at_zero == self.below

    def of(self, x: float) -> float:
        """Its value at one number, where the border is 0."""
        return self.at_zero if x == 0 else self.above if x > 0 else self.below


@dataclass(frozen=True, slots=True)
class NoStep:
    """Why a value is no step of anything; empty where nothing hints at one."""

    reason: str = ""


def meaning(network: Network, y: str) -> Step | NoStep:
    """What y is.

    Of several readings the nearest exact one is taken, then that of ONNX's Sign, then a border
    other than 0. What is a sign of its operand but takes other values seen from further away, such
    as the sign of a Relu, is read from there.
    """
    exact: Step | None = None
    sign: Step | None = None
    border: Step | None = None
    for root, nodes in _roots(network, y):
        values = _evaluate(network, nodes, root, y, _probes())
        if values is None:
            break
        judged = _judge(values, root)
        if isinstance(judged, NoStep):
            return judged
        if judged is not None and not judged.is_sign and (sign or exact):
            return judged
        if judged is not None and judged.is_exact:
            exact = exact or judged
        elif judged is not None:
            sign = sign or judged
        elif exact is None and sign is None and border is None:
            border = _border(network, nodes, root, y, values)
    return exact or sign or border or NoStep()


def _roots(network: Network, y: str) -> Iterator[tuple[str, list[onnx.NodeProto]]]:
    """Values on which alone y depends, nearest first, each with the nodes in between."""
    frontier, nodes = {y}, list[onnx.NodeProto]()
    while frontier and len(nodes) < MAX_NODES:
        last = max(frontier, key=lambda name: network.positions.get(name, -1))
        node = network.producers.get(last)
        if node is None or node.op_type not in POINTWISE or node.domain not in ("", "ai.onnx"):
            return
        frontier.remove(last)
        frontier |= {n for n in node.input if n and network.constant(n) is None}
        nodes.insert(0, node)
        if len(frontier) == 1:
            (root,) = frontier
            if network.is_float(root):
                yield root, list(nodes)


def _probes() -> NDArray[np.float32]:
    """Numbers of both signs in ascending order; -0.0 and 0.0 in the middle."""
    upper = np.array(_MAGNITUDES, np.float32)
    return np.concatenate([-upper[::-1], np.array([-0.0, 0.0], np.float32), upper])


def _evaluate(
    network: Network, nodes: list[onnx.NodeProto], root: str, y: str, probes: Array
) -> NDArray[np.float64] | None:
    """Values of f at the probes: [P, ...], the other axes those of x where f differs along them.

    Probes of more than one axis are used as they are.
    """
    shape = network.shape(root)
    if not shape or not network.is_float(y):
        return None
    sizes = [1] * len(shape)
    constants = [network.constant(name) for node in nodes for name in node.input if name]
    for constant in constants:
        if constant is None:
            continue
        if constant.ndim > len(shape):
            return None
        for axis, size in enumerate(constant.shape[::-1], 1):
            if size > 1 and (axis == len(shape) or size != shape[-axis]):
                return None
            sizes[-axis] = max(sizes[-axis], size)
    x = probes if probes.ndim > 1 else probes.reshape(-1, *(1,) * (len(shape) - 1))
    x = np.ascontiguousarray(np.broadcast_to(x, (len(probes), *sizes[1:])))
    try:
        values = run_nodes(network, nodes, {root: x}, [y])[y]
    except CompileError:
        return None
    return values.astype(np.float64) if values.shape == x.shape else None


def _judge(values: NDArray[np.float64], root: str) -> Step | NoStep | None:
    """The step of f at 0; a NoStep where f takes a few other values; else None."""
    half = len(values) // 2
    scale = float(np.abs(values).max())
    if not np.isfinite(values).all() or scale == 0:
        return None
    parts = (values[: half - 1], values[half - 1 : half + 1], values[half + 1 :])
    below, at_zero, above = (float(part.flat[0]) for part in parts)
    flat = all(
        np.abs(part - first).max() <= _SNAP * scale
        for part, first in zip(parts, (below, at_zero, above), strict=True)
    )
    if flat and abs(above - below) > _SNAP * scale:
        if abs(above + below) <= _SNAP * scale:  # (1 - p) + p is 1 but for rounding
            above = math.copysign((abs(above) + abs(below)) / 2, above)
            below = -above
        for side in (below, above):
            at_zero = side if abs(at_zero - side) <= _SNAP * scale else at_zero
        known = at_zero in (below, above, 0.0)
        return Step(root, below=below, above=above, at_zero=at_zero) if known else None
    distinct = np.unique(np.round(values / scale, 5))
    if 2 < len(distinct) <= 4 and len(distinct) < values.size:
        zeros = np.abs(values).min() == 0 and (values == 0).mean() < 0.25
        if not (len(distinct) == 3 and zeros):  # ONNX's Sign with a border of its own
            shown = ", ".join(f"{value * scale:.4g}" for value in distinct)
            return NoStep(f"its activations take the values {shown}; only -s and +s make a bit")
    return None


def _border(
    network: Network, nodes: list[onnx.NodeProto], root: str, y: str, values: Array
) -> Step | None:
    """A step elsewhere than at 0: found by halving the interval between neighbouring probes."""
    low, high = float(values[0].flat[0]), float(values[-1].flat[0])
    size = max(abs(low), abs(high))
    if not np.isfinite(values).all() or abs(high - low) <= _SNAP * size:
        return None
    upper_side = np.abs(values - high) <= _SNAP * size
    if not (upper_side | (np.abs(values - low) <= _SNAP * size)).all():
        return None
    if (np.diff(upper_side.astype(np.int8), axis=0) < 0).any():
        return None  # not a single step
    probes = _probes()
    first = np.argmax(upper_side, axis=0)
    below, above = (_ordered(probes[at])[None] for at in (first - 1, first))
    for _ in range(33):
        middle = below + (above - below) // 2
        found = _evaluate(network, nodes, root, y, _floats(middle))
        if found is None:
            return None
        on_upper = np.abs(found - high) <= _SNAP * size
        above, below = np.where(on_upper, middle, above), np.where(on_upper, below, middle)
    if abs(high + low) <= _SNAP * size:
        low = -high
    return Step(root, low, high, high, border=_floats(above))


def _ordered(x: Array) -> NDArray[np.int64]:
    """Floats as integers of the same order, one apart where they are neighbours."""
    raw = np.asarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(raw < 0, -(raw & 0x7FFFFFFF), raw)


def _floats(order: NDArray[np.int64]) -> NDArray[np.float32]:
    raw = np.where(order < 0, -order | 0x80000000, order)
    return raw.astype(np.uint32).view(np.float32)
