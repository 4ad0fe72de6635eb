"""`binas-search` and `binas-table build`: from a space and a table to a trained 1-bit network."""

from __future__ import annotations

import click

from binas.core import cli
from binas.search.commands.compare import compare
from binas.search.commands.export import export
from binas.search.commands.listing import list_
from binas.search.commands.pareto import pareto
from binas.search.commands.resume import resume
from binas.search.commands.retrain import retrain
from binas.search.commands.run import run
from binas.search.commands.table import table_build

__all__ = ["main", "table_build"]


@click.group(cls=cli.Group, context_settings={"auto_envvar_prefix": "BINAS_SEARCH"})
@cli.version_option
def main() -> None:
    """Search, retrain and export 1-bit networks.

    \b
    Example:
      binas-table build --space digits --device host -o table.json
      binas-search run --table table.json --budget 6us -o runs/search
      binas-search retrain runs/search -o runs/net
      binas-search export runs/net -o net.onnx
    """


for command in (run, resume, compare, pareto, retrain, export, list_):
    main.add_command(command)
