"""The Gauss-Newton product is right, and cheaper than what it stands for."""

from __future__ import annotations

import pytest

from benchmarks.curvature import Costs, compare
from binas.search.space import Space

SMALL = Space(input_shape=(1, 8, 8), classes=3, channels=8, stages=2, max_cells=1)


@pytest.mark.usefixtures("one_thread")
def test_the_product_meets_its_targets() -> None:
    costs = compare(SMALL, images=24, rounds=5)
    assert costs.parameters == 2 * 3 * 3 + 3 * 4
    assert costs.cosine >= 0.999
    assert costs.columns_s >= 5 * costs.gauss_newton_s
    assert costs.gauss_newton_s <= costs.exact_s
    assert costs.holds


def test_a_slow_or_wrong_product_does_not_hold() -> None:
    good = {
        "parameters": 9,
        "images": 9,
        "gauss_newton_s": 1.0,
        "exact_s": 1.5,
        "columns_s": 6.0,
        "cosine": 1.0,
        "rounds": 1,
    }
    assert Costs(**good).holds  # type: ignore[arg-type]
    for change in ({"exact_s": 0.9}, {"columns_s": 4.9}, {"cosine": 0.99}):
        assert not Costs(**{**good, **change}).holds  # type: ignore[arg-type]
