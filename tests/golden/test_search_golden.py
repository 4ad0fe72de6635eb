"""The help of the commands that search and that measure; refreshed with --snapshot-update."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from syrupy.assertion import SnapshotAssertion

from binas.runtime.cli import table
from binas.search.cli import main


@pytest.mark.parametrize(
    ("command", "program", "arguments"),
    [
        (main, "binas-search", []),
        (main, "binas-search", ["run"]),
        (main, "binas-search", ["retrain"]),
        (main, "binas-search", ["export"]),
        (main, "binas-search", ["list"]),
        (table, "binas-table", []),
        (table, "binas-table", ["build"]),
        (table, "binas-table", ["show"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_the_help(
    snapshot: SnapshotAssertion, command: click.Command, program: str, arguments: list[str]
) -> None:
    result = CliRunner().invoke(command, [*arguments, "--help"], prog_name=program)
    assert result.exit_code == 0
    assert result.stdout == snapshot
