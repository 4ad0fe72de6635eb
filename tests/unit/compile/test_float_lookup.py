"""Real activations under weights of one bit: when their signed sums are looked up, and how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile import isa as isas
from binas.compile.isa import Isa
from binas.compile.kernels import float_conv, float_direct, float_lookup, float_tables
from binas.compile.kernels.sum_tables import encoded
from binas.core.layer import Layer
from binas.devices.device import CPUS

AVX2 = isas.find("x86-64-v3", "x86_64")
AVX512 = isas.find("icelake-server", "x86_64")
LAYER = Layer(op="conv", in_shape=(1, 14, 14, 432), out_channels=216, weight_bits=1)


def test_sums_of_many_pixels_are_looked_up_in_a_register_that_holds_sixteen() -> None:
    ways = {cpu: float_conv.way(LAYER, isas.find(cpu, "x86_64")) for cpu in CPUS["x86_64"]}
    for cpu in ("x86-64-v2", "x86-64-v3"):
        assert ways.pop(cpu) is float_tables  # many pixels: in memory
    assert set(ways.values()) == {float_lookup}
    assert float_conv.way(LAYER, isas.find("cortex-a7", "armv7")) is float_direct


@pytest.mark.parametrize(
    "other",
    [
        replace(LAYER, weight_bits=32),
        replace(LAYER, kernel=(3, 3)),
        replace(LAYER, padding=(1, 1, 1, 1)),
        replace(LAYER, groups=2),
        replace(LAYER, out_channels=16),  # tables would cost more than they save
        replace(LAYER, in_shape=(1, 1, 1, 432), out_channels=100_000),  # sums would fill the stack
    ],
)
def test_other_layers_are_multiplied(other: Layer) -> None:
    for isa in (AVX2, AVX512):
        assert float_conv.way(other, isa) is float_direct


def test_a_dense_layer_is_looked_up_since_nobody_shares_its_real_weights() -> None:
    dense = replace(LAYER, in_shape=(1, 1, 1, 512), out_channels=1000)
    for isa in (AVX2, AVX512):
        assert float_conv.way(dense, isa) is float_lookup


@given(
    isa=st.sampled_from((AVX2, AVX512)),
    C=st.integers(1, 300),
    K=st.integers(33, 300),
    size=st.integers(1, 30),
    writes_bits=st.booleans(),
)
def test_the_own_choice_is_among_what_a_tuner_tries(
    isa: Isa, C: int, K: int, size: int, *, writes_bits: bool
) -> None:
    layer = replace(LAYER, in_shape=(1, size, size, C), out_channels=K)
    layer = replace(layer, float_out=not writes_bits, bits_out=writes_bits)
    tile = float_lookup.default_tile(layer, isa)
    assert tile in float_lookup.tiles(layer, isa)
    assert tile.channels % (32 if writes_bits else isa.lanes) == 0


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_half_a_table_and_a_sign_say_what_a_whole_table_says(words: list[int], seed: int) -> None:
    x = np.random.default_rng(seed).integers(-99, 99, 4)
    whole = [sum(x[j] if i >> j & 1 else -x[j] for j in range(4)) for i in range(16)]
    plain = np.array(words, np.uint32)
    for given_word, found_word in zip(plain, encoded(plain.view(np.int32), AVX2), strict=True):
        for shift in range(0, 32, 4):
            nibble = int(found_word) >> shift & 15
            sign = -1 if nibble & 8 else 1
            assert sign * whole[8 + (nibble & 7)] == whole[int(given_word) >> shift & 15]


@pytest.mark.parametrize(("isa", "outputs"), [(AVX512, 224), (AVX2, 216)])
def test_weights_take_a_bit_each(isa: Isa, outputs: int) -> None:
    tile = float_lookup.default_tile(LAYER, isa)
    sizes = {name: size for name, size, _ in float_lookup.parameters(LAYER, isa, tile)}
    assert sizes["w"] == outputs * 14  # outputs fill whole vectors, inputs whole words
