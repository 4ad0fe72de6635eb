"""`binas-search list`: what is built in."""

from __future__ import annotations

from dataclasses import asdict

import click

from binas.core import cli


@click.command(cls=cli.Command, name="list")
@cli.json_option
def list_(as_json: bool) -> None:
    """List the built-in search spaces, data sets, strategies and published genotypes.

    \b
    Example:
      binas-search list
    """
    from binas.search import data, genotype, published, space  # noqa: PLC0415
    from binas.search.strategy import catalogue  # noqa: PLC0415

    found = {
        "spaces": [*space.BUILT_IN, *genotype.CELL_SPACES],
        "data": list(data.BUILT_IN),
        "strategies": [strategy.name for strategy in catalogue.STRATEGIES],
        "genotypes": list(published.names()),
    }
    if as_json:
        known = [published.load(name) for name in published.names()]
        genotypes = [
            {
                "name": each.name,
                "digest": each.digest,
                "source": each.source,
                "note": each.note,
                "input_shape": list(each.genotype.space.input_shape),
                **asdict(each.counts),
            }
            for each in known
        ]
        cli.emit({"schema": "binas.search-list/1", **found, "genotypes": genotypes})
        return
    for what, names in found.items():
        click.echo(f"{what:>10}  {', '.join(names)}")
