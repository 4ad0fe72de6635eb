"""`binas-table`: what every layer of a search space takes on one device."""

from __future__ import annotations

from pathlib import Path

import click

from binas.core.cli import Command, LazyGroup, emit, json_option, version_option
from binas.runtime.commands import shared


@click.command(
    cls=LazyGroup,
    entry_group="binas.table",
    prefix="",
    summaries={
        "build": "measure every layer of a search space on a device",
        "show": "what a table says, and how far to trust it",
    },
    context_settings=shared.ENVIRONMENT,
)
@version_option
def table() -> None:
    """Latency tables: what every layer of a search space takes on one device."""


@click.command(cls=Command, name="show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="TABLE.json")
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="Layers.")
@json_option
def table_show(file: Path, limit: int, as_json: bool) -> None:
    """Show a table: layers largest first, failures, doubts, and how well sums predict networks."""
    from binas.core import record  # noqa: PLC0415
    from binas.runtime import benched  # noqa: PLC0415
    from binas.runtime.table import LatencyTable  # noqa: PLC0415

    found = record.load(LatencyTable, file)
    if as_json:
        emit(benched.table_record(found))
    else:
        click.echo(benched.table_text(found, limit))
