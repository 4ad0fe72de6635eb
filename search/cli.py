"""`binas-search` and `binas-table build`: from a space and a table to a trained 1-bit network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core import cli
from binas.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from binas.search.cost import Lut
    from binas.search.genotype import Genotype
    from binas.search.space import Space

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
Epochs = Callable[[int, int, dict[str, Any]], None]


@click.group(cls=cli.Group, context_settings={"auto_envvar_prefix": "BINAS_SEARCH"})
@cli.version_option
def main() -> None:
    """Search, retrain and export 1-bit networks.

    \b
    Example:
      binas-table build --space digits --device host -o table.json
      binas-search run --table table.json --budget 60us -o runs/search
      binas-search retrain runs/search -o runs/net
      binas-search export runs/net -o net.onnx
    """


@main.command()
@click.option(
    "--space",
    "space_name",
    default="digits",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="Search space; built-in names: binas-search list.",
)
@click.option(
    "--data",
    "data_name",
    default="digits",
    show_default=True,
    metavar="NAME|FILE.npz|MODULE:FUNCTION",
    help="Data set; only its training images are used.",
)
@click.option(
    "--table",
    type=FILE,
    help="Latency table of the target device. Without a budget it only describes the search.",
)
@click.option("--budget", metavar="TIME", help="Latency to meet, with its unit, such as 500us.")
@click.option(
    "--budget-ratio",
    type=click.FloatRange(0, 1, min_open=True),
    help="Budget as a share of the predicted latency of --baseline, such as 0.65.",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="Run or genotype that --budget-ratio refers to.",
)
@click.option("--config", type=FILE, help="TOML with keys of the settings; flags win.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the images.  [default: 20]")
@click.option(
    "--warmup-epochs",
    type=click.IntRange(0),
    help="First of them with a uniform architecture.  [default: 5]",
)
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: 64]")
@click.option(
    "--samples", type=click.IntRange(1), help="Networks evaluated at the end.  [default: 8]"
)
@click.option(
    "--form",
    type=click.Choice(["hinge", "two-sided", "product", "log-product"]),
    help="Of the latency term.  [default: hinge]",
)
@click.option(
    "--strength", type=click.FloatRange(0), help="Of the latency term at the end.  [default: 1]"
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of torch; with 1 a run repeats bit for bit.",
)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    required=True,
    help="Folder of the run; the same command goes on where it stopped.",
)
@click.option("--force", is_flag=True, help="Start over, even if the folder holds a run.")
@cli.json_option
def run(
    space_name: str,
    data_name: str,
    table: Path | None,
    budget: str | None,
    budget_ratio: float | None,
    baseline: Path | None,
    config: Path | None,
    seed: int,
    threads: int,
    output: Path,
    force: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Search a space with BARS, with or without a latency budget.

    \b
    Example:
      binas-search run -o runs/plain
      binas-search run --table table.json --budget 60us -o runs/fast

    Writes result.json, genotype.json and log.jsonl (one line per epoch) to the folder.
    """
    from dataclasses import asdict  # noqa: PLC0415

    from binas.core import record  # noqa: PLC0415
    from binas.search import config as settings_of  # noqa: PLC0415
    from binas.search import data, space  # noqa: PLC0415
    from binas.search.run import Config, RunFolder, versions  # noqa: PLC0415
    from binas.search.strategy import bars  # noqa: PLC0415
    from binas.search.strategy.settings import BarsSettings, Found  # noqa: PLC0415

    _set_threads(threads)
    settings = settings_of.settings(BarsSettings, config, flags)
    chosen, images = space.load(space_name), data.load(data_name)
    lut = None if table is None else _lut(chosen, table)
    budget_ns = _budget_ns(budget, budget_ratio, baseline, lut)
    inputs = {"space": record.digest(chosen)}
    if table is not None:
        inputs["table"] = record.digest_bytes(table.read_bytes())
    asked = Config(
        kind="search",
        data=images.name,
        data_digest=images.digest,
        seed=seed,
        settings={**asdict(settings), "budget_ns": budget_ns, "threads": threads},
        inputs=inputs,
        versions=versions(),
    )
    folder = RunFolder(output, asked, force=force)
    if (output / "result.json").exists():
        found = record.load(Found, output / "result.json")
        cli.say(f"{output} is finished: reused")
    else:
        with _epochs(f"search {output.name}", folder) as progress:
            found = bars.search(
                chosen,
                images,
                settings,
                seed=seed,
                lut=lut,
                budget_ns=budget_ns,
                folder=folder,
                progress=progress,
            )
        record.save(found.genotype, output / "genotype.json")
        record.save(found, output / "result.json")
    if as_json:
        cli.emit(record.to_dict(found))
        return
    click.echo(f"{found.genotype}")
    click.echo(f"validation accuracy {found.candidates[0].accuracy:.1%}")
    if found.predicted_ns is not None:
        asked_for = "" if budget_ns is None else f", budget {budget_ns / 1e3:.1f} us"
        click.echo(f"predicted latency {found.predicted_ns / 1e3:.1f} us{asked_for}")


@main.command()
@click.argument("genotype", type=click.Path(path_type=Path), metavar="RUN|GENOTYPE.json")
@click.option(
    "--data",
    "data_name",
    default="digits",
    show_default=True,
    metavar="NAME|FILE.npz|MODULE:FUNCTION",
    help="Data set.",
)
@click.option("--real", is_flag=True, help="Train the real-valued twin: no sign, real weights.")
@click.option("--config", type=FILE, help="TOML with keys of the settings; flags win.")
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
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of torch; with 1 a run repeats bit for bit.",
)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    required=True,
    help="Folder of the run; the same command goes on where it stopped.",
)
@click.option("--force", is_flag=True, help="Start over, even if the folder holds a run.")
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
    from binas.search import data  # noqa: PLC0415
    from binas.search import retrain as training  # noqa: PLC0415
    from binas.search.run import Config, RunFolder, versions  # noqa: PLC0415

    _set_threads(threads)
    settings = settings_of.settings(training.RetrainSettings, config, flags)
    chosen, images = _genotype(genotype), data.load(data_name)
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
        with _epochs(f"retrain {output.name}", folder) as progress:
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


@main.command()
@click.argument("run_folder", type=FOLDER, metavar="RUN")
@click.option("-o", "--output", type=FILE, required=True, help="ONNX file to write.")
@cli.json_option
def export(run_folder: Path, output: Path, as_json: bool) -> None:
    """Write the network of a retraining run as an ONNX file of the contract.

    \b
    Example:
      binas-search export runs/fast-net -o net.onnx
      binas-compile net.onnx --device host -o net.binas
    """
    from binas.core import record  # noqa: PLC0415
    from binas.search import export as exporting  # noqa: PLC0415
    from binas.search.retrain import Trained, load_network  # noqa: PLC0415

    trained = record.load(Trained, run_folder / "trained.json")
    weights = run_folder / "weights.safetensors"
    net = load_network(trained.genotype, weights, real=trained.real)
    proto = exporting.export(net, trained.genotype, output, labels=trained.labels)
    nodes = [node.op_type for node in proto.graph.node]
    result = {
        "schema": "binas.export/1",
        "model": str(output),
        "bytes": output.stat().st_size,
        "nodes": len(nodes),
        "binary_convolutions": nodes.count("BinaryConv2d"),
        "accuracy": trained.accuracy,
    }
    if as_json:
        cli.emit(result)
    else:
        binary = result["binary_convolutions"]
        click.echo(f"{output}: {result['bytes']} bytes, {binary} binary convolutions")


@main.command(name="list")
@cli.json_option
def list_(as_json: bool) -> None:
    """List the built-in search spaces, data sets and strategies.

    \b
    Example:
      binas-search list
    """
    from binas.search.space import BUILT_IN  # noqa: PLC0415

    found = {"spaces": list(BUILT_IN), "data": ["digits"], "strategies": ["bars"]}
    if as_json:
        cli.emit({"schema": "binas.search-list/1", **found})
        return
    for what, names in found.items():
        click.echo(f"{what:>10}  {', '.join(names)}")


@click.command(cls=cli.Command, name="build")
@click.option(
    "--space",
    "space_name",
    default="digits",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="Search space whose layers are measured.",
)
@click.option(
    "--device",
    "device_name",
    default="host",
    show_default=True,
    help="Where; see binas-devices list.",
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    required=True,
    help="Table to write; finished layers are kept in a folder beside it.",
)
@click.option(
    "--fit-nets",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Whole networks that the sum of layers is compared with; 0: none.",
)
@click.option(
    "--jobs",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes that compile; 0: one per core.",
)
@cli.json_option
def table_build(
    space_name: str, device_name: str, output: Path, fit_nets: int, jobs: int, as_json: bool
) -> None:
    """Compile and measure every layer that a network of a space can contain.

    \b
    Example:
      binas-table build --space digits --device host -o table.json
      binas-table show table.json

    Interrupted, the same command goes on; a second one measures only what failed.
    """
    from binas.core import record  # noqa: PLC0415
    from binas.devices import registry  # noqa: PLC0415
    from binas.search import space, survey  # noqa: PLC0415
    from binas.search.workshop import DeviceWorkshop  # noqa: PLC0415

    _set_threads(1)
    chosen, device = space.load(space_name), registry.find(device_name)
    link = registry.connect(device)
    try:
        with cli.progress() as bars:
            tasks: dict[str, Any] = {}

            def progress(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(f"table: {stage}", total=total)
                bars.update(tasks[stage], completed=done)

            built = survey.build_table(
                chosen,
                device,
                output.with_suffix(".build"),
                workshop=DeviceWorkshop(device, link, jobs),
                fit_nets=fit_nets,
                facts={"model": device.title},
                progress=progress,
            )
    finally:
        link.close()
    table = built.table
    record.save(table, output)
    if built.reused:
        cli.say(f"reused {built.reused} of {len(table.entries)} layers measured earlier")
    for entry in table.failures:
        cli.say(f"failed: {entry.layer}: {getattr(entry.result, 'message', '')}")
    summary = {
        "schema": "binas.table-build/1",
        "table": str(output),
        "device": table.device,
        "layers": len(table.entries),
        "failures": len(table.failures),
        "reused": built.reused,
        "fixed_ns": table.fixed_ns,
        "fit": None
        if table.fit is None
        else {
            "networks": table.fit.nets,
            "median_abs_relative_error": table.fit.median_abs_relative_error,
            "worst": table.fit.worst,
            "spearman": table.fit.spearman,
        },
    }
    if as_json:
        cli.emit(summary)
        return
    click.echo(f"{output}: {len(table.entries)} layers, {len(table.failures)} failures")
    if table.fit is not None:
        click.echo(
            f"sum of layers against {table.fit.nets} networks: median error "
            f"{table.fit.median_abs_relative_error:.1%}, worst {table.fit.worst:.1%}, "
            f"rank correlation {table.fit.spearman:.2f}"
        )


def _set_threads(threads: int) -> None:
    import torch  # noqa: PLC0415 (1 s)

    torch.set_num_threads(threads)


@contextmanager
def _epochs(title: str, folder: Any) -> Iterator[Epochs]:
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


def _lut(space: Space, table: Path) -> Lut:
    from binas.core import record  # noqa: PLC0415
    from binas.runtime.table import LatencyTable  # noqa: PLC0415
    from binas.search.cost import Lut  # noqa: PLC0415
    from binas.search.survey import menu_of  # noqa: PLC0415

    prices = record.load(LatencyTable, table)
    kept = table.with_suffix(".build")  # where `binas-table build` left the menu
    return Lut.of(menu_of(space, kept if kept.is_dir() else None), prices)


def _budget_ns(
    budget: str | None, ratio: float | None, baseline: Path | None, lut: Lut | None
) -> float | None:
    """The budget, in ns; every combination that cannot mean anything is refused."""
    from binas.search.config import nanoseconds  # noqa: PLC0415

    if budget is not None and ratio is not None:
        raise UsageError("both --budget and --budget-ratio", hint="give one of them")
    if (ratio is None) != (baseline is None):
        raise UsageError(
            "--budget-ratio and --baseline belong together",
            hint="binas-search run --table T.json --budget-ratio 0.65 --baseline runs/plain ...",
        )
    if budget is None and ratio is None:
        return None
    if lut is None:
        raise UsageError("a budget needs a latency table", hint="give --table")
    if budget is not None:
        return nanoseconds(budget)
    if ratio is None or baseline is None:
        return None
    return ratio * lut.predict_ns(_genotype(baseline))


def _genotype(path: Path) -> Genotype:
    """From a genotype's file, or the folder of a search or retraining run."""
    from binas.core import record  # noqa: PLC0415
    from binas.search.genotype import Genotype  # noqa: PLC0415
    from binas.search.retrain import Trained  # noqa: PLC0415

    if (path / "trained.json").is_file():
        return record.load(Trained, path / "trained.json").genotype
    return record.load(Genotype, path / "genotype.json" if path.is_dir() else path)
