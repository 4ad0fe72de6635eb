"""From networks to a row of the report: trained on the same seeds, counted, measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import cast

from benchmarks.search import plan, units
from benchmarks.search.records import TimeUnit, Trained, TrainUnit
from benchmarks.search.report import Row, interval
from benchmarks.search.work import Work
from binas.search.compare import weight_free
from binas.search.genotype import AnyGenotype
from binas.search.recipe import RetrainSettings

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
    nets: list[AnyGenotype | None] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    search_s: list[float] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


Accuracies = Mapping[AnyGenotype | None, float]


def trained(
    work: Work,
    what: str,
    entries: Sequence[Entry],
    images: int,
    settings: RetrainSettings,
    seeds: Sequence[int],
) -> Accuracies:
    """Held-out accuracy of every network: the mean over the training seeds."""
    nets = list(dict.fromkeys(net for entry in entries for net in entry.nets))
    wanted = [train_unit(net, seed, images, settings) for net in nets for seed in seeds]
    results = cast(list[Trained], work.do(what, wanted))
    size = len(seeds)
    return {
        net: fmean(result.accuracy for result in results[i * size : (i + 1) * size])
        for i, net in enumerate(nets)
    }


def rows_of(
    entries: Sequence[Entry],
    accuracies: Accuracies,
    cost: Callable[[AnyGenotype], float],
    folder: Path,
    latency_seeds: int,
) -> list[Row]:
    """A row per entry that has a network.

    Args:
        entries: In order.
        accuracies: From `trained`.
        cost: Multiply-accumulates of a network.
        folder: Keeps what is measured.
        latency_seeds: Networks of each that are compiled and measured.
    """
    return [
        _row(entry, accuracies, cost, _latency(entry, folder, latency_seeds))
        for entry in entries
        if entry.nets
    ]


def without_networks(entries: Sequence[Entry]) -> list[str]:
    """What to say of entries of which no search gave a network."""
    return [
        f"no network from {entry.name}: {'; '.join(entry.failures)}"
        for entry in entries
        if not entry.nets
    ]


def train_unit(
    net: AnyGenotype | None, seed: int, images: int, settings: RetrainSettings
) -> TrainUnit:
    """A network's training on the first images."""
    return TrainUnit(
        genotype=net,
        channels=RESNET_CHANNELS if net is None else 0,
        images=images,
        seed=seed,
        settings=asdict(settings),
        data=plan.DATA,
    )


def _row(
    entry: Entry,
    accuracies: Accuracies,
    cost: Callable[[AnyGenotype], float],
    latency_us: float | None,
) -> Row:
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
