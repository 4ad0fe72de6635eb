"""The estimate: shares add up, and more work is a larger share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from binas.compile import isa as isas
from binas.compile.estimate import shares, vector_instructions
from binas.core.layer import Layer
from binas.devices.device import CPUS as KNOWN

BINARY = Layer(op="binary_conv", in_shape=(1, 8, 8, 64), out_channels=64, kernel=(3, 3))
LAYERS = [
    BINARY,
    replace(BINARY, groups=64, stages=("affine", "relu")),
    replace(BINARY, op="conv", in_bits=32, weight_bits=32),
    Layer(op="pool_max", in_shape=(1, 8, 8, 64), out_channels=64, kernel=(2, 2), stride=(2, 2)),
    Layer(
        op="pool_bits",
        in_shape=(1, 8, 8, 64),
        out_channels=64,
        kernel=(2, 2),
        stride=(2, 2),
        in_bits=1,
        float_out=False,
        bits_out=True,
    ),
    Layer(op="elementwise", in_shape=(1, 8, 8, 64), out_channels=64, bits_out=True),
]
CPUS = [
    ("x86_64", "x86-64-v3"),
    ("x86_64", "icelake-server"),
    ("x86_64", "znver4"),
    ("aarch64", "cortex-a72"),
]


@pytest.mark.parametrize(("arch", "cpu"), CPUS)
def test_shares_are_positive_and_add_up(arch: str, cpu: str) -> None:
    found = shares(LAYERS, isas.find(cpu, arch))
    assert all(share > 0 for share in found)
    assert sum(found) == pytest.approx(1)
    assert shares([], isas.find(cpu, arch)) == []


@pytest.mark.parametrize(("arch", "cpu"), [(a, c) for a, cpus in KNOWN.items() for c in cpus])
def test_every_cpu_that_kernels_are_made_for_has_an_estimate(arch: str, cpu: str) -> None:
    assert vector_instructions(BINARY, isas.find(cpu, arch)) > 0


@pytest.mark.parametrize(("arch", "cpu"), CPUS)
def test_bits_cost_less_than_floats_and_depthwise_less_than_dense(arch: str, cpu: str) -> None:
    isa = isas.find(cpu, arch)
    dense, depthwise, real, *_ = (vector_instructions(layer, isa) for layer in LAYERS)
    assert depthwise < dense < real / 3  # filtering saves half of what reals multiply
    *_, floats, packed, _ = (vector_instructions(layer, isa) for layer in LAYERS)
    assert packed < floats / 5


@pytest.mark.parametrize("layer", LAYERS)
def test_twice_the_rows_are_twice_the_work(layer: Layer) -> None:
    isa = isas.find("x86-64-v3", "x86_64")
    twice = replace(layer, in_shape=(2, *layer.in_shape[1:]))
    assert vector_instructions(twice, isa) == 2 * vector_instructions(layer, isa)


def test_real_convolutions_count_what_their_way_takes() -> None:
    avx512, avx2 = (isas.find(cpu, "x86_64") for cpu in ("icelake-server", "x86-64-v3"))
    stem = Layer(
        op="conv",
        in_shape=(1, 224, 224, 3),
        out_channels=64,
        kernel=(7, 7),
        stride=(2, 2),
        padding=(3, 3, 3, 3),
        weight_bits=32,
    )
    signs = Layer(op="conv", in_shape=(1, 14, 14, 432), out_channels=216, weight_bits=1)
    dense = replace(signs, in_shape=(1, 1, 1, 512), out_channels=1000)
    # F(4, 4) of pairs of pixels; a look-up, on AVX2 its sign, and an addition for four; of many
    # pixels, half the load of an index and an addition that loads, or a load and an addition.
    for layer, isa, of_a_product in (
        (stem, avx512, 13 / 28),
        (signs, avx512, 2 / 4),
        (dense, avx2, 3 / 4),
        (signs, avx2, 1.5 / 4),
        (signs, isas.find("x86-64-v2", "x86_64"), 2.5 / 4),
        (replace(signs, weight_bits=32), isas.find("x86-64-v2", "x86_64"), 2.0),
    ):
        _, P, Q, K = layer.out_shape
        sums = vector_instructions(layer, isa) - 2 * P * Q * K / isa.lanes
        assert sums * isa.lanes / layer.macs == pytest.approx(of_a_product)
