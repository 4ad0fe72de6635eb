"""`binas-search list`: what is built in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from binas.core import cli

if TYPE_CHECKING:
    from binas.search.forms import ListAnswer, PublishedGenotype


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
        genotypes: list[PublishedGenotype] = [
            {
                "name": each.name,
                "digest": each.digest,
                "source": each.source,
                "note": each.note,
                "input_shape": list(each.genotype.space.input_shape),
                "params": each.counts.params,
                "scales": each.counts.scales,
                "binary_weights": each.counts.binary_weights,
                "wa_macs": each.counts.wa_macs,
                "w_macs": each.counts.w_macs,
                "real_macs": each.counts.real_macs,
            }
            for each in known
        ]
        answer: ListAnswer = {
            "schema": "binas.search-list/1",
            "spaces": found["spaces"],
            "data": found["data"],
            "strategies": found["strategies"],
            "genotypes": genotypes,
        }
        cli.emit(answer)
        return
    for what, names in found.items():
        click.echo(f"{what:>10}  {', '.join(names)}")
