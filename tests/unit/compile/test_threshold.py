"""Integer thresholds against every sum that can occur."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from binas.compile import isa
from binas.compile.graph import Affine, Node
from binas.compile.kernels import family, thresholds

TINY, HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.1, -0.1, 3.0, -3.0, TINY, -TINY, 1e-45, HUGE, -HUGE)


@pytest.mark.parametrize("scale", SPECIAL)
@pytest.mark.parametrize("bias", SPECIAL)
def test_a_threshold_decides_as_exact_arithmetic_does(scale: float, bias: float) -> None:
    must_decide_exactly(np.array([scale]), np.array([bias]), 40)


def test_random_thresholds_decide_as_exact_arithmetic_does() -> None:
    generator = np.random.default_rng(0)
    scale, bias = generator.standard_normal((2, 300)) * 10.0 ** generator.integers(-6, 3, (2, 300))
    must_decide_exactly(scale, bias, 27)


def test_ties_are_plus_one() -> None:
    """a * dot + b is exactly 0 for the sum -b / a."""
    sums = np.arange(-20.0, 21.0)
    must_decide_exactly(np.full(41, 0.25), sums * 0.25, 20)
    must_decide_exactly(np.full(41, -0.25), sums * 0.25, 20)


def must_decide_exactly(scale: np.ndarray, bias: np.ndarray, bound: int) -> None:
    """Compare with rational numbers for every sum from -bound to bound."""
    limit, flip = thresholds.threshold(Affine(scale, bias), bound)
    for a, b, t, negated in zip(
        scale.astype(np.float32), bias.astype(np.float32), limit, flip, strict=True
    ):
        for dot in range(-bound, bound + 1):
            exact = Fraction(float(a)) * dot + Fraction(float(b)) >= 0
            assert ((-dot if negated else dot) >= t) == exact, (a, b, dot)


def test_thresholds_of_a_huge_layer_stay_within_32_bits() -> None:
    """More multiply-accumulates than an int32 counts; a sum is still small."""
    node = Node(
        name="n",
        sources=(),
        op="binary_conv",
        inputs=("x",),
        in_shape=(1, 4096, 4096, 32),
        out_channels=16,
        kernel=(3, 3),
        weights=np.ones((16, 3, 3, 32), np.float32),
        weight_bits=1,
        stages=(Affine(np.zeros(16), np.array([-1.0, 1.0] * 8)),),
        bits_out="b",
    )
    assert node.layer.macs > 2**32
    most_mismatches = family.arrays(node, isa.find("cortex-a53", "armv7"))[-1][:16]
    assert most_mismatches.tolist() == [-1, 3 * 3 * 32] * 8  # never, always
    mismatches_below = family.arrays(node, isa.find("x86-64-v2", "x86_64"))[-1][:16]
    assert sorted(set(mismatches_below.tolist())) == [0, 3 * 3 * 32 + 1]
