"""A strided axis is the sum of its phases, and filtering them is exact."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.kernels import (
    float_conv,
    float_direct,
    float_winograd,
    float_winograd_2d,
    minimal_filtering,
)
from binas.compile.kernels.winograd_axes import Axis, Shape
from binas.core.layer import Layer

NUMBERS = st.integers(-999, 999).map(Fraction)


def conv(C: int, K: int, size: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> Layer:
    return Layer(
        op="conv",
        in_shape=(1, size, size, C),
        out_channels=K,
        kernel=(3, 3),
        stride=(stride, stride),
        padding=(dilation,) * 4,
        dilation=(dilation, dilation),
        groups=groups,
        weight_bits=32,
    )


def madd(x: Fraction, c: Fraction, y: Fraction) -> Fraction:
    return x * c + y


@given(
    taps=st.integers(2, 7),
    stride=st.integers(1, 3),
    outputs=st.sampled_from([2, 3, 4]),
    data=st.data(),
)
def test_the_phases_of_an_axis_add_up_to_its_outputs(
    taps: int, stride: int, outputs: int, data: st.DataObject
) -> None:
    axis = Axis.of(taps, stride, outputs)
    if axis is None:
        return
    n = axis.inputs(1)
    g = data.draw(st.lists(NUMBERS, min_size=taps, max_size=taps))
    d = data.draw(st.lists(NUMBERS, min_size=n, max_size=n))
    y = [Fraction(0)] * outputs
    for phase in axis.phases:
        f = phase.filtering
        own = g[phase.first :: stride]
        u = [sum(a * b for a, b in zip(row, own, strict=True)) for row in f.of_weights()]
        u = u[: phase.weights] * (f.products // phase.weights)

        def read(j: int, first: int = phase.first) -> Fraction:
            return d[j * stride + first]

        made = minimal_filtering.inputs(f, read, madd)
        products = [a * b for a, b in zip(u, made, strict=True)]
        y = [a + b for a, b in zip(y, minimal_filtering.outputs(f, products, madd), strict=True)]
    assert y == [sum(g[t] * d[o * stride + t] for t in range(taps)) for o in range(outputs)]


def test_products_weights_and_matrices_of_the_phases_follow_one_another() -> None:
    axis = Axis.of(3, 2, 4)
    assert axis is not None
    filtered, plain = axis.phases
    assert (filtered.filtered, filtered.filtering.taps, filtered.filtering.products) == (True, 2, 5)
    assert (plain.filtered, plain.first, plain.product, plain.weight) == (False, 1, 5, 5)
    assert (axis.products, axis.filtered, axis.weights) == (9, 5, 6)
    assert axis.inputs(7) == 57
    table = axis.matrices()
    assert len(table) == 5 * 5 + 5 * 4
    of_products = np.array(filtered.filtering.of_products(), np.float64).T
    assert (table[25:].reshape(5, 4) == of_products).all()


@pytest.mark.parametrize(("taps", "stride"), [(1, 1), (2, 2), (1, 2), (2, 3), (7, 1)])
def test_an_axis_that_saves_nothing_or_has_too_few_points_is_left_alone(
    taps: int, stride: int
) -> None:
    assert Axis.of(taps, stride, 4) is None


def test_a_shape_is_of_layers_without_groups_and_dilation() -> None:
    assert Shape.of(conv(32, 32, 8), (4, 4)) is not None
    assert Shape.of(conv(32, 32, 8, groups=2), (4, 4)) is None
    assert Shape.of(conv(32, 32, 8, dilation=2), (4, 4)) is None


@pytest.mark.parametrize(
    ("C", "K", "size", "stride", "way"),
    [
        (54, 108, 112, 2, float_winograd_2d),  # the stems of published cells
        (108, 108, 56, 2, float_winograd_2d),
        (64, 64, 56, 1, float_winograd_2d),
        (3, 64, 32, 1, float_winograd),
        (3, 54, 224, 2, float_direct),  # three channels do not pay for their transforms
        (16, 32, 32, 2, float_direct),
        (256, 256, 14, 1, float_direct),  # 9 MiB of weights, read by each group of tiles
    ],
)
@pytest.mark.parametrize("cpu", ["x86-64-v3", "icelake-server"])
def test_the_way_of_a_3x3_follows_its_channels(
    C: int, K: int, size: int, stride: int, way: object, cpu: str
) -> None:
    assert float_conv.way(conv(C, K, size, stride), isas.find(cpu, "x86_64")) is way


def test_instructions_are_the_products_that_are_left() -> None:
    isa = isas.find("x86-64-v3", "x86_64")
    assert float_conv.instructions(conv(54, 108, 112, stride=2), isa) == 81 / 144
    assert float_conv.instructions(conv(64, 64, 56), isa) == 36 / 144


def test_what_does_not_fit_the_stack_is_not_filtered_in_two_dimensions() -> None:
    isa = isas.find("icelake-server", "x86_64")
    assert float_winograd_2d.share(conv(2, 20_000, 8), isa) is None  # 640 KB of sums for a tile


@pytest.mark.parametrize("cpu", ["x86-64-v3", "icelake-server"])
@pytest.mark.parametrize(
    "layer", [conv(54, 108, 112, stride=2), conv(1392, 24, 32), conv(880, 32, 32)], ids=str
)
def test_what_lies_on_the_stack_has_a_bound_whatever_the_tile(layer: Layer, cpu: str) -> None:
    isa = isas.find(cpu, "x86_64")
    wide = max(float_winograd_2d.tiles(layer, isa), key=lambda tile: tile.vectors)
    for tile in (float_winograd_2d.default_tile(layer, isa), wide):
        kernel = float_winograd_2d.generate(layer, isa, "conv", tile)
        code = codegen.assembly(codegen.build({"conv": kernel.function}, isa))
        frame = max(int(size) for size in re.findall(r"subq\s+\$(\d+), %rsp", code))
        assert 32 << 10 < frame < 116 << 10  # 112 KiB, and what registers do not hold


def test_channels_of_a_tile_are_no_whole_words_where_bits_are_written() -> None:
    floats, isa = conv(54, 108, 112, stride=2), isas.find("x86-64-v3", "x86_64")
    both = replace(floats, bits_out=True)
    tile = float_winograd_2d.default_tile(both, isa)
    assert tile == float_winograd_2d.default_tile(floats, isa)
    assert tile.channels % 32
