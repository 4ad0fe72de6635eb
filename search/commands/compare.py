"""`binas-search compare`: strategies with equal data, budget and seeds, to JSON and a page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core import cli
from binas.core.errors import UsageError
from binas.search.commands import prices, shared

if TYPE_CHECKING:
    from binas.search.compare import Comparison, Entry
    from binas.search.cost import Lut
    from binas.search.data import Dataset
    from binas.search.genotype import AnySpace
    from binas.search.hardware import Hardware
    from binas.search.recipe import RetrainSettings
    from binas.search.run import RunFolder
    from binas.search.strategy.catalogue import Strategy
    from binas.search.strategy.cell_ground import CellPrices
    from binas.search.strategy.settings import SearchSettings


@click.command(cls=cli.Command)
@click.option("--strategy", "names", multiple=True, help="Repeatable; all of them when left out.")
@shared.space_option("Search space.")
@shared.data_option("Data set.")
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Seeds 0, 1, 2, ..."
)
@click.option(
    "--images",
    type=click.IntRange(1),
    help="Training images that each search sees; the smallest published schedule when left out.",
)
@click.option("--table", type=shared.FILE, help="Latency table, for a budget.")
@click.option("--budget", metavar="TIME", help="Latency asked of every search, such as 500us.")
@click.option("--device", help="Measure every network there; see binas-devices list.")
@click.option("--epochs", type=click.IntRange(1), help="Of training a network.  [default: 10]")
@shared.processor_option("cuda: bfloat16 and channels last; trainings with torch.compile, too.")
@shared.settings_options
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of torch.")
@click.option(
    "-o",
    "--output",
    type=shared.FOLDER,
    required=True,
    help="Folder; the same command goes on where it stopped.",
)
@cli.json_option
def compare(
    *,
    names: tuple[str, ...],
    space_name: str,
    data_name: str,
    seeds: int,
    images: int | None,
    table: Path | None,
    budget: str | None,
    device: str | None,
    epochs: int | None,
    processor: Any,
    config: Path | None,
    sets: tuple[str, ...],
    show_config: bool,
    threads: int,
    output: Path,
    as_json: bool,
) -> None:
    """Compare strategies with equal data, budget and seeds; --config and --set are the training's.

    \b
    Example:
      binas-search compare --strategy bars --strategy uniform --device host -o runs/compare

    Writes compare.json and compare.html; every search and training is a run in the folder.
    """
    from binas.core import record  # noqa: PLC0415
    from binas.runtime import html  # noqa: PLC0415
    from binas.search import compare_page, data, genotype, recipe  # noqa: PLC0415
    from binas.search.compare import Comparison  # noqa: PLC0415
    from binas.search.config import nanoseconds  # noqa: PLC0415
    from binas.search.hardware import Hardware, found_processor  # noqa: PLC0415
    from binas.search.processes import Processes  # noqa: PLC0415
    from binas.search.run import versions  # noqa: PLC0415
    from binas.search.strategy import catalogue  # noqa: PLC0415

    Processes.must_be_alone("a comparison")
    shared.set_threads(threads)
    training, origins = shared.merged(recipe.RetrainSettings, config, sets, {"epochs": epochs})
    if show_config:
        shared.show(training, origins, as_json=as_json)
        return
    place = found_processor(processor)
    searching, retraining = Hardware.searching(place), Hardware.of(place)
    if budget is not None and table is None:
        raise UsageError("a budget needs a latency table", hint="give --table")
    wanted = [catalogue.find(name) for name in names] or list(catalogue.STRATEGIES)
    chosen, given = genotype.load_space(space_name), data.load(data_name)
    seen = images or min(_passes(strategy, chosen) for strategy in wanted) * _half(given)
    lut = None if table is None else prices.lut_of(chosen, table, device)
    inputs = {} if table is None else {"table": record.digest_bytes(table.read_bytes())}
    budget_ns = None if budget is None else nanoseconds(budget)
    job = _Job(chosen, given, lut, budget_ns, inputs, output, (searching, retraining))
    entries: list[Entry] = []
    for strategy in wanted:
        for seed in range(seeds):
            entries.append(job.entry(strategy, job.settings(strategy, seen), training, seed))
    if device is not None:
        entries = _measured(entries, device)
    comparison = Comparison(
        data=given.name,
        data_digest=given.digest,
        device=device,
        budget_us=None if job.budget_ns is None else job.budget_ns / 1e3,
        images=seen,
        entries=tuple(entries),
        versions=versions(),
    )
    record.save(comparison, output / "compare.json")
    html.write(compare_page.page(comparison), output / "compare.html")
    _tell(comparison, output, as_json=as_json)


class _Job:
    """What all searches and trainings of a comparison share."""

    def __init__(
        self,
        space: AnySpace,
        data: Dataset,
        lut: Lut | CellPrices | None,
        budget_ns: float | None,
        inputs: dict[str, str],
        output: Path,
        hardware: tuple[Hardware, Hardware],  # of searches, of trainings
    ) -> None:
        self.space, self.data, self.lut = space, data, lut
        self.budget_ns, self.inputs, self.output = budget_ns, inputs, output
        self.searching, self.retraining = hardware

    def settings(self, strategy: Strategy, images: int) -> SearchSettings:
        """The published schedule, its epochs shortened to the budget of images."""
        from binas.search.strategy.settings import scaled  # noqa: PLC0415

        return scaled(strategy.settings(), images, _half(self.data), _operations(self.space))

    def entry(
        self, strategy: Strategy, settings: SearchSettings, training: RetrainSettings, seed: int
    ) -> Entry:
        """Search and train, or take both from the folder."""
        from binas.core import record  # noqa: PLC0415
        from binas.search.commands import jobs  # noqa: PLC0415
        from binas.search.compare import Entry, weight_free  # noqa: PLC0415
        from binas.search.cost import count, layers_of  # noqa: PLC0415
        from binas.search.retrain import untrained  # noqa: PLC0415

        name = f"{strategy.name}-{seed}"
        asked = {**asdict(settings), "strategy": strategy.name, "budget_ns": self.budget_ns}
        inputs = {"space": record.digest(self.space), **self.inputs}
        found = jobs.searched(
            strategy,
            self.space,
            self.data,
            settings,
            self._folder("search", name, seed, asked, inputs),
            seed=seed,
            lut=self.lut,
            budget_ns=self.budget_ns,
            hardware=self.searching,
        )
        inputs = {"genotype": record.digest(found.genotype)}
        trained = jobs.retrained(
            found.genotype,
            self.data,
            training,
            self._folder("retrain", name, seed, asdict(training), inputs),
            seed=seed,
            hardware=self.retraining,
        )
        counts = count(layers_of(found.genotype))
        net = untrained(found.genotype, seed)
        return Entry(
            strategy=strategy.name,
            seed=seed,
            genotype=found.genotype,
            accuracy=trained.accuracy,
            validation=found.candidates[0].accuracy,
            latency_us=None,
            predicted_us=None if found.predicted_ns is None else found.predicted_ns / 1e3,
            biops=counts.biops,
            flops=counts.flops,
            parameters=sum(p.numel() for p in net.parameters()),
            binary_weights=counts.binary_weights,
            search_s=found.seconds,
            weight_free=weight_free(found.genotype),
        )

    def _folder(
        self, kind: str, name: str, seed: int, settings: dict[str, Any], inputs: dict[str, str]
    ) -> RunFolder:
        """A run of the comparison, below search/ or retrain/."""
        from binas.search.run import Config, RunFolder, versions  # noqa: PLC0415

        config = Config(
            kind=kind,
            data=self.data.name,
            data_digest=self.data.digest,
            seed=seed,
            settings={**settings, "processor": self.searching.processor},
            inputs=inputs,
            versions=versions(),
        )
        return RunFolder(self.output / kind / name, config)


def _half(data: Dataset) -> int:
    """Images that train weights; as many judge architectures."""
    return len(data.x_train) // 2


def _operations(space: AnySpace) -> int:
    """That an edge chooses from, at most."""
    return max(len(space.normal_ops), len(space.reduction_ops))


def _passes(strategy: Strategy, space: AnySpace) -> int:
    """Passes over a half that the published schedule makes."""
    return strategy.settings().passes(_operations(space))


def _measured(entries: list[Entry], device_name: str) -> list[Entry]:
    """The entries with the latency of each network on a device."""
    from dataclasses import replace  # noqa: PLC0415

    with shared.timing(device_name, len(entries)) as time_us:
        return [replace(entry, latency_us=time_us(entry.genotype)) for entry in entries]


def _tell(comparison: Comparison, output: Path, *, as_json: bool) -> None:
    from binas.core import record  # noqa: PLC0415
    from binas.search import compare_page  # noqa: PLC0415

    if as_json:
        cli.emit(record.to_dict(comparison))
        return
    for row in compare_page.lines(comparison):
        name, accuracy, latency, *_ = row
        click.echo(f"{name:>14}  {accuracy} %  {latency} us")
    click.echo(f"{output / 'compare.html'}")
