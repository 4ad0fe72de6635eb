"""`binas-table`: what every layer of a search space takes on one device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas.core.cli import Command, LazyGroup, emit, json_option, version_option
from binas.runtime.commands import shared

if TYPE_CHECKING:
    from binas.runtime.forms import TablesMerged
    from binas.runtime.table import LatencyTable

_FILE = click.Path(path_type=Path, dir_okay=False)
_LIMIT = click.option(
    "--limit", type=click.IntRange(1), default=30, show_default=True, help="Layers."
)


@click.command(
    cls=LazyGroup,
    entry_group="binas.table",
    prefix="",
    summaries={
        "build": "measure every layer of a search space on a device",
        "compare": "how far two tables of one board agree, layer by layer",
        "merge": "the layers of two tables of one board in one",
        "show": "what a table says, and how far to trust it",
    },
    context_settings=shared.ENVIRONMENT,
)
@version_option
def table() -> None:
    """Latency tables: what every layer of a search space takes on one device."""


@click.command(cls=Command, name="show")
@click.argument("file", type=_FILE, metavar="TABLE.json")
@_LIMIT
@json_option
def table_show(file: Path, limit: int, as_json: bool) -> None:
    """Show a table: layers largest first, failures, doubts, and how well sums predict networks."""
    from binas.runtime import benched  # noqa: PLC0415

    found = _load(file)
    if as_json:
        emit(benched.table_record(found))
    else:
        click.echo(benched.table_text(found, limit))


@click.command(cls=Command, name="merge")
@click.argument("first", type=_FILE, metavar="TABLE.json")
@click.argument("second", type=_FILE, metavar="TABLE.json")
@click.option("-o", "--output", type=_FILE, required=True, help="Table to write.")
@json_option
def table_merge(first: Path, second: Path, output: Path, as_json: bool) -> None:
    """Put the layers of two tables of one board into one.

    \b
    Example:
      binas-table merge a.json b.json -o both.json

    Where both have a layer, a measurement wins over a failure, then the one with fewer doubts.
    Tables of another board, CPU, kernel version or thread count are refused.
    """
    from binas.core import record  # noqa: PLC0415
    from binas.runtime.table import merge  # noqa: PLC0415

    merged = merge(_load(first), _load(second))
    record.save(merged, output)
    summary: TablesMerged = {
        "schema": "binas.table-merge/1",
        "table": str(output),
        "layers": len(merged.entries),
        "failures": len(merged.failures),
    }
    if as_json:
        emit(summary)
    else:
        click.echo(f"{output}: {len(merged.entries)} layers, {len(merged.failures)} failures")


@click.command(cls=Command, name="compare")
@click.argument("first", type=_FILE, metavar="TABLE.json")
@click.argument("second", type=_FILE, metavar="TABLE.json")
@_LIMIT
@json_option
def table_compare(first: Path, second: Path, limit: int, as_json: bool) -> None:
    """Compare two tables of one board, the layers that differ most first.

    Tables of another board, CPU, kernel version or thread count are refused.
    """
    from binas.runtime import benched  # noqa: PLC0415
    from binas.runtime.table import compare  # noqa: PLC0415

    found = compare(_load(first), _load(second))
    if as_json:
        emit(benched.comparison_record(found))
    else:
        click.echo(benched.comparison_text(found, limit))


def _load(file: Path) -> LatencyTable:
    from binas.core import record  # noqa: PLC0415
    from binas.runtime.table import LatencyTable  # noqa: PLC0415

    return record.load(LatencyTable, file)
