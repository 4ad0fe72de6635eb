"""A comparison: means over seeds, shares, and a page that says what it knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from binas.core import record
from binas.runtime import html
from binas.search import compare_page
from binas.search.compare import Comparison, Entry, mean_and_std, mean_or_none, weight_free
from binas.search.genotype import CellOps, Genotype


def entry(genotype: Genotype, strategy: str, seed: int, accuracy: float, us: float | None) -> Entry:
    return Entry(
        strategy=strategy,
        seed=seed,
        genotype=genotype,
        accuracy=accuracy,
        validation=0.5,
        latency_us=us,
        predicted_us=3.0,
        biops=2_000_000,
        flops=10_000,
        parameters=12_300,
        binary_weights=10_000,
        search_s=7.0,
        weight_free=0.25,
    )


@pytest.fixture
def comparison(genotype: Genotype) -> Comparison:
    return Comparison(
        data="glyphs & <more>",
        data_digest="0" * 12,
        device="host",
        budget_us=4.0,
        images=20_000,
        entries=(
            entry(genotype, "bars", 0, 0.8, 5.0),
            entry(genotype, "bars", 1, 0.9, 7.0),
            entry(genotype, "random", 0, 0.7, 4.0),
            entry(genotype, "random", 1, 0.7, 6.0),
        ),
        versions={"binas": "0"},
    )


def test_rows_are_means_over_seeds_with_their_deviation(comparison: Comparison) -> None:
    assert compare_page.lines(comparison) == (
        ("bars", "85.0 ± 7.1", "6.0", "2.00", "12", "7", "25"),
        ("random", "70.0 ± 0.0", "5.0", "2.00", "12", "7", "25"),
    )
    assert mean_and_std([0.5]) == (0.5, None)
    assert mean_or_none([None, 2.0, 4.0]) == 3.0
    assert mean_or_none([None]) is None


def test_of_one_seed_no_deviation_is_made_up(comparison: Comparison) -> None:
    one = replace(comparison, entries=comparison.entries[::2])
    assert [row[1] for row in compare_page.lines(one)] == ["80.0", "70.0"]
    text = html.render(compare_page.page(one))
    assert "±" not in text
    assert "held out, one seed" in text
    assert "One seed shows no difference" in text
    uneven = replace(comparison, entries=comparison.entries[1:])
    assert [row[1] for row in compare_page.lines(uneven)] == ["90.0", "70.0 ± 0.0"]
    assert "held out, one seed" in html.render(compare_page.page(uneven))


def test_a_latency_that_was_not_measured_is_called_so(comparison: Comparison) -> None:
    guessed = tuple(replace(e, latency_us=None) for e in comparison.entries)
    unmeasured = replace(comparison, device=None, entries=guessed)
    assert [row[2] for row in compare_page.lines(unmeasured)] == ["3.0 (table)"] * 2
    text = html.render(compare_page.page(unmeasured))
    assert "latency by the table" in text
    assert "measured latency" not in text
    unknown = tuple(replace(e, predicted_us=None) for e in guessed)
    text = html.render(compare_page.page(replace(unmeasured, entries=unknown)))
    assert "Accuracy and latency" not in text


def test_the_page_shows_every_strategy_its_network_and_escapes_names(
    comparison: Comparison,
) -> None:
    text = html.render(compare_page.page(comparison))
    assert "glyphs &amp; &lt;more&gt;" in text
    assert "<more>" not in text
    assert text.count("<title>network of ") == 2
    assert "asked for 4.00 µs" in text
    assert "85.0 ± 7.1" in text
    assert "measured latency, µs" in text


def test_a_comparison_is_a_record(comparison: Comparison) -> None:
    again = record.loads(Comparison, record.dumps(comparison), where="here")
    assert again == comparison
    assert again.strategies == ("bars", "random")


def test_none_skip_and_pool_have_no_weights(genotype: Genotype) -> None:
    cells = [*(cell for stage in genotype.normal for cell in stage), *genotype.reduction]
    ops = [op for cell in cells for op in cell]
    assert weight_free(genotype) == pytest.approx(1 - ops.count("b3") / len(ops))
    skips: CellOps = ("skip", "none", "skip")
    bare = replace(
        genotype,
        normal=tuple((skips,) * len(stage) for stage in genotype.normal),
        reduction=(("pool", "none", "skip"),) * len(genotype.reduction),
    )
    assert weight_free(bare) == 1
