"""`binas-search list`: what is built in."""

from __future__ import annotations

import click

from binas.core import cli


@click.command(cls=cli.Command, name="list")
@cli.json_option
def list_(as_json: bool) -> None:
    """List the built-in search spaces, data sets and strategies.

    \b
    Example:
      binas-search list
    """
    from binas.search import data, genotype, space  # noqa: PLC0415
    from binas.search.strategy import catalogue  # noqa: PLC0415

    found = {
        "spaces": [*space.BUILT_IN, *genotype.CELL_SPACES],
        "data": list(data.BUILT_IN),
        "strategies": [strategy.name for strategy in catalogue.STRATEGIES],
    }
    if as_json:
        cli.emit({"schema": "binas.search-list/1", **found})
        return
    for what, names in found.items():
        click.echo(f"{what:>10}  {', '.join(names)}")
