"""Real activations under weights of one bit: when their signed sums are looked up, and how."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile import isa as isas
from binas.compile.kernels import float_conv, float_direct, float_lookup
from binas.core.layer import Layer

AVX512 = isas.find("icelake-server", "x86_64")
LAYER = Layer(op="conv", in_shape=(1, 14, 14, 432), out_channels=216, weight_bits=1)


def test_weights_of_one_bit_are_looked_up_where_a_register_holds_sixteen_sums() -> None:
    ways = {
        (isa.cpu, isa.arch): float_conv.way(LAYER, isa)
        for isa in map(isas.find, ("x86-64-v4", "x86-64-v3"), ("x86_64",) * 2)
    }
    assert ways == {
        ("x86-64-v4", "x86_64"): float_lookup,
        ("x86-64-v3", "x86_64"): float_direct,
    }


@pytest.mark.parametrize(
    "other",
    [
        replace(LAYER, weight_bits=32),
        replace(LAYER, kernel=(3, 3)),
        replace(LAYER, padding=(1, 1, 1, 1)),
        replace(LAYER, groups=2),
        replace(LAYER, out_channels=32),  # tables would cost more than they save
        replace(LAYER, in_shape=(1, 1, 1, 432), out_channels=100_000),  # sums would fill the stack
    ],
)
def test_other_layers_are_multiplied(other: Layer) -> None:
    assert float_conv.way(other, AVX512) is float_direct


@given(
    C=st.integers(1, 300),
    K=st.integers(33, 300),
    size=st.integers(1, 30),
    writes_bits=st.booleans(),
)
def test_the_own_choice_is_among_what_a_tuner_tries(
    C: int, K: int, size: int, *, writes_bits: bool
) -> None:
    layer = replace(LAYER, in_shape=(1, size, size, C), out_channels=K)
    layer = replace(layer, float_out=not writes_bits, bits_out=writes_bits)
    tile = float_conv.default_tile(layer, AVX512)
    assert tile in float_conv.tiles(layer, AVX512)
    assert tile.channels % (32 if writes_bits else 16) == 0


def test_weights_take_a_bit_each() -> None:
    tile = float_conv.default_tile(LAYER, AVX512)
    sizes = {name: size for name, size, _ in float_lookup.parameters(LAYER, AVX512, tile)}
    assert sizes["w"] == 224 * 14  # outputs fill whole vectors, inputs whole words
