"""`binas-search compare`: strategies with equal data, budget and seeds, to JSON and a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core import cli
from binas.core.errors import SearchError, UsageError
from binas.search.commands import prices, shared

if TYPE_CHECKING:
    from binas.search.compare import Comparison, Entry, Failed


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

    Writes compare.json and compare.html; every search and training is a run in the folder. One that
    diverges or collapses is listed there, and the others are done.
    """
    from binas.core import record  # noqa: PLC0415
    from binas.runtime import html  # noqa: PLC0415
    from binas.search import compare_page, data, genotype, recipe  # noqa: PLC0415
    from binas.search.commands.pairs import Pairs, half, operations  # noqa: PLC0415
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
    passes = min(strategy.settings().passes(operations(chosen)) for strategy in wanted)
    seen = images or passes * half(given)
    lut = None if table is None else prices.lut_of(chosen, table, device)
    inputs = {} if table is None else {"table": record.digest_bytes(table.read_bytes())}
    budget_ns = None if budget is None else nanoseconds(budget)
    pairs = Pairs(chosen, given, lut, budget_ns, inputs, output, (searching, retraining))
    planned = [(strategy, pairs.planned(strategy, seen)) for strategy in wanted]
    entries, failures = _sorted(
        pairs.outcome(strategy, settings, training, seed)
        for strategy, settings in planned
        for seed in range(seeds)
    )
    if device is not None and entries:
        entries = _measured(entries, device)
    comparison = Comparison(
        data=given.name,
        data_digest=given.digest,
        device=device,
        budget_us=None if budget_ns is None else budget_ns / 1e3,
        images=seen,
        entries=tuple(entries),
        versions=versions(),
        failures=tuple(failures),
    )
    record.save(comparison, output / "compare.json")
    if not entries:
        raise _nothing(failures, output / "compare.json")
    html.write(compare_page.page(comparison), output / "compare.html")
    _tell(comparison, output, as_json=as_json)


def _sorted(outcomes: Iterable[Entry | Failed]) -> tuple[list[Entry], list[Failed]]:
    """What became of the searches, those that gave a network apart from the others."""
    from binas.search.compare import Entry  # noqa: PLC0415

    entries: list[Entry] = []
    failures: list[Failed] = []
    for outcome in outcomes:
        if isinstance(outcome, Entry):
            entries.append(outcome)
        else:
            failures.append(outcome)
    return entries, failures


def _nothing(failures: Sequence[Failed], kept: Path) -> SearchError:
    """The error of a comparison that has nothing to compare."""
    first = failures[0]
    return SearchError(
        f"none of the {len(failures)} searches gave a trained network; "
        f"{first.strategy}, seed {first.seed}: {first.reason}",
        hint=f"{kept} has every reason; --show-config tells the training's settings",
    )


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
    for failed in comparison.failures:
        where = f"{failed.strategy:>14}  seed {failed.seed}"
        click.echo(f"{where}: no network, the {failed.stage} failed: {failed.reason}")
    click.echo(f"{output / 'compare.html'}")
