"""Searches beside their references: `python -m benchmarks.search --json FILE`.

Every search, training and measurement is kept in a folder beside the file, so an interrupted run
goes on and a strategy that is added costs its own time only. Two processes of one thread each, then
latency by itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

import click

from benchmarks import report_file
from benchmarks.search import plan, units
from benchmarks.search.band import Cost, projected, random_nets
from benchmarks.search.report import Report, Row, interval, with_differences
from benchmarks.search.units import Searched, SearchUnit, TimeUnit, Trained, TrainUnit
from binas.core import cli, record
from binas.core.errors import SearchError, UsageError
from binas.devices import probe
from binas.search import data
from binas.search.compare import weight_free
from binas.search.genotype import Genotype
from binas.search.run import versions
from binas.search.strategy import catalogue

REFERENCES = ("random", "random best-of-k", "by hand", "1-bit ResNet")
RANDOM_SEED, POOL_SEED = 99, 1000  # of networks, apart from all seeds of searches
PROCESSES = 2
RESNET_CHANNELS = 16


@dataclass(slots=True)
class Entry:
    """A row in the making.

    Attributes:
        name: Of the row.
        nets: One per seed; None: the ResNet.
        seeds: Of the searches that gave them.
        search_s: Processor seconds of each search.
        changes: That brought each into the band.
        failures: Of searches without a network.
    """

    name: str
    nets: list[Genotype | None] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    search_s: list[float] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


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
def main(
    *, file: Path, names: tuple[str, ...], seeds: int, latency_seeds: int, processes: int
) -> None:
    """Compare searches of one space at one budget of images, inside a band of cost."""
    known = [strategy.name for strategy in catalogue.STRATEGIES]
    wanted = [catalogue.find(name).name for name in names] or known
    folder = file.with_suffix(".units")
    folder.mkdir(parents=True, exist_ok=True)
    lut = units.lut_of(folder)
    cost = lut.predict_ns  # multiply-accumulates: see plan.Macs
    commit = _commit()
    with cli.progress() as bars:
        work = Work(folder, processes, bars, commit)
        entries, best_of = _entries(work, cost, wanted, plan.SEEDS[:seeds])
        accuracies = _trained(work, entries)
    rows = [
        _row(entry, accuracies, cost, _latency(entry, folder, latency_seeds)) for entry in entries
    ]
    report = Report(
        commit=commit,
        unit_commits=tuple(sorted({*work.commits})),
        reduced=_reduced(known, wanted, seeds),
        data_digest=data.load(plan.DATA).digest,
        best_of=best_of,
        plan=_plan(),
        versions=versions(),
        cpu=probe.this_machine().model,
        rows=with_differences(rows, REFERENCES),
    )
    record.save(report, file)
    for row in report.rows:
        click.echo(_line(row))


@dataclass(slots=True)
class Work:
    """Where units are done.

    Attributes:
        folder: Keeps them.
        processes: At once, of one thread each.
        bars: Shows how far they are.
        commit: Of the sources now.
        commits: Of the sources that each result was made with.
    """

    folder: Path
    processes: int
    bars: Any
    commit: str
    commits: set[str] = field(default_factory=set)

    def do(self, what: str, wanted: Sequence[units.Unit]) -> list[units.Result]:
        """All results, in order."""
        bar = self.bars.add_task(what, total=len(wanted))
        # Spawned: a forked torch may hang in its thread pool.
        with ProcessPoolExecutor(self.processes, mp_context=get_context("spawn")) as pool:
            waiting = [pool.submit(units.do, unit, self.folder, self.commit) for unit in wanted]
            found = []
            for future in waiting:
                found.append(future.result())
                self.commits.add(found[-1].commit)
                self.bars.advance(bar)
        return found


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
    genotype, changes = projected(result.genotype, cost)
    entry.nets.append(genotype)
    entry.seeds.append(seed)
    entry.changes.append(changes)


def _best_of(work: Work, cost: Cost, seeds: Sequence[int], search_s: float) -> tuple[Entry, int]:
    """Random search: k short trainings in the time of a mean search, the best on validation."""
    pools = {seed: random_nets(plan.POOL, POOL_SEED + seed, cost) for seed in seeds}
    ranked = [_train_unit(net, seed, plan.RANKING_IMAGES) for seed in seeds for net in pools[seed]]
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


def _trained(work: Work, entries: Sequence[Entry]) -> dict[Genotype | None, float]:
    """Held-out accuracy of every network: the mean over the training seeds."""
    nets = list(dict.fromkeys(net for entry in entries for net in entry.nets))
    wanted = [_train_unit(net, seed, plan.IMAGES) for net in nets for seed in plan.TRAINING_SEEDS]
    results = cast(list[Trained], work.do("train", wanted))
    size = len(plan.TRAINING_SEEDS)
    return {
        net: fmean(result.accuracy for result in results[i * size : (i + 1) * size])
        for i, net in enumerate(nets)
    }


def _row(
    entry: Entry,
    accuracies: dict[Genotype | None, float],
    cost: Callable[[Genotype], float],
    latency_us: float | None,
) -> Row:
    if not entry.nets:
        raise SearchError(f"{entry.name}: no search gave a network: {'; '.join(entry.failures)}")
    values = [accuracies[net] for net in entry.nets]
    own = [net for net in entry.nets if net is not None]
    limits = interval(values)
    macs = [units.resnet_macs(RESNET_CHANNELS) if net is None else cost(net) for net in entry.nets]
    return Row(
        strategy=entry.name,
        seeds=tuple(entry.seeds),
        accuracy_mean=fmean(values),
        accuracy_std=0.0 if limits is None else stdev(values),
        interval95=limits,
        accuracies=tuple(values),
        macs=fmean(macs),
        latency_us=latency_us,
        search_s=fmean(entry.search_s) if entry.search_s else 0.0,
        changes=tuple(entry.changes),
        weight_free=fmean(map(weight_free, own)) if own else None,
        failures=tuple(entry.failures),
        differences=(),
    )


def _latency(entry: Entry, folder: Path, count: int) -> float | None:
    wanted = [
        TimeUnit(genotype=net, channels=RESNET_CHANNELS if net is None else 0, device="host")
        for net in entry.nets[:count]
    ]
    return fmean(units.measure(unit, folder).latency_us for unit in wanted) if wanted else None


def _search_unit(name: str, seed: int) -> SearchUnit:
    return SearchUnit(
        strategy=name,
        settings=asdict(plan.settings(catalogue.find(name))),
        data=plan.DATA,
        budget_macs=plan.BAND[1],
        seed=seed,
    )


def _train_unit(net: Genotype | None, seed: int, images: int) -> TrainUnit:
    return TrainUnit(
        genotype=net,
        channels=RESNET_CHANNELS if net is None else 0,
        images=images,
        seed=seed,
        settings=asdict(plan.TRAINING),
        data=plan.DATA,
    )


def _plan() -> dict[str, str]:
    names = ("DATA", "IMAGES", "BAND", "SEEDS", "TRAINING_SEEDS", "BUDGET_IMAGES", "RANKING_IMAGES")
    return {name: str(getattr(plan, name)) for name in names}


def _reduced(known: Sequence[str], wanted: Sequence[str], seeds: int) -> str:
    parts = []
    if missing := [name for name in known if name not in wanted]:
        parts.append(f"without {', '.join(missing)}")
    if seeds < len(plan.SEEDS):
        parts.append(f"{seeds} of {len(plan.SEEDS)} seeds")
    return "; ".join(parts)


def _commit() -> str:
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        raise UsageError(
            "the report names the commit of its settings, and this is no git checkout",
            hint="run it in a clone of the repository",
        ) from None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _line(row: Row) -> str:
    low, high = row.interval95 or (row.accuracy_mean, row.accuracy_mean)
    latency = "-" if row.latency_us is None else f"{row.latency_us:.1f} us"
    return (
        f"{row.strategy:>18}  {row.accuracy_mean:.1%} ± {row.accuracy_std:.1%} "
        f"[{low:.1%}, {high:.1%}]  {row.macs / 1e6:.2f} MMAC  {latency}  {row.search_s:.0f} s"
    )


if __name__ == "__main__":
    main()
