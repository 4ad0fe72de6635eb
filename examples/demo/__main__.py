"""`python -m examples.demo`: from images to a timed 1-bit network, with a report at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from binas.core import cli


@click.command(cls=cli.Command)
@click.option(
    "--data", default="digits", show_default=True, help="Data set, as in binas-search run --data."
)
@click.option("--space", default="digits", show_default=True, help="Search space.")
@click.option("--device", default="host", show_default=True, help="What is measured on.")
@click.option(
    "--board",
    default="rpi4",
    show_default=True,
    help="What is also compiled for: verified under emulation, never timed.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.65,
    show_default=True,
    help="Latency asked of the second search, over the first net's measured latency.",
)
@click.option(
    "--search-epochs", type=click.IntRange(4), help="Three of them warm up.  [default: 12]"
)
@click.option("--train-epochs", type=click.IntRange(1), help="Default: the package's.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder of the report and of all stages.",
)
@cli.json_option
def main(
    *,
    data: str,
    space: str,
    device: str,
    board: str,
    seed: int,
    target: float,
    search_epochs: int | None,
    train_epochs: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Search twice, without and with measured latency; train, compile, verify and measure.

    Every stage is kept in the output folder under a digest of its inputs. The same command goes on
    where it was interrupted, and reuses what is done.
    """
    from rich.console import Console  # noqa: PLC0415 (a help page needs none of these)

    from binas.core import record  # noqa: PLC0415
    from binas.runtime import html  # noqa: PLC0415
    from examples.demo.crew import Crew  # noqa: PLC0415
    from examples.demo.gather import gather  # noqa: PLC0415
    from examples.demo.journey import Request, travel  # noqa: PLC0415
    from examples.demo.page import page, terminal_table  # noqa: PLC0415

    request = Request(
        data=data,
        space=space,
        device=device,
        board=board,
        output=output,
        seed=seed,
        target_ratio=target,
        search_epochs=search_epochs,
        train_epochs=train_epochs,
    )
    with Crew() as crew:
        demo = gather(request, travel(request, crew))
    record.save(demo, output / "report.json")
    html.write(page(demo), output / "report.html")
    if as_json:
        cli.emit(record.to_dict(demo))
    else:
        # A log has no width of its own: give the table what it needs.
        width = None if sys.stdout.isatty() else 110
        Console(width=width).print(terminal_table(demo))
    for name, net in (("baseline", demo.baseline), ("latency-aware", demo.latency_aware)):
        for doubt in net.doubts:
            cli.say(f"Doubt: {name}: {doubt}")
    cli.say(f"report: {output / 'report.html'} and {output / 'report.json'}")


if __name__ == "__main__":
    main(prog_name="python -m examples.demo")
