"""The numbers on which a function of one number is asked what it is, and its values there.

Asked at a few numbers, a function can hide a window between them. So beside numbers of all sizes
stand the constants that the nodes hold, with their neighbours; and wherever a comparison inside
changes its mind between two probes, the place is found by halving and becomes two probes more.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from binas.compile.recognise.network import Network
from binas.compile.recognise.proof import run_nodes
from binas.core.errors import CompileError

Array = NDArray[Any]

MAX_PROBED = 1 << 21  # elements of the probes of one value, 8 MiB
_MAX_PLACES = 64  # where comparisons change their minds; a sign has one, an estimator three
_MAX_CONSTANTS = 64  # of a function whose constants are probes, too

# From the smallest that is no denormal on: some processors and libraries take those for zeros.
_TINY = (2e-38, 1e-30, 1e-20, 1e-10, 1e-6)
_FINE = 2.0 ** (np.arange(-14 * 4, 8 * 4 + 1) / 4)
_COARSE = 2.0 ** np.arange(9, 25)
_UPPER = np.sort(np.concatenate([_TINY, _FINE, (0.1, 0.4, 0.6, 0.9, 0.999, 1.001, 3), _COARSE]))


class Probed:
    """A function of one number per channel, as nodes of a network compute it.

    Args:
        network: Where the nodes are.
        nodes: What lies between, in an order in which they can run.
        root: x.
        y: The value asked about.
    """

    def __init__(self, network: Network, nodes: list[onnx.NodeProto], root: str, y: str) -> None:
        """Look where its constants differ."""
        self._network, self._nodes, self._root, self._y = network, nodes, root, y
        self._inside = [name for node in nodes for name in _wavering(node)]
        self._sizes = self._axes()

    def asked(self, *, closely: bool) -> tuple[Array, NDArray[np.float64]] | None:
        """Ascending numbers, both zeros among them, and f there.

        Args:
            closely: Also wherever a comparison inside changes its mind.

        Both [P, ...], the axes as those of x where f differs along them, else of size 1. None
        where f is no function of one number per channel, or of too many of them.
        """
        if self._sizes is None:
            return None
        whole = np.concatenate([-_UPPER[::-1], (-0.0, 0.0), _UPPER]).astype(np.float32)
        rest = self._sizes[1:]
        spread = np.broadcast_to(whole.reshape(-1, *(1,) * len(rest)), (len(whole), *rest))
        found = [spread, *self._own_constants()]
        if sum(part.size for part in found) > MAX_PROBED:
            return None
        x = np.sort(np.concatenate(found), axis=0, kind="stable")
        inside = self._inside if closely else []
        values = self._run(x, list(dict.fromkeys([self._y, *inside])))
        if values is None or values[self._y].shape != x.shape:
            return None
        flips = self._flips(x, {name: values[name] for name in inside})
        if flips is None:
            return None
        y = values[self._y]
        if flips:
            x = np.sort(np.concatenate([x, *flips]), axis=0, kind="stable")
            again = self._run(x, [self._y])
            if again is None:
                return None
            y = again[self._y]
        return x, np.asarray(y.astype(np.float64))

    def _own_constants(self) -> list[Array]:
        """The constants inside, each with its neighbours."""
        found: list[Array] = []
        names = dict.fromkeys(name for node in self._nodes for name in node.input if name)
        for name in names:
            constant = self._network.constant(name)
            if constant is None or constant.dtype != np.float32 or len(found) > _MAX_CONSTANTS:
                continue
            usable = np.isfinite(constant) & (np.abs(constant) > _TINY[0])
            c = np.broadcast_to(np.where(usable, constant, np.float32(1)), self._sizes or ())
            found += [c, np.nextafter(c, np.float32(-np.inf)), np.nextafter(c, np.float32(np.inf))]
        return found

    def _flips(self, x: Array, values: dict[str, Array]) -> list[Array] | None:
        """Both sides of every place between two probes where something inside changes its mind."""
        names: list[str] = []
        parts: list[tuple[Array, NDArray[np.int64], NDArray[np.int64]]] = []
        for name, found in values.items():
            levels = _levels(found, x.shape)
            changed = (levels[1:] != levels[:-1]) & (_ordered(x[1:]) - _ordered(x[:-1]) > 1)
            at = np.flatnonzero(changed.any(axis=tuple(range(1, x.ndim))))
            names += [name] * at.size
            parts.append((levels[at], _ordered(x[at]), _ordered(x[at + 1])))
        if len(names) > _MAX_PLACES:
            return None
        if not names:
            return []
        low, below, above = (np.concatenate(part) for part in zip(*parts, strict=True))
        return self._halved(names, low, below, above)

    def _halved(
        self, names: list[str], low: Array, below: NDArray[np.int64], above: NDArray[np.int64]
    ) -> list[Array] | None:
        """The last number at which each value is still what it is at `below`, and the next one."""
        for _ in range(int(np.ceil(np.log2((above - below).max())))):
            middle = below + (above - below) // 2
            values = self._run(_floats(middle), list(dict.fromkeys(names)))
            if values is None:
                return None
            levels = {name: _levels(found, low.shape) for name, found in values.items()}
            now = np.stack([levels[name][at] for at, name in enumerate(names)])
            below, above = np.where(now == low, middle, below), np.where(now == low, above, middle)
        return [_floats(below), _floats(above)]

    def _axes(self) -> list[int] | None:
        """1, then per axis of x its size where constants differ along it, else 1."""
        shape = self._network.shape(self._root)
        if not shape or not self._network.is_float(self._y):
            return None
        sizes = [1] * len(shape)
        for node in self._nodes:
            for name in node.input:
                constant = self._network.constant(name) if name else None
                if constant is None:
                    continue
                if constant.ndim > len(shape):
                    return None
                for axis, size in enumerate(constant.shape[::-1], 1):
                    if size > 1 and (axis == len(shape) or size != shape[-axis]):
                        return None
                    sizes[-axis] = max(sizes[-axis], size)
        return sizes if prod(sizes) * 2 * _UPPER.size <= MAX_PROBED else None

    def _run(self, x: Array, wanted: list[str]) -> dict[str, Array] | None:
        try:
            return run_nodes(self._network, self._nodes, {self._root: x}, wanted)
        except CompileError:
            return None


_COMPARES = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sign"}


def _wavering(node: onnx.NodeProto) -> list[str]:
    return list(node.output) if node.op_type in _COMPARES else []


def _levels(values: Array, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.sign(values.astype(np.float32)), shape)


def _ordered(x: Array) -> NDArray[np.int64]:
    """Floats as integers of the same order, one apart where they are neighbours."""
    raw = np.asarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(raw < 0, -(raw & 0x7FFFFFFF), raw)


def _floats(order: NDArray[np.int64]) -> NDArray[np.float32]:
    raw = np.where(order < 0, -order | 0x80000000, order)
    return raw.astype(np.uint32).view(np.float32)
