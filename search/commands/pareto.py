"""`binas-search pareto`: trained networks in the plane of accuracy and latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas.core import cli
from binas.core.errors import UsageError
from binas.search.commands import shared

if TYPE_CHECKING:
    from binas.runtime.html import Report
    from binas.runtime.plots import Point
    from binas.search.forms import ParetoAnswer
    from binas.search.genotype import Buildable


@click.command(cls=cli.Command)
@click.argument("runs", type=shared.FOLDER, nargs=-1, required=True, metavar="RUN...")
@click.option("--device", help="Measure every network there; see binas-devices list.")
@click.option("--table", type=shared.FILE, help="Predict latency from this table instead.")
@click.option("-o", "--output", type=shared.FILE, help="HTML page to write.")
@cli.json_option
def pareto(
    *,
    runs: tuple[Path, ...],
    device: str | None,
    table: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say which trained networks no other beats in both accuracy and latency.

    \b
    Example:
      binas-search pareto runs/fast-net runs/plain-net --device host -o front.html

    Runs are folders of finished retrainings; a folder of such folders stands for all of them.
    """
    from binas.core import record  # noqa: PLC0415
    from binas.runtime import html, plots  # noqa: PLC0415
    from binas.search.retrain import Trained  # noqa: PLC0415

    if (device is None) == (table is None):
        raise UsageError("latency has one source", hint="give --device or --table")
    folders = [folder for run in runs for folder in _finished(run)]
    trained = [record.load(Trained, folder / "trained.json") for folder in folders]
    genotypes = [one.genotype for one in trained]
    latency_us = _predicted(genotypes, table) if table else _measured(genotypes, str(device))
    points = [
        plots.Point(label=folder.name, latency_us=us, accuracy=one.accuracy, hue=int(one.real))
        for folder, one, us in zip(folders, trained, latency_us, strict=True)
    ]
    front = plots.pareto(points)
    if output is not None:
        html.write(_page(points, front, device), output)
    if as_json:
        answer: ParetoAnswer = {
            "schema": "binas.pareto/1",
            "device": device,
            "latency": "predicted" if table else "measured",
            "networks": [
                {
                    "run": str(folder),
                    "accuracy": point.accuracy,
                    "latency_us": point.latency_us,
                    "front": point in front,
                }
                for folder, point in zip(folders, points, strict=True)
            ],
        }
        cli.emit(answer)
        return
    for point in sorted(points, key=lambda p: p.latency_us):
        mark = "*" if point in front else " "
        click.echo(f"{mark} {point.latency_us:9.1f} us  {point.accuracy:6.1%}  {point.label}")


def _finished(run: Path) -> list[Path]:
    """The retrainings of a folder: itself, or those below it."""
    if (run / "trained.json").is_file():
        return [run]
    found = sorted(path.parent for path in run.glob("**/trained.json"))
    if not found:
        raise UsageError(f"{run} holds no finished retraining", hint="binas-search retrain ...")
    return found


def _predicted(genotypes: Sequence[Buildable], table: Path) -> list[float]:
    from binas.core import record  # noqa: PLC0415
    from binas.runtime.table import LatencyTable  # noqa: PLC0415
    from binas.search.cost import predict_ns  # noqa: PLC0415

    prices = record.load(LatencyTable, table)
    return [predict_ns(genotype, prices) / 1e3 for genotype in genotypes]


def _measured(genotypes: Sequence[Buildable], device_name: str) -> list[float]:
    with shared.timing(device_name, len(genotypes)) as time_us:
        return [time_us(genotype) for genotype in genotypes]


def _page(points: Sequence[Point], front: Sequence[Point], device: str | None) -> Report:
    from dataclasses import replace  # noqa: PLC0415

    from binas.runtime import html, plots  # noqa: PLC0415

    where = "by the table" if device is None else f"measured on {device}"
    drawn = plots.plane(
        [replace(point, bold=point in front) for point in points], x_label=f"latency {where}, µs"
    )
    figure = html.Figure(svg=drawn, caption="The front is labelled.")
    table = html.Table(
        head=("network", "accuracy", "latency", "front"),
        rows=tuple(
            (p.label, f"{p.accuracy:.1%}", html.microseconds(p.latency_us), "•" * (p in front))
            for p in sorted(points, key=lambda p: p.latency_us)
        ),
    )
    return html.Report(
        title="Accuracy and latency",
        lead=f"{len(points)} trained networks, latency {where}; {len(front)} are on the front.",
        facts=(),
        sections=(
            html.Section(
                title="The plane",
                text="Dotted: what no other network beats in both.",
                blocks=(html.Figures(figures=(figure,)), table),
            ),
        ),
        footer="binas-search pareto",
    )
