"""The tile that convolutions of reals choose when nobody measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile import isa as isas
from binas.compile.isa import Isa
from binas.compile.kernels import cutting, float_conv
from binas.compile.kernels.float_sums import room
from binas.core import bits
from binas.core.layer import Layer

ISAS = [
    isas.find("x86-64-v2", "x86_64"),
    isas.find("x86-64-v3", "x86_64"),
    isas.find("x86-64-v4", "x86_64"),
    isas.find("cortex-a53", "aarch64"),
    isas.find("cortex-a72", "aarch64"),
]
AVX2, A53 = ISAS[1], ISAS[3]


def conv(K: int, size: int = 8, C: int = 64, *, writes_bits: bool = False) -> Layer:
    return Layer(
        op="conv",
        in_shape=(1, size, size, C),
        out_channels=K,
        weight_bits=32,
        float_out=not writes_bits,
        bits_out=writes_bits,
    )


def widths(layer: Layer, isa: Isa) -> list[int]:
    tile = float_conv.default_tile(layer, isa)
    blocks = cutting.blocks(cutting.as_row(layer), tile, 1)
    return [block.vectors for block in blocks for _ in range(block.count)]


@pytest.mark.parametrize(
    ("K", "shared"), [(36, [3, 2]), (72, [3, 3, 3]), (80, [2] * 5), (64, [4, 4]), (16, [2])]
)
def test_channels_are_shared_out_so_that_no_block_is_nearly_empty(
    K: int, shared: list[int]
) -> None:
    assert widths(conv(K), AVX2) == shared


def test_where_loads_cost_cycles_of_their_own_a_tile_is_square() -> None:
    tile = float_conv.default_tile(conv(64), A53)
    assert (tile.pixels, tile.vectors) == (4, 4)


@given(
    K=st.integers(1, 300),
    size=st.integers(1, 40),
    writes_bits=st.booleans(),
    isa=st.sampled_from(ISAS),
)
def test_sums_fit_the_registers_and_bits_fill_their_words(
    K: int, size: int, writes_bits: bool, isa: Isa
) -> None:
    layer = conv(K, size, writes_bits=writes_bits)
    tile = float_conv.default_tile(layer, isa)
    assert tile.pixels * tile.vectors <= max(room(isa), bits.WORD_BITS // isa.lanes)
    assert tile.pixels <= size * size
    if writes_bits and tile.vectors * isa.lanes < K:
        assert tile.channels % bits.WORD_BITS == 0
    assert tile in float_conv.tiles(layer, isa)
