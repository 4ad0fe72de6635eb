"""The file that a benchmark leaves: the option that names it, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.schema import Report, ReportWithoutCommit
from binas.core import record

option = click.option(
    "--json", "file", type=click.Path(path_type=Path), required=True, help="Report."
)


def write(file: Path, report: Mapping[str, Any]) -> None:
    """A report as indented JSON, whole or not at all."""
    record.write_atomic(file, (json.dumps(report, indent=1) + "\n").encode())


def read(file: Path) -> Report:
    """A report of layers, networks or threads, also one of the schema before.

    Raises:
        UsageError: It is none.
    """
    text = record.read_bytes(file, record.MAX_RECORD_BYTES)
    # No other text of a report reads like this; whatever is wrong with the file, `loads` tells.
    older = f'"{ReportWithoutCommit.SCHEMA}"'.encode() in text
    return record.loads(ReportWithoutCommit if older else Report, text, where=str(file))
