"""Tiles found by estimate: which stretches of what is executed are priced, and what they gain."""

from __future__ import annotations

from itertools import accumulate

import pytest

from benchmarks.arm_tiles import INSTRUCTIONS, STRETCHES, _cuts, tuned_by_rule
from binas.compile.tile import Tile
from binas.compile.tuning import Estimated, Measured, Tuned
from binas.core.layer import Layer

LAYER = Layer(op="binary_conv", in_shape=(1, 8, 8, 64), out_channels=64, in_bits=1, weight_bits=1)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_long_run_is_priced_in_stretches_that_are_spread_evenly(size: int) -> None:
    ends = list(accumulate([size] * (1_000_000 // size)))
    cuts = _cuts(ends)
    assert len(cuts) == STRETCHES
    middles = [(ends[first] + ends[stop - 1]) / 2 / ends[-1] for first, stop in cuts]
    assert middles == pytest.approx([(i + 0.5) / STRETCHES for i in range(STRETCHES)], abs=1e-3)
    for first, stop in cuts:
        assert (stop - first) * size == pytest.approx(INSTRUCTIONS, abs=2 * size)


def test_a_short_run_is_priced_whole() -> None:
    assert _cuts([5, 10, 12]) == [(0, 3)]


@pytest.mark.parametrize(
    ("gain", "ratio"),
    [
        (Estimated(tuned_cycles=90.0, rule_cycles=100.0, pipeline="cortex-a53"), 0.9),
        (Measured(tuned_ns=90.0, rule_ns=100.0, machine="a board"), 1.0),
    ],
)
def test_only_what_was_estimated_is_held_against_another_estimate(
    gain: Estimated | Measured, ratio: float
) -> None:
    entry = Tuned(
        layer=LAYER,
        arch="aarch64",
        cpu="cortex-a53",
        made_by="",
        tile=Tile(4, 2, 8),
        gain=gain,
        tried=2,
    )
    assert tuned_by_rule(entry) == ratio
