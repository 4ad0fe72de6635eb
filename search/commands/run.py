"""`binas-search run`: search a space, with or without a latency budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core import cli
from binas.core.errors import UsageError
from binas.search.commands import prices, shared

if TYPE_CHECKING:
    from binas.search.cost import Lut
    from binas.search.strategy.cell_prices import CellLut
    from binas.search.strategy.timing import Timer


@click.command(cls=cli.Command)
@click.option(
    "--strategy",
    "strategy_name",
    default="bars",
    show_default=True,
    help="How to search; binas-search list names them.",
)
@shared.space_option("Search space; built-in names: binas-search list.")
@shared.data_option("Data set; only its training images are used.")
@click.option(
    "--table",
    type=shared.FILE,
    help="Latency table of the target device. Without a budget it only describes the search.",
)
@click.option("--device", help="Refuse a table that was measured on another device than this.")
@click.option(
    "--measure",
    is_flag=True,
    help="Also measure the sampled networks on --device while they are evaluated; those above the "
    "budget are left out.",
)
@click.option("--budget", metavar="TIME", help="Latency to meet, with its unit, such as 500us.")
@click.option(
    "--budget-ratio",
    type=click.FloatRange(0, 1, min_open=True),
    help="Budget as a share of the predicted latency of --baseline, such as 0.65.",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="Run or genotype that --budget-ratio refers to.",
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the images.  [default: 12]")
@click.option(
    "--warmup-epochs",
    type=click.IntRange(0),
    help="First of them with a uniform architecture.  [default: 3]",
)
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: 64]")
@click.option(
    "--samples", type=click.IntRange(1), help="Networks evaluated at the end.  [default: 8]"
)
@click.option(
    "--form",
    type=click.Choice(["hinge", "two-sided", "product", "log-product"]),
    help="Of the latency term.  [default: hinge]",
)
@click.option(
    "--strength", type=click.FloatRange(0), help="Of the latency term at the end.  [default: 1]"
)
@click.option(
    "--preset",
    help="Settings to begin with, in place of the defaults: `published`, as the paper or its code "
    "has them; of bnas-v2 also `published-pc`. Files, --set and flags win over them.",
)
@shared.processor_option("cuda: bfloat16 and channels last.")
@shared.settings_options
@shared.training_options
@cli.json_option
@click.pass_context
def run(
    context: click.Context,
    /,
    *,
    strategy_name: str,
    space_name: str,
    data_name: str,
    table: Path | None,
    device: str | None,
    measure: bool,
    budget: str | None,
    budget_ratio: float | None,
    baseline: Path | None,
    preset: str | None,
    processor: Any,
    config: Path | None,
    sets: tuple[str, ...],
    show_config: bool,
    seed: int,
    threads: int,
    output: Path,
    force: bool,
    tensorboard: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Search a space, with or without a latency budget.

    \b
    Example:
      binas-search run -o runs/plain
      binas-search run --table table.json --device host --budget 6us -o runs/fast
      binas-search run --strategy bars --set entropy=0.05 -o runs/sharp
      binas-search run --strategy darts --preset published --show-config
      torchrun --no-python --nproc-per-node 2 binas-search run -o runs/plain

    Writes result.json, genotype.json, log.jsonl (one line per epoch) and steps.jsonl to the folder.
    """
    from dataclasses import asdict  # noqa: PLC0415

    from binas.core import record  # noqa: PLC0415
    from binas.search import data, genotype  # noqa: PLC0415
    from binas.search.commands import jobs  # noqa: PLC0415
    from binas.search.hardware import Hardware, found_processor  # noqa: PLC0415
    from binas.search.processes import Processes  # noqa: PLC0415
    from binas.search.run import Config, RunFolder, versions  # noqa: PLC0415
    from binas.search.strategy import catalogue  # noqa: PLC0415

    if measure and device is None:
        raise UsageError("--measure needs to know where", hint="give --device NAME")
    shared.set_threads(threads)
    strategy = catalogue.find(strategy_name)
    begin = None if preset is None else (preset, strategy.preset(preset))
    settings, origins = shared.merged(strategy.settings, config, sets, flags, begin)
    if show_config:
        shared.show(settings, origins, as_json=as_json)
        return
    if measure:
        Processes.must_be_alone("--measure")
    hardware, processes = Hardware.searching(found_processor(processor)), Processes.joined()
    chosen, images = genotype.load_space(space_name), data.load(data_name)
    lut = None if table is None else prices.lut_of(chosen, table, device)
    budget_ns = _budget_ns(budget, budget_ratio, baseline, lut)
    strategy.must_be_possible(chosen, images, settings, lut, budget_ns)
    inputs = {"space": record.digest(chosen)}
    if table is not None:
        inputs["table"] = record.digest_bytes(table.read_bytes())
    asked = Config(
        kind="search",
        data=images.name,
        data_digest=images.digest,
        seed=seed,
        settings={
            **asdict(settings),
            "strategy": strategy.name,
            "budget_ns": budget_ns,
            "threads": threads,
            "measure": measure,
            "processor": hardware.processor,
            # Several add up in another order. Folders of one, older ones too, do not name it.
            **({"processes": processes.count} if processes.count > 1 else {}),
        },
        inputs=inputs,
        versions=versions(),
        origins=origins,
        arguments=shared.arguments(context),
    )
    with processes.in_turn():
        folder = RunFolder(output, asked, force=force, writes=processes.writes, events=tensorboard)
    with _timer(device if measure else None, output) as timer:
        found = jobs.searched(
            strategy,
            chosen,
            images,
            settings,
            folder,
            seed=seed,
            lut=lut,
            budget_ns=budget_ns,
            timer=timer,
            processes=processes,
            hardware=hardware,
        )
    if not processes.writes:
        return
    if as_json:
        cli.emit(record.to_dict(found))
        return
    click.echo(f"{found.genotype}")
    click.echo(f"validation accuracy {found.candidates[0].accuracy:.1%}")
    if found.predicted_ns is not None:
        asked_for = "" if budget_ns is None else f", budget {budget_ns / 1e3:.1f} us"
        click.echo(f"predicted latency {found.predicted_ns / 1e3:.1f} us{asked_for}")
    if (measured_ns := found.candidates[0].measured_ns) is not None:
        click.echo(f"measured latency {measured_ns / 1e3:.1f} us")


@contextmanager
def _timer(device: str | None, folder: Path) -> Iterator[Timer | None]:
    """A queue before a device; None where there is none."""
    if device is None:
        yield None
        return
    from binas.devices import registry  # noqa: PLC0415
    from binas.runtime.board import DeviceBoard  # noqa: PLC0415
    from binas.search.device_queue import DeviceQueue  # noqa: PLC0415
    from binas.search.survey import NET_PLAN  # noqa: PLC0415

    found = registry.find(device)
    with (
        registry.connect(found) as link,
        DeviceQueue(found, [DeviceBoard(link, NET_PLAN)], folder, NET_PLAN) as queue,
    ):
        yield queue


def _budget_ns(
    budget: str | None, ratio: float | None, baseline: Path | None, lut: Lut | CellLut | None
) -> float | None:
    """The budget, in ns; every combination that cannot mean anything is refused."""
    from binas.search.cells import CellGenotype  # noqa: PLC0415
    from binas.search.config import nanoseconds  # noqa: PLC0415
    from binas.search.cost import Lut  # noqa: PLC0415
    from binas.search.genotype import Genotype  # noqa: PLC0415

    if budget is not None and ratio is not None:
        raise UsageError("both --budget and --budget-ratio", hint="give one of them")
    if (ratio is None) != (baseline is None):
        raise UsageError(
            "--budget-ratio and --baseline belong together",
            hint="binas-search run --table T.json --budget-ratio 0.65 --baseline runs/plain ...",
        )
    if budget is None and ratio is None:
        return None
    if lut is None:
        raise UsageError("a budget needs a latency table", hint="give --table")
    if budget is not None:
        return nanoseconds(budget)
    if ratio is None or baseline is None:
        return None
    found = shared.genotype_of(baseline)
    if isinstance(lut, Lut) and isinstance(found, Genotype):
        return ratio * lut.predict_ns(found)
    if not isinstance(lut, Lut) and isinstance(found, CellGenotype):
        return ratio * lut.predict_ns(found)
    raise UsageError(f"{baseline} is no network of the space", hint="give a run on it")
