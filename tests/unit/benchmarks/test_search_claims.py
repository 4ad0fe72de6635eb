"""Claims tested small: pairs by seed, a collapse counts as what it is, memory is a step's."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import search_claims
from benchmarks.search import plan
from benchmarks.search_claims import CLAIMS, Outcome, Side, compared, memory, said, searched
from binas.core.errors import SearchError
from binas.search.strategy import catalogue


def outcome(share: float, cpu_s: float = 1.0, *, collapsed: bool = False) -> Outcome:
    return Outcome(probability=share / 2, share=share, cpu_s=cpu_s, collapsed=collapsed)


def test_differences_are_paired_by_seed() -> None:
    shares = (0.1, 0.5, 0.9)
    row = compared(CLAIMS[0], [(outcome(one), outcome(one + 0.05)) for one in shares])
    low, high = row["share_difference"]["interval95"]
    assert row["share_difference"]["mean"] == pytest.approx(-0.05)
    assert (low, high) == (pytest.approx(-0.05), pytest.approx(-0.05))  # though shares differ
    assert row["probability_difference"]["mean"] == pytest.approx(-0.025)


def test_the_ratio_of_times_is_a_geometric_mean() -> None:
    row = compared(CLAIMS[0], [(outcome(0, 2.0), outcome(0, 1.0)), (outcome(0, 8.0), outcome(0))])
    assert row["cpu_ratio"]["mean"] == pytest.approx(4.0)
    low, high = row["cpu_ratio"]["interval95"]
    assert low < 4.0 < high
    assert "time 4.00 (" in said(row)


def test_a_search_that_collapses_counts_as_one_without_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def collapse(*_: Any, **__: Any) -> None:
        raise SearchError("training collapsed", hint="")

    found = catalogue.find("bnas-v2")
    monkeypatch.setattr(
        catalogue,
        "find",
        lambda _name: type("Broken", (), {"search": collapse, "settings": found.settings}),
    )
    monkeypatch.setattr(plan, "settings", lambda _strategy: found.settings())
    result = searched(Side(strategy="bnas-v2"), 0)
    assert (result.share, result.probability, result.collapsed) == (1.0, 1.0, True)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_the_sides_of_a_claim_exist_and_differ(claim: search_claims.Claim) -> None:
    first, second = claim.sides
    assert first != second
    for side in claim.sides:
        strategy = catalogue.find(side.strategy)
        strategy.settings(**side.settings)


def test_a_step_with_partial_channels_runs() -> None:
    assert memory(4, 2, small=True) >= 0
