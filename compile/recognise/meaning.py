"""Is this value the sign of another one? Asked of what the operators compute, not of their names.

Between a value y and a value x on which alone it depends, element by element, stands a function f
of one number (one per channel, where constants differ by channel). f is evaluated on numbers of
all sizes and wherever it might turn (`probes.py`). It is a sign where it takes -s below a border
and +s from it on. So one rule reads them all:

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

from binas.compile.recognise.network import JUMPS, POINTWISE, Network
from binas.compile.recognise.probes import Probed

Array = NDArray[Any]

MAX_NODES = 64  # between y and x


_FURTHER = 6  # nodes that are looked at before a sign: a Relu in front, however it is spelled

_SNAP = 1e-5  # (1 - p) + p is 1 but for rounding,
_ROUNDED = 2.0**-22  # which grows with p, and so with x
_FEW = 0.05  # of the probes: so many lie at the border of a sign, and not around it


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

    def of(self, x: float) -> float | None:
        """Its value at one number; None where it differs by channel."""
        if self.border is None:
            return self.at_zero if x == 0 else self.above if x > 0 else self.below
        upper = x >= self.border
        if upper.any() and not upper.all():
            return None
        return self.above if upper.all() else self.below


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
    if y not in network.jumping:
        return NoStep()
    exact: Step | None = None
    sign: Step | None = None
    border: Step | None = None
    ends = MAX_NODES
    for root, nodes in _roots(network, y):
        if len(nodes) > ends:
            break
        if not any(node.op_type in JUMPS for node in nodes):
            continue
        if network.patience < 0:
            return NoStep("its operand is behind more element-wise operators than are looked at")
        asked = Probed(network, nodes, root, y).asked(closely=exact is None and sign is None)
        network.patience -= 1
        if asked is None:
            break
        x, values = asked
        judged = _judge(x, values, root)
        if isinstance(judged, NoStep):
            return judged
        if judged is not None and not judged.is_sign and (sign or exact):
            return judged
        if judged is not None and judged.is_exact:
            exact = exact or judged
        elif judged is not None:
            sign = sign or judged
        elif exact is None and sign is None and border is None:
            border = _border(x, values, root)
        if judged is not None:
            network.patience += 1
            ends = min(ends, len(nodes) + _FURTHER)
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


def _judge(x: Array, values: NDArray[np.float64], root: str) -> Step | NoStep | None:
    """The step of f at 0; a NoStep where f takes a few other values; else None."""
    scale = float(np.abs(values).max())
    if not np.isfinite(values).all() or scale == 0:
        return None
    blur = scale * np.minimum(_SNAP + _ROUNDED * np.abs(x), 0.25)
    sides = [x < 0, x == 0, x > 0]
    below, at_zero, above = (float(np.median(values[side])) for side in sides)
    flat = all(
        (np.abs(values[side] - level) <= blur[side]).all()
        for side, level in zip(sides, (below, at_zero, above), strict=True)
    )
    if flat and abs(above - below) > _SNAP * scale:
        size = max(abs(above), abs(below))
        if abs(above + below) <= _SNAP * size:  # (1 - p) + p is 1 but for rounding
            above = math.copysign((abs(above) + abs(below)) / 2, above)
            below = -above
        for level in (below, above):
            at_zero = level if abs(at_zero - level) <= _SNAP * size else at_zero
        known = at_zero in (below, above, 0.0)
        return Step(root, below=below, above=above, at_zero=at_zero) if known else None
    return _other_levels(values, scale)


def _other_levels(values: NDArray[np.float64], scale: float) -> NoStep | None:
    """What f is where it takes few values, but not those of a sign."""
    if values.ndim > 1 and values[0].size > 1:
        each = np.abs(values).reshape(len(values), -1)
        if np.ptp(each, axis=0).max() <= _SNAP * scale and np.ptp(each[0]) > _SNAP * scale:
            return NoStep(
                "its activations are ±s with another s per channel; one s for all makes a bit"
            )
    distinct = np.unique(np.round(values / scale, 5))
    if 2 < len(distinct) <= 4 and len(distinct) < values.size:
        zeros = np.abs(values).min() == 0 and (values == 0).mean() < _FEW
        if not (len(distinct) == 3 and zeros):  # ONNX's Sign with a border of its own
            shown = ", ".join(f"{value * scale:.4g}" for value in distinct)
            return NoStep(f"its activations take the values {shown}; only -s and +s make a bit")
    return None


def _border(x: Array, values: NDArray[np.float64], root: str) -> Step | None:
    """A step elsewhere than at 0, between two neighbours among the probes."""
    low, high = float(values[0].flat[0]), float(values[-1].flat[0])
    size = max(abs(low), abs(high))
    if not np.isfinite(values).all() or abs(high - low) <= _SNAP * size:
        return None
    upper_side = np.abs(values - high) <= _SNAP * size
    if not (upper_side | (np.abs(values - low) <= _SNAP * size)).all():
        return None
    rises = np.diff(upper_side.astype(np.int8), axis=0)
    if (rises < 0).any() or upper_side[0].any() or not upper_side[-1].all():
        return None  # not a single step, or one beyond all probes
    border = np.take_along_axis(x, np.argmax(upper_side, axis=0)[None], axis=0)
    if abs(high + low) <= _SNAP * size:
        low = -high
    return Step(root, low, high, high, border=border.astype(np.float32))
