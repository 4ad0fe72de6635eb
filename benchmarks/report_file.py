"""The file that a benchmark leaves: the option that names it, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from binas.core import record

option = click.option(
    "--json", "file", type=click.Path(path_type=Path), required=True, help="Report."
)


def write(file: Path, report: Mapping[str, Any]) -> None:
    """A report as indented JSON, whole or not at all."""
    record.write_atomic(file, (json.dumps(report, indent=1) + "\n").encode())
