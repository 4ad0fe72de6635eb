"""`binas-search resume`: go on with a run, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from binas.core import cli
from binas.core.errors import UsageError
from binas.search.commands import shared


@click.command(cls=cli.Command)
@click.argument("run_folder", type=shared.FOLDER, metavar="RUN")
@shared.processor_option(
    "Go on there and no longer where the run was; numbers round otherwise.", None
)
@cli.json_option
@click.pass_context
def resume(context: click.Context, /, *, run_folder: Path, processor: Any, as_json: bool) -> None:
    """Go on with an interrupted search or retraining where its last finished epoch ended.

    \b
    Example:
      binas-search resume runs/fast
      binas-search resume runs/fast --processor cpu

    The folder keeps the command; files that it named must still be where they were.
    """
    from dataclasses import replace  # noqa: PLC0415

    from binas.core import record  # noqa: PLC0415
    from binas.search.hardware import Hardware, found_processor  # noqa: PLC0415
    from binas.search.run import Config  # noqa: PLC0415

    if run_folder.is_dir() and not (run_folder / "config.json").exists():
        raise UsageError(
            f"{run_folder} holds no config.json, expected the folder of a search or retraining",
            hint="give another folder; or type the command that made it, with another -o",
        )
    config: Config = record.load(Config, run_folder / "config.json")
    if not config.arguments:
        raise UsageError(
            f"{run_folder} does not say which command made it",
            hint="type that command again: it goes on, too",
        )
    group = context.find_root().command
    name, *rest = config.arguments
    command = group.get_command(context, name) if isinstance(group, click.Group) else None
    if command is None:
        raise UsageError(
            f"{run_folder} was made by binas-search {name}, which there is not",
            hint="type the command again that made it",
        )
    answer, place = _answer(run_folder), config.processor
    if processor is not None and answer is None:
        place = Hardware.of(found_processor(processor)).processor  # or says that it is not there
    elif place not in ("cpu", found_processor("auto")):
        raise _elsewhere(run_folder, place, answer)
    rest = [*_without("--processor", rest), "--processor", place]  # whatever "auto" is here
    if place != config.processor:
        settings = {**config.settings, "processor": place}
        config = replace(config, settings=settings, arguments=(name, *rest))
        record.save(config, run_folder / "config.json")
    typed = [*rest, "-o", str(run_folder), *(["--json"] if as_json else [])]
    context.exit(command.main(typed, prog_name=f"binas-search {name}", standalone_mode=False) or 0)


def _without(option: str, typed: list[str]) -> list[str]:
    """What was typed without an option and its value."""
    kept: list[str] = []
    words = iter(typed)
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def _answer(run_folder: Path) -> Path | None:
    """The file of a finished run: nothing is left to be computed, anywhere."""
    if (run_folder / "weights.safetensors").exists() and (run_folder / "trained.json").exists():
        return run_folder / "trained.json"
    found = run_folder / "result.json"
    return found if found.exists() else None


def _elsewhere(run_folder: Path, place: str, answer: Path | None) -> UsageError:
    """What is said where the run's processor is not."""
    move = f"binas-search resume {run_folder} --processor cpu goes on, but numbers round otherwise"
    return UsageError(
        f"{run_folder} is a run on {place}, and torch sees no CUDA device here",
        hint=move if answer is None else f"it is finished: {answer}",
    )
