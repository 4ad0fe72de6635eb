"""What a step reads in a test, and whether what its kernel wrote is what it means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binas.compile.graph import Node
from binas.compile.kernels import epilogue, family, thresholds
from binas.core import bits
from binas.core.layer import READS_BITS


def operands(node: Node) -> list[NDArray[Any]]:
    """Random values for all that a node reads, with zeros of both signs among them."""
    generator = np.random.default_rng(len(node.stages))
    N, H, W, C = node.in_shape
    found: list[NDArray[Any]] = []
    for i in range(len(node.inputs)):
        channels = node.parts[i] if len(node.parts) > 1 else C
        x = generator.standard_normal((N, H, W, channels)).astype(np.float32)
        x.reshape(-1)[::7] = 0.0
        x.reshape(-1)[3::7] = -0.0
        if node.op == "pool_max" and not node.stages:
            x[:, :3, :3] = -np.inf
        found.append(bits.pack(x) if node.op in READS_BITS else x)
    for _ in node.added:
        found.append(generator.standard_normal(node.layer.out_shape).astype(np.float32))
    return found


def near(node: Node, reads: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Where the value behind a bit lies so close to 0 that rounding decides."""
    y = family.staged(node, reads)
    margin: NDArray[np.bool_] = np.abs(epilogue.decision(node, y)) <= 1e-5
    return margin


def must_mean(node: Node, reads: list[NDArray[Any]], outputs: list[NDArray[Any]]) -> None:
    """Bits that are exact are, others but where rounding decides; floats are near."""
    for expected, got in zip(family.meaning(node, reads), outputs, strict=True):
        if expected.dtype == np.uint32:
            channels = node.out_channels
            differs = bits.unpack(expected, channels) != bits.unpack(got, channels)
            exact = thresholds.thresholded(node.layer) and node.op == "binary_conv"
            allowed = np.False_ if exact else near(node, reads)
            assert not (differs & ~allowed).any()
            stray = bits.pack(bits.unpack(got, channels)) ^ got
            assert not stray.any(), "bits beyond the last channel are 0"
        else:
            largest = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * largest)
