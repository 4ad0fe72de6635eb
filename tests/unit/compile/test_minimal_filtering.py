"""Minimal filtering computes what a filter computes, exactly, with fewer products."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile.kernels import minimal_filtering
from binas.compile.kernels.minimal_filtering import Filtering, Matrix

KNOWN = {2: 4, 3: 4, 4: 4, 5: 3, 6: 2}  # taps: outputs
NUMBERS = st.integers(-999, 999).map(Fraction)


def known(taps: int) -> Filtering:
    found = Filtering.of(taps)
    assert found is not None
    return found


def times(matrix: Matrix, x: list[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, x, strict=True)), Fraction(0)) for row in matrix]


def madd(x: Fraction, c: Fraction, y: Fraction) -> Fraction:
    return x * c + y


@pytest.mark.parametrize("taps", KNOWN)
@given(data=st.data())
def test_the_matrices_filter_exactly(taps: int, data: st.DataObject) -> None:
    filtering = known(taps)
    n = filtering.products
    g = data.draw(st.lists(NUMBERS, min_size=taps, max_size=taps))
    d = data.draw(st.lists(NUMBERS, min_size=n, max_size=n))
    u, w = times(filtering.of_weights(), g), times(filtering.of_inputs(), d)
    y = times(filtering.of_products(), [a * b for a, b in zip(u, w, strict=True)])
    assert y == [
        sum((g[k] * d[o + k] for k in range(taps)), Fraction(0)) for o in range(filtering.outputs)
    ]


@pytest.mark.parametrize("taps", KNOWN)
@given(data=st.data())
def test_shared_sums_are_the_products_with_the_matrices(taps: int, data: st.DataObject) -> None:
    filtering = known(taps)
    n = filtering.products
    d = data.draw(st.lists(NUMBERS, min_size=n, max_size=n))
    assert minimal_filtering.inputs(filtering, d.__getitem__, madd) == times(
        filtering.of_inputs(), d
    )
    assert minimal_filtering.outputs(filtering, d, madd) == times(filtering.of_products(), d)


@pytest.mark.parametrize(("taps", "outputs"), KNOWN.items())
def test_products_are_fewer_than_those_of_a_filter(taps: int, outputs: int) -> None:
    filtering = known(taps)
    assert filtering.outputs == outputs
    assert filtering.products < outputs * taps


@pytest.mark.parametrize("taps", [1, 7, 11])
def test_one_tap_and_many_taps_are_left_alone(taps: int) -> None:
    assert Filtering.of(taps) is None


def test_a_filter_of_one_tap_is_as_it_is_written() -> None:
    plain, d = Filtering(4, 1), [Fraction(n) for n in (3, 1, 4, 1)]
    assert plain.products == 4
    assert plain.of_weights() == [[1]] * 4
    for matrix in (plain.of_inputs(), plain.of_products()):
        assert times(matrix, d) == d
    assert minimal_filtering.inputs(plain, d.__getitem__, madd) == d
    assert minimal_filtering.outputs(plain, d, madd) == d
    assert minimal_filtering.sums(plain) == (0, 0)


def test_points_are_known_for_seven_products() -> None:
    assert Filtering(4, 4).known
    assert not Filtering(4, 5).known


def test_sums_are_counted_as_they_are_made() -> None:
    assert minimal_filtering.sums(known(3)) == (17, 12)
    assert minimal_filtering.sums(known(4)) == (21, 14)
