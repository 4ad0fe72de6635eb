"""The tile that ARM's binary convolutions choose when nobody measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from binas.compile import isa as isas
from binas.compile.kernels import family
from binas.core.layer import Layer

A53, A72 = (isas.find(cpu, "aarch64") for cpu in ("cortex-a53", "cortex-a72"))
FLOATS = Layer(
    op="binary_conv",
    in_shape=(1, 16, 16, 144),
    out_channels=72,
    in_bits=1,
    weight_bits=1,
    stages=("affine",),
)
BITS = replace(FLOATS, float_out=False, bits_out=True)
SQUARE = replace(FLOATS, kernel=(3, 3), padding=(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("layer", "in_order", "reorders"),
    [
        (FLOATS, "4x8 u1", "4x16 u1"),
        (BITS, "8x16 u1", "4x16 u1"),
        (replace(BITS, stages=("affine", "add")), "4x8 u1", "4x16 u1"),
        (replace(BITS, in_shape=(1, 16, 16, 288)), "4x16 u1", "4x16 u1"),
        (SQUARE, "4x16 u1", "4x16 u1"),
    ],
    ids=["1x1 to floats", "1x1 to bits", "1x1 to bits, added", "1x1 of many words", "3x3"],
)
def test_a_cpu_that_waits_gets_other_tiles_for_1x1_layers(
    layer: Layer, in_order: str, reorders: str
) -> None:
    assert str(family.default_tile(layer, A53)) == in_order
    assert str(family.default_tile(layer, A72)) == reorders


@pytest.mark.parametrize("K", [8, 24, 40])
@pytest.mark.parametrize("C", [24, 64, 144])
def test_the_familys_own_choice_is_the_first_that_a_tuner_tries(K: int, C: int) -> None:
    for layer in (FLOATS, BITS, SQUARE):
        odd = replace(layer, in_shape=(1, 16, 16, C), out_channels=K)
        for isa in (A53, A72):
            assert family.tiles(odd, isa)[0] == family.default_tile(odd, isa)
