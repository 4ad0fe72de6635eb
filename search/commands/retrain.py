"""`binas-search retrain`: train a genotype from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from binas.core import cli
from binas.search.commands import shared


@click.command(cls=cli.Command)
@click.argument("genotype", type=click.Path(path_type=Path), metavar="RUN|GENOTYPE.json")
@shared.data_option("Data set.")
@click.option("--real", is_flag=True, help="Train the real-valued twin: no sign, real weights.")
@click.option("--config", type=shared.FILE, help="TOML with keys of the settings; flags win.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the images.  [default: 15]")
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: 32]")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Peak learning rate of Adam.  [default: 0.01]",
)
@click.option(
    "--smoothing", type=click.FloatRange(0, 1, max_open=True), help="Of the labels.  [default: 0]"
)
@shared.training_options
@cli.json_option
def retrain(
    genotype: Path,
    data_name: str,
    real: bool,
    config: Path | None,
    seed: int,
    threads: int,
    output: Path,
    force: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a genotype from scratch and measure it on the held-out images.

    \b
    Example:
      binas-search retrain runs/fast -o runs/fast-net
      binas-search retrain runs/fast --real -o runs/fast-twin

    Writes trained.json and weights.safetensors to the folder.
    """
    from dataclasses import asdict  # noqa: PLC0415

    from binas.core import record  # noqa: PLC0415
    from binas.search import config as settings_of  # noqa: PLC0415
    from binas.search import data, recipe  # noqa: PLC0415
    from binas.search import retrain as training  # noqa: PLC0415
    from binas.search.run import Config, RunFolder, versions  # noqa: PLC0415

    shared.set_threads(threads)
    settings = settings_of.settings(recipe.RetrainSettings, config, flags)
    chosen, images = shared.genotype_of(genotype), data.load(data_name)
    training.must_fit(chosen.space, images)
    asked = Config(
        kind="retrain",
        data=images.name,
        data_digest=images.digest,
        seed=seed,
        settings={**asdict(settings), "real": real, "threads": threads},
        inputs={"genotype": record.digest(chosen)},
        versions=versions(),
    )
    folder = RunFolder(output, asked, force=force)
    if (output / "trained.json").exists():
        trained = record.load(training.Trained, output / "trained.json")
        cli.say(f"{output} is finished: reused")
    else:
        with shared.epochs(f"retrain {output.name}", folder) as progress:
            net, trained = training.retrain(
                chosen, images, settings, seed=seed, real=real, folder=folder, progress=progress
            )
        training.save_network(net, output / "weights.safetensors")
        record.save(trained, output / "trained.json")
    if as_json:
        cli.emit(record.to_dict(trained))
    else:
        kind = "real-valued twin" if real else "1-bit network"
        click.echo(f"{kind}: held-out accuracy {trained.accuracy:.1%}, {trained.seconds:.0f} s")
