"""Searches beside their references: `python -m benchmarks.search --json FILE`.

Every search, training and measurement is kept in a folder beside the file, so an interrupted run
goes on and a strategy that is added costs its own time only. Two processes of one thread each, then
latency by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import cast

import click

from benchmarks import commit as commits
from benchmarks import report_file
from benchmarks.search import plan, units
from benchmarks.search.band import Cost, projected, random_nets
from benchmarks.search.long import long_rows
from benchmarks.search.records import Searched, SearchUnit, Trained
from benchmarks.search.report import Report, Row, with_differences
from benchmarks.search.rows import Entry, rows_of, train_unit, trained, without_networks
from benchmarks.search.work import Work
from binas.core import cli, record
from binas.core.errors import UsageError
from binas.devices import probe
from binas.search import data
from binas.search.genotype import AnyGenotype, Genotype
from binas.search.run import versions
from binas.search.strategy import catalogue

REFERENCES = ("random", "random best-of-k", "by hand", "1-bit ResNet")
RANDOM_SEED, POOL_SEED = 99, 1000  # of networks, apart from all seeds of searches
PROCESSES = 2


@click.command(cls=cli.Command)
@report_file.option
@click.option("--strategy", "names", multiple=True, help="Strategies to run; all when left out.")
@click.option("--seeds", type=click.IntRange(1, len(plan.SEEDS)), default=len(plan.SEEDS))
@click.option(
    "--latency-seeds",
    type=click.IntRange(0, len(plan.SEEDS)),
    default=1,
    show_default=True,
    help="Networks of each row that are compiled and measured here.",
)
@click.option("--processes", type=click.IntRange(1), default=PROCESSES, show_default=True)
@click.option("--long", is_flag=True, help="Also search every strategy's full space: hours.")
@click.option("--smoke", is_flag=True, help="Full spaces alone, on next to nothing: a minute.")
def main(
    *,
    file: Path,
    names: tuple[str, ...],
    seeds: int,
    latency_seeds: int,
    processes: int,
    long: bool,
    smoke: bool,
) -> None:
    """Compare searches of one space at one budget of images, inside a band of cost."""
    known = [strategy.name for strategy in catalogue.STRATEGIES]
    wanted = [catalogue.find(name).name for name in names] or known
    folder = file.with_suffix(".units")
    folder.mkdir(parents=True, exist_ok=True)
    commit, best_of = _commit(), 0
    rows: list[Row] = []
    reduced = ["smoke: the numbers say nothing"] if smoke else _reduced(known, wanted, seeds)
    with cli.progress() as bars:
        work = Work(folder, processes, bars, commit)
        if not smoke:
            small, best_of, lacking = _small_rows(work, wanted, plan.SEEDS[:seeds], latency_seeds)
            rows += with_differences(small, REFERENCES)
            reduced += lacking
        if long or smoke:
            full, lacking = long_rows(
                work, plan.SMOKE if smoke else plan.LONG, wanted, latency_seeds
            )
            rows += full
            reduced += lacking
    report = Report(
        commit=commit,
        unit_commits=tuple(sorted({*work.commits})),
        reduced="; ".join(reduced),
        data_digest=data.load(plan.DATA).digest,
        best_of=best_of,
        plan=_plan(),
        versions=versions(),
        cpu=probe.this_machine().model,
        rows=tuple(rows),
    )
    record.save(report, file)
    for row in report.rows:
        click.echo(_line(row))


def _small_rows(
    work: Work, wanted: Sequence[str], seeds: Sequence[int], latency_seeds: int
) -> tuple[list[Row], int, list[str]]:
    """References and strategies on the small space, k, and what gave no network."""
    lut = units.lut_of(work.folder)

    def cost(net: AnyGenotype) -> float:
        return lut.predict_ns(cast(Genotype, net))  # multiply-accumulates: see plan.Macs

    entries, best_of = _entries(work, cost, wanted, seeds)
    accuracies = trained(work, "train", entries, plan.IMAGES, plan.TRAINING, plan.TRAINING_SEEDS)
    rows = rows_of(entries, accuracies, cost, work.folder, latency_seeds)
    return rows, best_of, without_networks(entries)


def _entries(
    work: Work, cost: Cost, wanted: Sequence[str], seeds: Sequence[int]
) -> tuple[list[Entry], int]:
    """Every row's networks, and k."""
    searches = [_search_unit(name, seed) for name in wanted for seed in seeds]
    searched = cast(list[Searched], work.do("search", searches))
    found: list[Entry] = []
    for name in wanted:
        entry = Entry(name)
        for unit, result in zip(searches, searched, strict=True):
            if unit.strategy == name:
                _take(entry, unit.seed, result, cost)
        found.append(entry)
    random = Entry("random", [*random_nets(plan.RANDOM_NETS, RANDOM_SEED, cost)])
    random.seeds = [RANDOM_SEED] * plan.RANDOM_NETS
    best, k = _best_of(work, cost, seeds, fmean(result.cpu_s for result in searched))
    by_hand, resnet = Entry("by hand", [plan.by_hand()]), Entry("1-bit ResNet", [None])
    return [random, best, by_hand, resnet, *found], k


def _take(entry: Entry, seed: int, result: Searched, cost: Cost) -> None:
    entry.search_s.append(result.cpu_s)
    if result.genotype is None:
        entry.failures.append(f"seed {seed}: {result.failure}")
        return
    genotype, changes = projected(cast(Genotype, result.genotype), cost)
    entry.nets.append(genotype)
    entry.seeds.append(seed)
    entry.changes.append(changes)


def _best_of(work: Work, cost: Cost, seeds: Sequence[int], search_s: float) -> tuple[Entry, int]:
    """Random search: k short trainings in the time of a mean search, the best on validation."""
    pools = {seed: random_nets(plan.POOL, POOL_SEED + seed, cost) for seed in seeds}
    ranked = [
        train_unit(net, seed, plan.RANKING_IMAGES, plan.TRAINING)
        for seed in seeds
        for net in pools[seed]
    ]
    results = cast(list[Trained], work.do("rank", ranked))
    k = max(1, min(plan.POOL, round(search_s / fmean(result.cpu_s for result in results))))
    entry = Entry("random best-of-k")
    for place, seed in enumerate(seeds):
        first = results[place * plan.POOL : place * plan.POOL + k]
        best = max(range(k), key=lambda i: first[i].validation)
        entry.nets.append(pools[seed][best])
        entry.seeds.append(seed)
        entry.search_s.append(sum(result.cpu_s for result in first))
    return entry, k


def _search_unit(name: str, seed: int) -> SearchUnit:
    return SearchUnit(
        strategy=name,
        settings=asdict(plan.settings(catalogue.find(name))),
        data=plan.DATA,
        budget_macs=plan.BAND[1],
        seed=seed,
    )


def _plan() -> dict[str, str]:
    names = (
        "DATA",
        "IMAGES",
        "BAND",
        "SEEDS",
        "TRAINING_SEEDS",
        "BUDGET_IMAGES",
        "RANKING_IMAGES",
        "LONG",
    )
    return {name: str(getattr(plan, name)) for name in names}


def _reduced(known: Sequence[str], wanted: Sequence[str], seeds: int) -> list[str]:
    parts = []
    if missing := [name for name in known if name not in wanted]:
        parts.append(f"without {', '.join(missing)}")
    if seeds < len(plan.SEEDS):
        parts.append(f"{seeds} of {len(plan.SEEDS)} seeds")
    return parts


def _commit() -> str:
    found = commits.of_sources()
    if found == commits.UNKNOWN:
        raise UsageError(
            "the report names the commit of its settings, and this is no git checkout",
            hint="run it in a clone of the repository",
        )
    return found


def _line(row: Row) -> str:
    low, high = row.interval95 or (row.accuracy_mean, row.accuracy_mean)
    latency = "-" if row.latency_us is None else f"{row.latency_us:.1f} us"
    return (
        f"{row.strategy:>20}  {row.accuracy_mean:.1%} ± {row.accuracy_std:.1%} "
        f"[{low:.1%}, {high:.1%}]  {row.macs / 1e6:.2f} MMAC  {latency}  {row.search_s:.0f} s"
    )


if __name__ == "__main__":
    main()
