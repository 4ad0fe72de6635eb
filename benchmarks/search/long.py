"""Rows of `--long`: every strategy on the full space of its kind, outside the band of cost.

DARTS cells with all eight operations on all 14 edges, BNAS-v2's broad network of the same, BARS'
stages that may be empty and may pool. What is found is trained wider and deeper, as the papers do.
Networks differ in cost, which each row says, so a row is compared with random search of the same
space alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from benchmarks.search import plan, units
from benchmarks.search.records import FullSearchUnit, Searched
from benchmarks.search.report import Row, with_differences
from benchmarks.search.rows import Entry, rows_of, trained, without_networks
from benchmarks.search.work import Work
from binas.search.strategy import catalogue
from binas.search.strategy.catalogue import Strategy

RANDOM = "uniform"  # the strategy that the others on its space are compared with


def long_rows(
    work: Work, sizes: plan.Long, wanted: Sequence[str], latency_seeds: int
) -> tuple[list[Row], list[str]]:
    """A row per strategy of which a search gave a network, and what to say of the others.

    Args:
        work: Where units are done.
        sizes: How large everything is.
        wanted: Names of strategies.
        latency_seeds: Networks of each that are compiled and measured.
    """
    entries = _entries(work, sizes, wanted)
    accuracies = trained(
        work, "train (long)", entries, sizes.images, sizes.training, sizes.training_seeds
    )
    rows = rows_of(entries, accuracies, units.macs, work.folder, latency_seeds)
    return compared(rows, wanted, sizes), without_networks(entries)


def compared(rows: Sequence[Row], wanted: Sequence[str], sizes: plan.Long) -> list[Row]:
    """The rows of strategies on the space of random search with their differences from it."""
    space = plan.long_space(RANDOM, sizes)
    alike = {row_name(name) for name in wanted if plan.long_space(name, sizes) == space}
    differing = with_differences([r for r in rows if r.strategy in alike], (row_name(RANDOM),))
    named = {row.strategy: row for row in differing}
    return [named.get(row.strategy, row) for row in rows]


def row_name(strategy: str) -> str:
    """Of a strategy's row, beside that of the small space."""
    return f"{strategy}, full space"


def _entries(work: Work, sizes: plan.Long, wanted: Sequence[str]) -> list[Entry]:
    searches = [
        _search_unit(catalogue.find(name), sizes, seed) for name in wanted for seed in sizes.seeds
    ]
    results = cast(list[Searched], work.do("search (long)", searches))
    found = {name: Entry(row_name(name)) for name in wanted}
    for unit, result in zip(searches, results, strict=True):
        entry = found[unit.strategy]
        entry.search_s.append(result.cpu_s)
        if result.genotype is None:
            entry.failures.append(f"seed {unit.seed}: {result.failure}")
        else:
            entry.nets.append(plan.evaluated(result.genotype, sizes))
            entry.seeds.append(unit.seed)
    return list(found.values())


def _search_unit(strategy: Strategy, sizes: plan.Long, seed: int) -> FullSearchUnit:
    return FullSearchUnit(
        strategy=strategy.name,
        settings=asdict(plan.long_settings(strategy, sizes)),
        space=plan.long_space(strategy.name, sizes),
        data=plan.DATA,
        images=sizes.images,
        seed=seed,
    )
