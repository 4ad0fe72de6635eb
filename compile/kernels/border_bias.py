"""A batch norm before a depthwise convolution, folded into it.

    Σ_rs (a[c] x[r, s, c] + b[c]) w[c, r, s]
        = Σ_rs x[r, s, c] (a[c] w[c, r, s]) + b[c] Σ_rs w[c, r, s]

Sums are over the taps inside the image: padding is 0 behind the batch norm, not before it. So the
last sum is one number per channel wherever the same taps lie inside: one for the middle of an image
and others along its borders. The convolution's sums begin with it. They are then as large as what
the batch norm takes off, and rounded so: `fuse_prologue` keeps large biases apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import tirx

from binas.compile.graph import Doubles, Node
from binas.compile.kernels import vector as v
from binas.compile.kernels.cutting import inside_along
from binas.core.layer import Layer


def per_channel(layer: Layer) -> int:
    """How many numbers a channel has that sums begin with; 0: they begin at 0."""
    return len(_runs_along(layer, 0)) * len(_runs_along(layer, 1)) if layer.in_affine else 0


def folded(node: Node) -> Doubles:
    """Per channel, the weights [R * S] and what sums begin with [rows][columns]: [K, all of these].

    `rows` and `columns` are those at which other taps come to lie inside the image.
    """
    assert node.weights is not None  # noqa: S101
    layer, weights = node.layer, node.weights[..., 0].astype(np.float64)
    K = layer.out_channels
    if node.in_affine is None:
        return weights.reshape(K, -1)
    scaled = weights * node.in_affine.scale[:, None, None]
    sums = [
        weights[:, r.start : r.stop, s.start : s.stop].sum((1, 2))
        for _, r in _runs_along(layer, 0)
        for _, s in _runs_along(layer, 1)
    ]
    begun = np.stack(sums, axis=1) * node.in_affine.bias[:, None]
    return np.concatenate([scaled.reshape(K, -1), begun], axis=1)


def number(layer: Layer, p: Any, q: int) -> Any:
    """Which of its numbers a channel's sums begin with in an output row, at a column like `q`."""
    below = [start for start, _ in _runs_along(layer, 0)[1:]]
    columns = [start for start, _ in _runs_along(layer, 1)]
    row = sum((tirx.Cast("int32", p >= v.const(start)) for start in below), v.const(0))
    return row * len(columns) + (sum(start <= q for start in columns) - 1)


def _runs_along(layer: Layer, axis: int) -> list[tuple[int, range]]:
    """Where, along an axis, other taps lie inside than before, and which: the first at output 0."""
    found: list[tuple[int, range]] = []
    for out, taps in enumerate(inside_along(layer, axis)):
        if not found or found[-1][1] != taps:
            found.append((out, taps))
    return found
