"""docs/performance.md from measurements: `python -m benchmarks.performance FILE... -o PAGE`.

The files are what benchmarks.layers, benchmarks.networks and benchmarks.threads wrote; several runs
of the same may be given, and each figure is then the median over runs. What benchmarks.arm,
benchmarks.arm_network and benchmarks.footprint wrote may be among them, and is judged, too. No
figure of the tables, of the drawing and of the verdicts is typed by hand; the notes that end the
page (performance-notes.md beside performance.md) are, with the figures in them. A page is of one
CPU: `-o docs/performance-zen4.md` makes another one's.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import page, plot, report_file
from benchmarks.schema import FootprintReport, Report
from binas.core import cli, record
from binas.core.errors import UsageError


@click.command(cls=cli.Command)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Page; its notes (NAME-notes.md) lie beside it, its drawing in images/.",
)
def main(*, files: tuple[Path, ...], output: Path) -> None:
    """Write the page and its drawing."""
    reports = [report_file.read(file) for file in files]
    timed = [report for report in reports if isinstance(report, Report)]
    if not timed:
        raise UsageError(
            "none of these files is of a run whose times make the page",
            hint="python -m benchmarks.layers --json FILE",
        )
    weighed = [report for report in reports if isinstance(report, FootprintReport)]
    cpus = {report.host.cpu for report in timed} | {report.cpu for report in weighed}
    if len(cpus) > 1:
        raise UsageError(f"these files are of several CPUs: {', '.join(sorted(cpus))}")
    name = output.stem
    notes, drawing = output.with_name(f"{name}-notes.md"), Path("images", f"{name}.svg")
    text = notes.read_text() if notes.exists() else ""
    record.write_atomic(output.parent / drawing, plot.draw(timed))
    made = page.page(reports, name=name, plot=drawing.as_posix(), notes=text)
    record.write_atomic(output, made.encode())
    click.echo(f"{output}, {output.parent / drawing}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance")
