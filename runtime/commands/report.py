"""`binas-report`: one HTML page of artifacts, times, tables and searches."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core.cli import Command, emit, json_option, version_option
from binas.core.errors import DamagedError, UsageError
from binas.runtime.commands import shared

if TYPE_CHECKING:
    from binas.runtime.artifact import Artifact
    from binas.runtime.forms import ReportAnswer
    from binas.runtime.html import Section
    from binas.runtime.table import LatencyTable


@dataclass
class Given:
    """What the files turned out to be, by kind; each with its path's name."""

    artifacts: list[tuple[str, Artifact]] = field(default_factory=list)
    times: dict[str, tuple[dict[str, float], float]] = field(default_factory=dict)
    tables: list[tuple[str, LatencyTable]] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)


@click.command(cls=Command, context_settings=shared.ENVIRONMENT)
@version_option
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="Page to write.",
)
@click.option("--title", default="", help="Of the page.  [default: the files' names]")
@json_option
def report(files: tuple[Path, ...], output: Path, title: str, as_json: bool) -> None:
    """Draw artifacts, times, tables and searches on one page that needs no network.

    \b
    FILE may be
      NAME.binas      what binas-compile made: its layers, drawn
      BENCH.json      what binas-bench --layers --json printed: its time per layer
      TABLE.json      what binas-table build made: heat map, fit; two are compared
      RUN             folder of binas-search run: accuracy and latency, Pareto front;
                      of two or more, what each found is set side by side

    \b
    Example:
      binas-bench net.binas --device host --layers --json > net.json
      binas-report net.binas net.json table.json -o report.html
      binas-report runs/plain runs/fast -o searches.html
    """
    from binas.core import record  # noqa: PLC0415
    from binas.runtime import html, reports  # noqa: PLC0415

    record.keep(output, files)
    given = _read(files)
    sections = _sections(given)
    names = ", ".join(file.name for file in files)
    page = html.Report(
        title=title or names,
        lead=f"Made from {names}.",
        facts=(),
        sections=tuple(sections),
        footer=f"binas {version('binas')}. Measured on the device's own clock where it says "
        "measured; predicted is the sum of a table's entries.",
        legend=reports.LEGEND if given.artifacts or len(given.runs) > 1 else (),
    )
    record.write_atomic(output, html.render(page).encode())
    if as_json:
        answer: ReportAnswer = {
            "schema": "binas.report/1",
            "report": str(output),
            "sections": [section.title for section in sections],
        }
        emit(answer)
    else:
        click.echo(output)


def _read(files: tuple[Path, ...]) -> Given:
    from binas.core import record  # noqa: PLC0415
    from binas.runtime import artifact  # noqa: PLC0415
    from binas.runtime.table import LatencyTable  # noqa: PLC0415

    given = Given()
    for file in files:
        if file.is_dir():
            given.runs.append(file)
            continue
        if file.is_file() and (file.suffix == ".binas" or zipfile.is_zipfile(file)):
            given.artifacts.append((file.name, artifact.load(file)))
            continue
        data = record.read_bytes(file)
        if _schema(data, file) == "binas.bench/1":
            digest, times, total = _times(data, file)
            given.times[digest] = times, total
        else:
            given.tables.append((file.name, record.loads(LatencyTable, data, where=str(file))))
    return given


def _sections(given: Given) -> list[Section]:
    from binas.runtime import reports  # noqa: PLC0415
    from binas.runtime.table import compare  # noqa: PLC0415

    found: list[Section] = []
    for _, made in given.artifacts:
        times, total = given.times.pop(made.manifest.model_digest, ({}, None))
        found.append(reports.model(made, times, total))
        for _, table in given.tables:
            if (table.cpu, table.arch) == (made.manifest.cpu, made.manifest.arch):
                found.append(reports.predicted(made, table, total))
    if given.times:
        raise UsageError(
            "times of a model whose artifact is not among the files",
            hint="give the NAME.binas that binas-bench measured, too",
        )
    found += _of_runs(given.runs) if given.runs else []
    if len(given.tables) == 2:
        (first, a), (second, b) = given.tables
        found.append(reports.comparison((first, second), compare(a, b)))
    return found + [reports.table(table) for _, table in given.tables]


def _of_runs(folders: list[Path]) -> list[Section]:
    """What the search room says of its own folders, where it is installed."""
    points = entry_points(group="binas.report")
    if not points:
        raise UsageError(f"{folders[0]} is a folder", hint="pip install 'binas[search]'")
    return [section for point in points for section in point.load()(folders)]


def _schema(data: bytes, file: Path) -> Any:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise DamagedError(
            f"{file} is neither an artifact nor JSON", hint="see binas-report --help"
        ) from None
    return found.get("schema") if isinstance(found, dict) else None


def _times(data: bytes, file: Path) -> tuple[str, dict[str, float], float]:
    """Model digest, step → µs, and the whole network's µs of what binas-bench printed."""
    try:
        found = json.loads(data)
        layers = {
            str(layer["step"]): float(layer["median_ns"]) / 1e3
            for layer in found["layers"]
            if "median_ns" in layer
        }
        return str(found["model_digest"]), layers, float(found["steady"]["median_ns"]) / 1e3
    except (KeyError, TypeError, ValueError):
        raise DamagedError(
            f"{file} is not what binas-bench prints", hint="binas-bench NET.binas --layers --json"
        ) from None
