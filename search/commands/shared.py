"""What the commands of this room share: options, the bar of epochs, how inputs are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from binas.core import cli

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from binas.search.forms import SettingsAnswer
    from binas.search.genotype import Buildable
    from binas.search.run import RunFolder

    S = TypeVar("S", bound=DataclassInstance)

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


def processor_option(help_text: str, default: str | None = "cpu") -> Callable[[F], F]:
    """`--processor`."""
    return click.option(
        "--processor",
        type=click.Choice(["cpu", "cuda", "auto"]),
        default=default,
        show_default=default is not None,
        help=f"{help_text} auto: cuda where torch sees a GPU.",
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
            callback=_needed_to_run,
            help="Folder of the run; the same command goes on where it stopped.  [required]",
        ),
        click.option("--force", is_flag=True, help="Start over, even if the folder holds a run."),
        click.option(
            "--tensorboard", is_flag=True, help="Write what TensorBoard reads into the folder, too."
        ),
    )
    return _with(function, options)


def _needed_to_run(
    context: click.Context, parameter: click.Parameter, value: Path | None
) -> Path | None:
    """Refuse a run without a folder; settings that are only shown need none."""
    # What was typed is looked at first, so --show-config is known by now.
    if value is None and not context.params.get("show_config") and not context.resilient_parsing:
        raise click.MissingParameter(ctx=context, param=parameter)
    return value


def settings_options(function: F) -> F:
    """`--config` and `--set`: for every setting that has no option of its own."""
    options = (
        click.option("--config", type=FILE, help="TOML with keys of the settings; flags win."),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="KEY=VALUE",
            help="One key of the settings; wins over the file. --show-config lists them.",
        ),
        click.option(
            "--show-config",
            is_flag=True,
            help="Print every setting with its value and where that comes from; do nothing else.",
        ),
    )
    return _with(function, options)


def _with(function: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def merged(
    cls: type[S],
    config: Path | None,
    sets: tuple[str, ...],
    flags: dict[str, Any],
    preset: tuple[str, S] | None = None,
) -> tuple[S, dict[str, str]]:
    """Settings and their origins from the options of a command, over a preset's or the defaults."""
    from binas.search import config as settings_of  # noqa: PLC0415

    given = {**settings_of.assignments(sets), **{k: v for k, v in flags.items() if v is not None}}
    return settings_of.merged(cls, config, given, preset)


def show(settings: DataclassInstance, origins: dict[str, str], *, as_json: bool) -> None:
    """Every setting with its origin, on stdout."""
    from dataclasses import asdict  # noqa: PLC0415

    values = asdict(settings)
    if as_json:
        answer: SettingsAnswer = {
            "schema": "binas.settings/1",
            "settings": values,
            "origins": origins,
        }
        cli.emit(answer)
        return
    for name, value in values.items():
        click.echo(f"{name:>20} = {value!s:<12} {origins.get(name, 'default')}")


# Where a run is written, and what only concerns this call, is not what it was asked for.
_NOT_ASKED = ("output", "force", "as_json", "show_config")


def arguments(context: click.Context) -> tuple[str, ...]:
    """The command that was typed, paths made absolute: what `binas-search resume` types again."""
    typed = [str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in _NOT_ASKED or context.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        value = context.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(parameter, click.Option):
                typed.append(parameter.opts[0])
            if one is not True:
                typed.append(_absolute(one))
    return tuple(typed)


def _absolute(value: Any) -> str:
    """A path, or the path that a text such as `FOLDER,size=32` starts with, without the folder."""
    if isinstance(value, Path):
        return str(value.resolve())
    path, comma, rest = str(value).partition(",")
    if isinstance(value, str) and path and Path(path).exists():
        return f"{Path(path).resolve()}{comma}{rest}"
    return str(value)


def set_threads(threads: int) -> None:
    """Of torch."""
    import torch  # noqa: PLC0415 (1 s)

    torch.set_num_threads(threads)


@contextmanager
def epochs(title: str, folder: RunFolder) -> Iterator[Epochs]:
    """A bar of epochs on stderr; says where a run goes on. Of several processes one does."""
    if not folder.writes:
        yield lambda _done, _in_all, _entry: None
        return
    kept = folder.resume()
    if folder.lost:
        cli.say(folder.lost)
    if kept is not None:
        cli.say(f"{folder.path}: goes on after epoch {len(kept[1]) - 1}")
    with cli.progress() as bars:
        task = bars.add_task(title, total=None)

        def progress(done: int, total: int, entry: dict[str, Any]) -> None:
            bars.update(
                task, completed=done, total=total, description=f"{title} loss {entry['loss']:.3f}"
            )

        yield progress


@contextmanager
def timing(device_name: str, count: int) -> Iterator[Callable[[Buildable], float]]:
    """Microseconds of a network on a device; equal networks are timed once.

    Args:
        device_name: See `binas-devices list`.
        count: How many will be asked for; for the bar.
    """
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from binas.devices import registry  # noqa: PLC0415
    from binas.runtime import artifact  # noqa: PLC0415
    from binas.runtime.measure import Plan  # noqa: PLC0415
    from binas.runtime.session import Session  # noqa: PLC0415
    from binas.search.workshop import compile_network  # noqa: PLC0415

    plan = Plan(repeats=15, warmup=2, min_batch_ns=5_000_000, max_ns=5_000_000_000)
    device = registry.find(device_name)
    link = registry.connect(device)
    known: dict[Buildable, float] = {}
    try:
        with TemporaryDirectory(prefix="binas-") as folder, cli.progress() as bars:
            path = Path(folder) / "timed.binas"
            bar = bars.add_task(f"measure on {device_name}", total=count)

            def time_us(genotype: Buildable) -> float:
                if genotype not in known:
                    compile_network(genotype, device, path)
                    with Session(artifact.load(path), link) as session:
                        known[genotype] = session.time(plan).median_ns / 1e3
                bars.advance(bar)
                return known[genotype]

            yield time_us
    finally:
        link.close()


def sources_of(path: Path) -> dict[str, str]:
    """Digests of what the genotype in a folder came from; empty of a genotype's file."""
    from binas.core import record  # noqa: PLC0415
    from binas.search.retrain import Trained  # noqa: PLC0415 (torch: 1 s)
    from binas.search.run import Config  # noqa: PLC0415

    if (path / "trained.json").is_file():
        known = record.load(Trained, path / "trained.json").sources
        return {name: digest for name, digest in known.items() if name != "data"}
    if not (path / "config.json").is_file():
        return {}
    run = record.load(Config, path / "config.json")
    read = {name: digest for name, digest in run.inputs.items() if name != "space"}
    return {**read, "search_data": run.data_digest} if run.kind == "search" else {}


def genotype_of(path: Path) -> Buildable:
    """From a genotype's file, or the folder of a search or retraining run."""
    from binas.core import record  # noqa: PLC0415
    from binas.search import genotype  # noqa: PLC0415
    from binas.search.retrain import Trained  # noqa: PLC0415 (torch: 1 s)

    if (path / "trained.json").is_file():
        return record.load(Trained, path / "trained.json").genotype
    return genotype.load(path / "genotype.json" if path.is_dir() else path)
