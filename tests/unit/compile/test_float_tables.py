"""Real activations under weights of one bit: signed sums of pixels in memory, and when they pay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile import isa as isas
from binas.compile.isa import Isa
from binas.compile.kernels import float_conv, float_lookup, float_tables, table_nest
from binas.compile.samples import sample_node
from binas.core.layer import Layer

AVX2 = isas.find("x86-64-v3", "x86_64")
SHORT = (
    (isas.find("x86-64-v2", "x86_64"), 8),
    (AVX2, 16),
    (isas.find("cortex-a53", "aarch64"), 16),
    (isas.find("cortex-a76", "aarch64"), 16),
)
LAYER = Layer(op="conv", in_shape=(1, 14, 14, 432), out_channels=216, weight_bits=1)


def test_few_pixels_leave_lanes_empty_and_look_into_registers() -> None:
    ways = {
        size: float_conv.way(replace(LAYER, in_shape=(1, size, size, 432)), AVX2)
        for size in (1, 2, 7, 28)
    }
    assert ways == {1: float_lookup, 2: float_lookup, 7: float_tables, 28: float_tables}


@pytest.mark.parametrize("isa", [isa for isa, _ in SHORT])
def test_a_dense_layer_leaves_too_many_lanes_empty(isa: Isa) -> None:
    for C, K in ((64, 64), (512, 1000)):
        layer = replace(LAYER, in_shape=(1, 1, 1, C), out_channels=K)
        assert float_conv.way(layer, isa) is not float_tables


@pytest.mark.parametrize("K", [900, 1100])
def test_sums_that_fill_the_stack_of_a_thread_are_not_kept_there(K: int) -> None:
    layer = replace(LAYER, out_channels=K)
    fits = 4 * table_nest.floats_on_stack(layer, AVX2) <= 80 << 10
    assert float_tables.pays(layer, AVX2) == fits == (K == 900)


@pytest.mark.parametrize(("isa", "pixels"), SHORT)
def test_three_quarters_of_the_registers_hold_sums(isa: Isa, pixels: int) -> None:
    assert float_conv.way(LAYER, isa) is float_tables
    assert table_nest.pixels(isa) == pixels
    sums = table_nest.CHANNELS * pixels // isa.lanes
    assert sums == isa.registers * 3 // 4


@given(isa=st.sampled_from([isa for isa, _ in SHORT]), width=st.integers(1, 100))
def test_tiles_hold_every_pixel_of_a_row_once(isa: Isa, width: int) -> None:
    layer = replace(LAYER, in_shape=(1, 3, width, 432), stride=(2, 1))
    found = table_nest.widths(layer, isa)
    assert sum(found) == width
    assert all(width == table_nest.pixels(isa) for width in found[:-1])


@given(
    isa=st.sampled_from([isa for isa, _ in SHORT]),
    C=st.integers(1, 300),
    K=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_places_say_which_sum_of_which_table_a_channel_adds(
    isa: Isa, C: int, K: int, seed: int
) -> None:
    layer = replace(LAYER, in_shape=(1, 8, 8, C), out_channels=K)
    node = sample_node(layer, "conv", np.random.default_rng(seed))
    x = np.random.default_rng(seed).integers(-9, 9, C)
    padded = np.concatenate([x, np.zeros(-C % 4, np.int64)]).reshape(-1, 4)
    tables = [
        [sum(v if entry >> j & 1 else -v for j, v in enumerate(four)) for entry in range(16)]
        for four in padded.tolist()
    ]
    places, sums = iter(float_tables.arrays(node, isa)[0].tolist()), np.zeros(K + 6, np.int64)
    for first in range(0, len(tables), table_nest.PASS):
        for block in range(-(-K // 6)):
            for table in tables[first : first + table_nest.PASS]:
                for channel in range(6):
                    sums[block * 6 + channel] += table[next(places) // isa.lanes]
    assert not list(places)
    assert node.weights is not None
    np.testing.assert_array_equal(sums[:K], node.weights[:, 0, 0].astype(np.int64) @ x)
