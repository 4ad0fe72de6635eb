"""The file that a benchmark leaves: the option that names it, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.schema import (
    AnyReport,
    ArmNetworkReport,
    ArmReport,
    FootprintReport,
    Report,
    ReportWithoutCommit,
)
from binas.core import record

option = click.option(
    "--json", "file", type=click.Path(path_type=Path), required=True, help="Report."
)


def write(file: Path, report: Mapping[str, Any]) -> None:
    """A report as indented JSON, whole or not at all."""
    record.write_atomic(file, (json.dumps(report, indent=1) + "\n").encode())


KINDS: tuple[type[AnyReport], ...] = (
    ReportWithoutCommit,
    ArmReport,
    ArmNetworkReport,
    FootprintReport,
)


def read(file: Path) -> AnyReport:
    """A report that targets are about, of layers, networks and threads also in the schema before.

    Raises:
        UsageError: It is none.
    """
    text = record.read_bytes(file, record.MAX_RECORD_BYTES)
    # No other text of a report reads like this; whatever is wrong with the file, `loads` tells.
    kind = next((k for k in KINDS if f'"{k.SCHEMA}"'.encode() in text), Report)
    return record.loads(kind, text, where=str(file))
