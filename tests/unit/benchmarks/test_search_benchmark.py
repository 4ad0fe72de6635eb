"""The benchmark of searches: its intervals, its band, and that its plan is what it says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch

from benchmarks.search import band, plan
from benchmarks.search.__main__ import _line
from benchmarks.search.long import compared, long_rows, row_name
from benchmarks.search.report import Row, difference, interval, with_differences
from benchmarks.search.resnet import resnet
from benchmarks.search.rows import Entry, rows_of, without_networks
from benchmarks.search.work import Work
from binas.core import cli
from binas.search.cells import DARTS_OPS, CellSpace
from binas.search.compare import weight_free
from binas.search.genotype import Genotype
from binas.search.strategy import catalogue
from binas.search.survey import random_genotypes, random_networks


def row(strategy: str, *accuracies: float) -> Row:
    return Row(
        strategy=strategy,
        seeds=tuple(range(len(accuracies))),
        accuracy_mean=fmean(accuracies),
        accuracy_std=0.0,
        interval95=interval(accuracies),
        accuracies=accuracies,
        macs=8e5,
        latency_us=None,
        search_s=1.0,
        changes=(),
        weight_free=None,
        failures=(),
        differences=(),
    )


def cost(genotype: Genotype) -> float:
    """Invented, monotonous in width and in convolutions: the band is tested, not the compiler."""
    widths = sum(plan.SPACE.widths[w] for w in genotype.widths)
    cells = [c for stage in genotype.normal for c in stage] + list(genotype.reduction)
    return 2e5 * widths + 4e4 * sum(op == "b3" for cell in cells for op in cell)


def test_an_interval_is_students() -> None:
    # t(0.975, 4) = 2.776; mean 3, s = √2.5, n = 5.
    low, high = interval([1, 2, 3, 4, 5]) or (0, 0)
    assert (low + high) / 2 == pytest.approx(3)
    assert high - 3 == pytest.approx(2.7764451 * math.sqrt(2.5 / 5))
    assert interval([0.5]) is None


def test_a_difference_is_welchs_and_one_network_alone_has_no_spread() -> None:
    found = difference("b", [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert found.mean == pytest.approx(2)
    assert found.interval95 is not None
    assert found.interval95[1] - 2 == pytest.approx(4.3026527 / math.sqrt(3))
    single = difference("b", [0.5], [0.4])
    assert single.interval95 is None
    both = difference("b", [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 9.0])
    swapped = difference("a", [2.0, 4.0, 6.0, 9.0], [1.0, 2.0, 3.0, 4.0])
    assert both.interval95 is not None
    assert swapped.interval95 is not None
    assert both.interval95[0] == pytest.approx(-swapped.interval95[1])


def test_every_row_is_compared_with_every_reference_but_itself() -> None:
    rows = with_differences([row("random", 0.5, 0.6), row("bars", 0.8, 0.9)], ("random", "by hand"))
    assert [d.than for d in rows[0].differences] == []
    assert [d.than for d in rows[1].differences] == ["random"]
    assert rows[1].differences[0].mean == pytest.approx(0.3)
    assert "85.0%" in _line(rows[1])


def test_random_networks_lie_in_the_band_and_are_the_same_for_a_seed() -> None:
    found = band.random_nets(6, 3, cost)
    assert len(set(found)) == 6
    assert all(plan.in_band(cost(genotype)) for genotype in found)
    assert band.random_nets(4, 3, cost) == found[:4]


def test_a_network_outside_is_brought_to_one_nearby() -> None:
    for genotype in random_genotypes(plan.SPACE, 12, 1):
        there, changes = band.projected(genotype, cost)
        assert plan.in_band(cost(there))
        assert (changes == 0) == plan.in_band(cost(genotype))
        if changes == 1:
            assert there in band.neighbours(genotype)


def test_neighbours_differ_in_one_place_and_are_of_the_space() -> None:
    genotype = random_genotypes(plan.SPACE, 1, 2)[0]
    found = list(band.neighbours(genotype))
    assert genotype not in found
    assert len(set(found)) > 20
    for other in found:
        changed = [
            getattr(other, field) != getattr(genotype, field)
            for field in ("widths", "normal", "reduction")
        ]
        assert sum(changed) == 1


def test_every_strategy_gets_the_same_budget_of_images() -> None:
    operations = max(len(plan.SPACE.normal_ops), len(plan.SPACE.reduction_ops))
    for strategy in catalogue.STRATEGIES:
        settings = plan.settings(strategy)
        seen = settings.passes(operations) * settings.share * plan.IMAGES / 2
        assert seen == pytest.approx(plan.BUDGET_IMAGES), strategy.name
        assert settings.weight_rate == 1e-2


def test_the_hand_made_network_is_the_shallowest_and_widest() -> None:
    by_hand = plan.by_hand()
    assert by_hand.depths == (plan.SPACE.min_cells,) * 3
    assert set(by_hand.widths) == {len(plan.SPACE.widths) - 1}
    assert weight_free(by_hand) == 1


def test_the_resnet_has_a_shortcut_per_convolution_and_halves_between_stages() -> None:
    net = resnet(3, 5, channels=8, blocks=(1, 2))
    assert net(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    convs = [name for name, _ in net.named_parameters() if name.endswith("unit.conv.weight")]
    assert len(convs) == 3


@pytest.mark.parametrize("sizes", [plan.LONG, plan.SMOKE], ids=["long", "smoke"])
def test_full_spaces_get_one_budget_too_and_are_those_the_strategies_were_made_for(
    sizes: plan.Long,
) -> None:
    for strategy in catalogue.STRATEGIES:
        space = plan.long_space(strategy.name, sizes)
        settings = plan.long_settings(strategy, sizes)
        operations = max(len(space.normal_ops), len(space.reduction_ops))
        seen = settings.passes(operations) * settings.share * sizes.images / 2
        assert seen == pytest.approx(sizes.budget_images), strategy.name
        if strategy.name == "bars":
            assert not isinstance(space, CellSpace)
            assert space.min_cells == 0
            continue
        assert isinstance(space, CellSpace)
        assert space.normal_ops == space.reduction_ops == DARTS_OPS
        assert space.layout == ("broad" if strategy.name == "bnas-v2" else "darts")
        found = random_networks(space, 1, 0)[0]
        trained = plan.evaluated(found, sizes).space
        assert isinstance(trained, CellSpace)
        assert trained.channels == sizes.evaluated_channels
    assert len(plan.long_space("darts", plan.LONG).edges) == 14


def test_on_full_spaces_only_rows_of_one_space_are_compared() -> None:
    names = ["bars", "darts", "uniform"]
    rows = [row(row_name(name), 0.1 * place, 0.5) for place, name in enumerate(names)]
    by_name = {r.strategy: r for r in compared(rows, names, plan.SMOKE)}
    assert by_name["bars, full space"].differences == ()
    assert by_name["uniform, full space"].differences == ()
    (found,) = by_name["darts, full space"].differences
    assert found.than == "uniform, full space"
    assert found.mean == pytest.approx(-0.05)
    assert not compared(rows[:2], names[:2], plan.SMOKE)[1].differences  # no random search


def test_an_entry_without_a_network_is_said_and_no_row() -> None:
    failed = Entry("darts, full space", search_s=[1.0], failures=["seed 0: it collapsed"])
    assert rows_of([failed], {}, lambda _: 0.0, Path(), 1) == []
    assert without_networks([failed, Entry("by hand", [None])]) == [
        "no network from darts, full space: seed 0: it collapsed"
    ]


def test_full_spaces_are_searched_trained_and_kept_on_next_to_nothing(tmp_path: Path) -> None:
    sizes, names = replace(plan.SMOKE, seeds=(0,)), ["bars", "uniform"]

    def rows(commit: str) -> tuple[list[Row], set[str]]:
        with cli.progress() as bars:
            work = Work(tmp_path, 1, bars, commit)
            found, lacking = long_rows(work, sizes, names, 0)
        assert lacking == []
        return found, work.commits

    first, commits = rows("before")
    assert [r.strategy for r in first] == [row_name(name) for name in names]
    assert all(r.macs > 0 and r.search_s > 0 and r.seeds == (0,) for r in first)
    assert commits == {"before"}
    assert len(list(tmp_path.glob("*.json"))) == 4
    assert rows("after") == (first, {"before"})  # nothing was done again
