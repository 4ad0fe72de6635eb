"""What every binas command shares: error reports, JSON output, progress, the `binas` group.

stdout is the result; stderr is everything else. Only this file turns errors into exit codes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any, TypeVar

import click

from binas.core.errors import BinasError, UsageError
from binas.core.record import WRITE_ERRNOS

if TYPE_CHECKING:
    from rich.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])

INTERRUPTED = 130  # as a shell reports SIGINT

# What the extras bring, as it is imported: a missing one is no bug but an install of less.
EXTRAS = {
    "compile": ("onnx", "onnxruntime", "PIL", "tvm", "unicorn", "ziglang"),
    "search": ("jinja2", "matplotlib", "safetensors", "sklearn", "torch"),
    "rpc": ("cloudpickle", "psutil", "tornado"),
    "tensorboard": ("tensorboard",),
}


class Command(click.Command):
    """A click command that turns a BinasError into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a bug still shows its traceback."""
        try:
            return super().invoke(ctx)
        except BinasError as error:
            click.echo(f"Error: {error}", err=True)
            if error.hint:
                click.echo(f"Hint: {error.hint}", err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            module = (error.name or "").partition(".")[0]
            extra = next((extra for extra, known in EXTRAS.items() if module in known), None)
            if extra is None:
                raise
            click.echo(f"Error: this needs {module}, which is not installed", err=True)
            click.echo(f"Hint: pip install 'binas[{extra}]'", err=True)
            ctx.exit(UsageError.exit_code)
        except KeyboardInterrupt:
            click.echo("\nInterrupted. The same command goes on where it stopped.", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            ctx.exit(0)
        except OSError as error:
            if error.errno not in WRITE_ERRNOS:
                raise
            nameless = f"standard output or a temporary file in {tempfile.gettempdir()}"
            where = error.filename or nameless
            click.echo(f"Error: cannot write {where}: {error.strerror}", err=True)
            click.echo("Hint: free some space; TMPDIR names another temporary folder", err=True)
            ctx.exit(UsageError.exit_code)


class Group(click.Group):
    """A group whose commands are `Command`s."""

    command_class = Command


class LazyGroup(click.Group):
    """A group whose commands are entry points; a room is imported when its command is called.

    Args:
        entry_group: The entry point group that lists the commands.
        prefix: Only entry points whose name starts so; the rest of the name is the command.
        summaries: One line per command, shown by `--help` without importing the command.
    """

    def __init__(
        self, *args: Any, entry_group: str, prefix: str, summaries: dict[str, str], **kwargs: Any
    ) -> None:
        """Keep where to look; nothing is looked up yet."""
        super().__init__(*args, **kwargs)
        self._entry_group, self._prefix, self._summaries = entry_group, prefix, summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, sorted."""
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's room."""
        found = self._found().get(cmd_name)
        if found is None:
            return None
        command: click.Command = found.load()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name the commands without importing their rooms."""
        with formatter.section("Commands"):
            formatter.write_dl([(n, self._summaries.get(n, "")) for n in self.list_commands(ctx)])

    def _found(self) -> dict[str, Any]:
        points = entry_points(group=self._entry_group)
        own = [point for point in points if point.name.startswith(self._prefix)]
        return {point.name.removeprefix(self._prefix): point for point in own}


@click.command(
    cls=LazyGroup,
    entry_group="console_scripts",
    prefix="binas-",
    summaries={
        "bench": "measure an artifact on a device",
        "compile": "turn an ONNX model into an artifact for a device",
        "devices": "list, show and check the devices binas can reach",
        "doctor": "show what a bug report needs, and what is wrong here",
        "report": "draw artifacts, times, tables and searches on one page",
        "run": "run an artifact on an input, or verify it",
        "search": "search, retrain and export 1-bit networks",
        "table": "build and show latency tables",
    },
    context_settings={"auto_envvar_prefix": "BINAS"},
)
@click.version_option(package_name="binas", prog_name="binas")
def main() -> None:
    """From architecture search to a timed 1-bit network on the board."""


def json_option(function: F) -> F:
    """`--json`: print exactly one JSON object with a `schema` field on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")(
        function
    )


def version_option(function: F) -> F:
    """`--version`."""
    return click.version_option(version=version("binas"), prog_name="binas")(function)


def emit(record: Mapping[str, object]) -> None:
    """Write one JSON object to stdout: a record, or one of a room's `forms`.

    Raises:
        ValueError: The record has no schema tag; that is a bug of the caller.
    """
    if "schema" not in record:
        raise ValueError("a record without a schema tag")
    click.echo(json.dumps(record, sort_keys=True, allow_nan=False))


def say(message: str) -> None:
    """Tell the user something that is not the result: goes to stderr."""
    click.echo(message, err=True)


def progress() -> Progress:
    """A progress display on stderr; silent where stderr is no terminal."""
    from rich.console import Console  # noqa: PLC0415 (0.05 s)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
