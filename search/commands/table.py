"""`binas-table build`: compile and measure all layers of a space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core import cli
from binas.search.commands import shared

if TYPE_CHECKING:
    from binas.search.forms import TableBuilt

DOUBTED_ERROR = 0.2  # the worst sum of a good table stays well below


@click.command(cls=cli.Command, name="build")
@shared.space_option("Search space whose layers are measured.")
@click.option(
    "--device",
    "device_names",
    multiple=True,
    default=("host",),
    show_default=True,
    help="Where; see binas-devices list. Given several times: boards of one kind that share the "
    "work.",
)
@click.option(
    "-o",
    "--output",
    type=shared.FILE,
    required=True,
    help="Table to write; finished layers are kept in a folder beside it.",
)
@click.option(
    "--fit-nets",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Whole networks that the sum of layers is compared with; 0: none.",
)
@click.option(
    "--jobs",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes that compile; 0: one per core.",
)
@cli.json_option
def table_build(
    space_name: str,
    device_names: tuple[str, ...],
    output: Path,
    fit_nets: int,
    jobs: int,
    as_json: bool,
) -> None:
    """Compile and measure every layer that a network of a space can contain.

    \b
    Example:
      binas-table build --space digits --device host -o table.json
      binas-table show table.json
      binas-table build --space digits --device rpi4-a --device rpi4-b -o rpi4.json

    A board that is absent, dies, hangs or computes wrongly is set aside, and the others go on.
    Interrupted, the same command goes on; a second one measures only what failed.
    """
    from binas.core import record  # noqa: PLC0415
    from binas.devices import registry  # noqa: PLC0415
    from binas.search import genotype, survey  # noqa: PLC0415
    from binas.search.workshop import DeviceWorkshop  # noqa: PLC0415

    shared.set_threads(1)
    chosen = genotype.load_space(space_name)
    devices = survey.of_one_kind([registry.find(name) for name in device_names])
    with registry.connect_fleet(devices, say=cli.say) as links, cli.progress() as bars:
        tasks: dict[str, Any] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"table: {stage}", total=total)
            bars.update(tasks[stage], completed=done, total=total)

        built = survey.build_table(
            chosen,
            devices[0],
            output.with_suffix(".build"),
            workshop=DeviceWorkshop.of(devices[0], links, survey.TABLE_PLAN, jobs),
            fit_nets=fit_nets,
            facts={"model": links[0].device.title, "boards": ", ".join(device_names)},
            progress=progress,
            say=cli.say,
        )
    table = built.table
    record.save(table, output)
    if built.reused:
        cli.say(f"reused {built.reused} of {len(table.entries)} layers measured earlier")
    if table.fit is not None and table.fit.worst > DOUBTED_ERROR:
        cli.say(
            f"Doubt: a sum of layers missed a whole network by {table.fit.worst:.0%}; was the "
            "device busy? To measure again, remove the folder "
            f"{output.with_suffix('.build')} and repeat the command."
        )
    for entry in table.failures:
        cli.say(f"failed: {entry.layer}: {getattr(entry.result, 'message', '')}")
    summary: TableBuilt = {
        "schema": "binas.table-build/1",
        "table": str(output),
        "device": table.device,
        "layers": len(table.entries),
        "failures": len(table.failures),
        "reused": built.reused,
        "fixed_ns": table.fixed_ns,
        "fit": None
        if table.fit is None
        else {
            "networks": table.fit.nets,
            "median_abs_relative_error": table.fit.median_abs_relative_error,
            "worst": table.fit.worst,
            "spearman": table.fit.spearman,
        },
    }
    if as_json:
        cli.emit(summary)
        return
    click.echo(f"{output}: {len(table.entries)} layers, {len(table.failures)} failures")
    if table.fit is not None:
        click.echo(
            f"sum of layers against {table.fit.nets} networks: median error "
            f"{table.fit.median_abs_relative_error:.1%}, worst {table.fit.worst:.1%}, "
            f"rank correlation {table.fit.spearman:.2f}"
        )
