"""How convolutions are cut: units, and the runs of them that threads share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile import isa as isas
from binas.compile.kernels import cutting, family
from binas.compile.tile import Tile
from binas.core.layer import Layer

TILE = Tile(pixels=4, vectors=2, lanes=16)


def conv(kernel: int, side: int, channels: int, batch: int = 1) -> Layer:
    """A binary convolution that keeps the image's size."""
    pad = kernel // 2
    return Layer(
        op="binary_conv",
        in_shape=(batch, side, side, channels),
        out_channels=channels,
        kernel=(kernel, kernel),
        padding=(pad, pad, pad, pad),
        in_bits=1,
        bits_out=True,
    )


@given(
    st.sampled_from([1, 3]),
    st.integers(1, 30),
    st.sampled_from([1, 31, 32, 33, 64, 65, 127, 128, 129]),
    st.integers(1, 2),
    st.booleans(),
)
def test_units_are_a_whole_number_of_sweeps_down_the_rows(
    kernel: int, side: int, channels: int, batch: int, rows_first: bool
) -> None:
    tile = Tile(4, 2, 16, 2, rows_first)
    layer = cutting.as_row(conv(kernel, side, channels, batch))
    length, rest = divmod(cutting.units(layer, tile), cutting.sweeps(layer, tile))
    down = batch * layer.out_shape[1] * cutting.pieces(layer, tile)
    assert rest == 0
    assert length == (down if down > 1 and not rows_first else cutting.units(layer, tile))


def test_every_channel_block_is_a_sweep_unless_rows_go_first() -> None:
    layer = conv(3, 28, 128)
    assert cutting.sweeps(layer, TILE) == 4
    assert cutting.sweeps(layer, Tile(4, 2, 16, 2, rows_first=True)) == 1


def test_a_long_row_that_is_the_whole_image_is_cut_so_that_threads_can_share_it() -> None:
    row = cutting.as_row(conv(1, 28, 64))
    assert cutting.pieces(row, TILE) == cutting.PIECES
    assert cutting.units(row, TILE) == 2 * cutting.PIECES
    assert cutting.pieces(cutting.as_row(conv(1, 7, 64)), TILE) == 1
    assert cutting.pieces(conv(3, 28, 64), TILE) == 1


@pytest.mark.parametrize("cpu", ["icelake-server", "x86-64-v3"])
@pytest.mark.parametrize("kind", ["binary", "real", "depthwise"])
def test_kernels_whose_blocks_go_first_say_so_to_the_threads(kind: str, cpu: str) -> None:
    isa = isas.find(cpu, "x86_64")
    layer = conv(3, 9, 256)
    if kind != "binary":
        groups = 256 if kind == "depthwise" else 1
        layer = replace(layer, op="conv", in_bits=32, bits_out=False, float_out=True, groups=groups)
        layer = replace(layer, dilation=(2, 2), padding=(2, 2, 2, 2))  # dilated: not filtered
    kernel = family.generate(layer, isa, "kernel")
    assert kernel.sweeps > 1
    assert kernel.units == 9 * kernel.sweeps
