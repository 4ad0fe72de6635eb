"""docs/performance.md from measurements: `python -m benchmarks.performance FILE...`.

The files are what benchmarks.layers, benchmarks.networks and benchmarks.threads wrote; several runs
of the same may be given, and each figure is then the median over runs. No figure of the tables, of
the drawing and of the verdicts is typed by hand; the notes that end the page (performance-notes.md)
are, with the figures in them.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import page, plot, report_file
from binas.core import cli, record
from binas.core.errors import UsageError

PLOT = Path("images") / "performance.svg"
NOTES = "performance-notes.md"


@click.command(cls=cli.Command)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("docs/performance.md"),
    show_default=True,
    help="Page; its notes lie beside it, its drawing in images/.",
)
def main(*, files: tuple[Path, ...], output: Path) -> None:
    """Write the page and its drawing."""
    reports = [report_file.read(file) for file in files]
    cpus = {report.host.cpu for report in reports}
    if len(cpus) > 1:
        raise UsageError(f"these files are of several CPUs: {', '.join(sorted(cpus))}")
    notes = output.parent / NOTES
    text = notes.read_text() if notes.exists() else ""
    record.write_atomic(output.parent / PLOT, plot.draw(reports))
    made = page.page(reports, plot=PLOT.as_posix(), notes=text)
    record.write_atomic(output, made.encode())
    click.echo(f"{output}, {output.parent / PLOT}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.performance")
