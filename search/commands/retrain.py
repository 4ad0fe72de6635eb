"""`binas-search retrain`: train a genotype from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core import cli
from binas.core.errors import UsageError
from binas.search.commands import shared

if TYPE_CHECKING:
    from torch import nn


@click.command(cls=cli.Command)
@click.argument("genotype", type=click.Path(path_type=Path), metavar="RUN|GENOTYPE.json")
@shared.data_option("Data set.")
@click.option("--real", is_flag=True, help="Train the real-valued twin: no sign, real weights.")
@click.option(
    "--teacher",
    metavar="RUN|MODULE:FUNCTION",
    help="Distil from the network of a retraining run, or from the torch module that a function "
    "returns; with --set distil=1 from it alone.",
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the images.  [default: 10]")
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: 32]")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Peak learning rate.  [default: 0.01]",
)
@click.option(
    "--smoothing", type=click.FloatRange(0, 1, max_open=True), help="Of the labels.  [default: 0]"
)
@click.option(
    "--steps",
    type=click.Choice(["1", "2"]),
    help="2: binary activations first, then weights, too.  [default: 1]",
)
@shared.processor_option("cuda: bfloat16, channels last and torch.compile.")
@shared.settings_options
@shared.training_options
@cli.json_option
@click.pass_context
def retrain(
    context: click.Context,
    /,
    *,
    genotype: Path,
    data_name: str,
    real: bool,
    teacher: str | None,
    processor: Any,
    config: Path | None,
    sets: tuple[str, ...],
    show_config: bool,
    seed: int,
    threads: int,
    output: Path,
    force: bool,
    tensorboard: bool,
    as_json: bool,
    steps: str | None,
    **flags: Any,
) -> None:
    """Train a genotype from scratch and measure it on the held-out images.

    \b
    Example:
      binas-search retrain runs/fast -o runs/fast-net
      binas-search retrain runs/fast --real -o runs/fast-twin
      binas-search retrain runs/fast --teacher runs/fast-twin --set distil=0.5 -o runs/taught
      torchrun --no-python --nproc-per-node 2 binas-search retrain runs/fast -o runs/fast-net

    Writes trained.json and weights.safetensors to the folder.
    """
    from dataclasses import asdict  # noqa: PLC0415

    from binas.core import record  # noqa: PLC0415
    from binas.search import data, recipe  # noqa: PLC0415
    from binas.search import retrain as training  # noqa: PLC0415
    from binas.search.commands import jobs  # noqa: PLC0415
    from binas.search.hardware import Hardware, found_processor  # noqa: PLC0415
    from binas.search.processes import Processes  # noqa: PLC0415
    from binas.search.run import Config, RunFolder, versions  # noqa: PLC0415

    shared.set_threads(threads)
    flags["steps"] = None if steps is None else int(steps)
    settings, origins = shared.merged(recipe.RetrainSettings, config, sets, flags)
    if show_config:
        shared.show(settings, origins, as_json=as_json)
        return
    hardware, processes = Hardware.of(found_processor(processor)), Processes.joined()
    chosen, images = shared.genotype_of(genotype), data.load(data_name)
    training.must_fit(chosen.space, images)
    inputs = {"genotype": record.digest(chosen)}
    taught_by = None if teacher is None else _teacher(teacher, inputs)
    asked = Config(
        kind="retrain",
        data=images.name,
        data_digest=images.digest,
        seed=seed,
        settings={
            **asdict(settings),
            "real": real,
            "threads": threads,
            "processor": hardware.processor,
            "processes": processes.count,
        },
        inputs=inputs,
        versions=versions(),
        origins=origins,
        arguments=shared.arguments(context),
    )
    with processes.in_turn():
        folder = RunFolder(output, asked, force=force, writes=processes.writes, events=tensorboard)
    trained = jobs.retrained(
        chosen,
        images,
        settings,
        folder,
        seed=seed,
        sources=shared.sources_of(genotype),
        real=real,
        teacher=taught_by,
        hardware=hardware,
        processes=processes,
    )
    if not processes.writes:
        return
    if as_json:
        cli.emit(record.to_dict(trained))
    else:
        kind = "real-valued twin" if real else "1-bit network"
        click.echo(f"{kind}: held-out accuracy {trained.accuracy:.1%}, {trained.seconds:.0f} s")


def _teacher(name: str, inputs: dict[str, str]) -> nn.Module:
    """A network of ours by its run, or a module of the user's; notes in `inputs` which it is."""
    import importlib  # noqa: PLC0415

    from torch import nn  # noqa: PLC0415

    from binas.core import record  # noqa: PLC0415
    from binas.search.retrain import Trained, load_network  # noqa: PLC0415

    run = Path(name)
    if (run / "trained.json").is_file():
        weights = run / "weights.safetensors"
        inputs["teacher"] = record.digest_bytes(record.read_bytes(weights))
        trained = record.load(Trained, run / "trained.json")
        return load_network(trained.genotype, weights, real=trained.real)
    module_name, colon, function_name = name.partition(":")
    hint = "give the folder of a finished retraining run, or module:function"
    if not colon:
        raise UsageError(f"{name} holds no trained network", hint=hint)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"teacher {name}: {error}", hint=hint) from None
    found = function()
    if not isinstance(found, nn.Module):
        raise UsageError(
            f"{name} returned {type(found).__name__}, expected a torch module", hint=hint
        )
    inputs["teacher"] = name
    return found
