"""What the commands of this room share: options, the bar of epochs, how inputs are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from binas.core import cli

if TYPE_CHECKING:
    from binas.search.genotype import Genotype
    from binas.search.run import RunFolder

F = TypeVar("F", bound=Callable[..., Any])
Epochs = Callable[[int, int, dict[str, Any]], None]

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def data_option(help_text: str) -> Callable[[F], F]:
    """`--data`."""
    return click.option(
        "--data",
        "data_name",
        default="digits",
        show_default=True,
        metavar="NAME[,KEY=VALUE]|FOLDER|FILE.npz|MODULE:FUNCTION",
        help=help_text,
    )


def space_option(help_text: str) -> Callable[[F], F]:
    """`--space`."""
    return click.option(
        "--space",
        "space_name",
        default="digits",
        show_default=True,
        metavar="NAME|FILE.toml",
        help=help_text,
    )


def training_options(function: F) -> F:
    """`--seed`, `--threads`, `-o`, `--force`: the same for everything that trains."""
    options = (
        click.option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Of all that is drawn.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Of torch; with 1 a run repeats bit for bit.",
        ),
        click.option(
            "-o",
            "--output",
            type=FOLDER,
            required=True,
            help="Folder of the run; the same command goes on where it stopped.",
        ),
        click.option("--force", is_flag=True, help="Start over, even if the folder holds a run."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def set_threads(threads: int) -> None:
    """Of torch."""
    import torch  # noqa: PLC0415 (1 s)

    torch.set_num_threads(threads)


@contextmanager
def epochs(title: str, folder: RunFolder) -> Iterator[Epochs]:
    """A bar of epochs on stderr; says where a run goes on."""
    kept = folder.resume()
    if kept is not None:
        cli.say(f"{folder.path}: goes on after epoch {len(kept[1]) - 1}")
    with cli.progress() as bars:
        task = bars.add_task(title, total=None)

        def progress(done: int, total: int, entry: dict[str, Any]) -> None:
            bars.update(
                task, completed=done, total=total, description=f"{title} loss {entry['loss']:.3f}"
            )

        yield progress


def genotype_of(path: Path) -> Genotype:
    """From a genotype's file, or the folder of a search or retraining run."""
    from binas.core import record  # noqa: PLC0415
    from binas.search.genotype import Genotype  # noqa: PLC0415
    from binas.search.retrain import Trained  # noqa: PLC0415 (torch: 1 s)

    if (path / "trained.json").is_file():
        return record.load(Trained, path / "trained.json").genotype
    return record.load(Genotype, path / "genotype.json" if path.is_dir() else path)
