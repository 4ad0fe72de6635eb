"""What each stage of the demo does, by the public functions of the rooms.

A stage gets a folder, a callback for its bar, and its inputs; it leaves files in the folder and
gives one sentence of what came out. None knows the data set it works on, none reads a stored
result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from binas.compile.build import compile_layers, compile_model
from binas.compile.model import BinaryModel
from binas.core import cli, record
from binas.core.errors import MeasureError, SearchError
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.link import Link
from binas.runtime.artifact import load
from binas.runtime.emulated import count_instructions
from binas.runtime.measure import Failure, Measurement, Plan
from binas.runtime.passes import settled
from binas.runtime.session import Session
from binas.runtime.table import LatencyTable
from binas.search import data, space
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.export import export
from binas.search.recipe import RetrainSettings
from binas.search.retrain import retrain
from binas.search.run import Config, RunFolder, Scalar, versions
from binas.search.space import Space
from binas.search.strategy.bars import BarsSettings, search
from binas.search.strategy.settings import Found
from binas.search.survey import TABLE_PLAN, build_table, menu_of
from binas.search.workshop import DeviceWorkshop, compile_network
from examples.demo.cache import Tick
from examples.demo.results import Checked, LayerTimes, Timed

# Each network several times, in turns: what disturbs a shared machine disturbs all of them.
# And again, at most so often, where somebody else had the core in all of these.
ROUNDS, WAITS = 4, 12
NET_PLAN = Plan(repeats=40, warmup=3, max_ns=5_000_000_000)
STEP_PLAN = Plan(repeats=15, warmup=2, min_batch_ns=100_000, max_ns=2_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all stages have in common.

    Attributes:
        data: Name of the data set.
        space: Name of the search space; its image shape and classes are taken from the data.
        device: What is measured on.
        board: What is compiled for and only emulated.
        kept: Folder for what outlives a change of settings: plans, measured layers.
    """

    data: str
    space: str
    device: str
    board: str
    kept: Path

    def read(self) -> tuple[Dataset, Space]:
        """The data, and the space for such images."""
        found = data.load(self.data)
        named = space.load(self.space)
        return found, replace(named, input_shape=found.shape, classes=len(found.labels))


def make_table(folder: Path, tick: Tick, *, setting: Setting) -> str:
    """Measure every layer that a network of the space can contain."""
    _, chosen = setting.read()
    device = registry.find(setting.device)
    with registry.connect(device) as link:
        built = build_table(
            chosen,
            device,
            setting.kept,
            workshop=DeviceWorkshop.of(device, [link], TABLE_PLAN),
            facts={"model": device.title},
            progress=lambda doing, done, total: tick(done, total, doing),
        )
    table = built.table
    if table.failures:  # not finished: the same command measures just these again
        first = table.failures[0]
        raise MeasureError(
            f"{len(table.failures)} of {len(table.entries)} layers could not be measured, "
            f"the first: {first.layer}, {first.result}",
            hint="the same command tries these again",
        )
    record.save(table, folder / "table.json")
    said = f"; sums of {table.fit.nets} networks within {table.fit.worst:.0%}" if table.fit else ""
    return f"{len(table.entries)} layers measured ({built.reused} earlier), 0 failed{said}"


def run_search(
    folder: Path,
    tick: Tick,
    *,
    setting: Setting,
    table: Path,
    seed: int,
    budget_ns: float | None,
    epochs: int | None,
) -> str:
    """Search the space; with a budget, latency takes part."""
    images, chosen = setting.read()
    settings = BarsSettings() if epochs is None else BarsSettings(epochs=epochs)
    try:
        found = search(
            chosen,
            images,
            settings,
            seed=seed,
            lut=Lut.of(menu_of(chosen, setting.kept), record.load(LatencyTable, table)),
            budget_ns=budget_ns,
            folder=_run(
                folder,
                kind="search",
                setting=setting,
                images=images,
                seed=seed,
                settings={**asdict(settings), "budget_ns": budget_ns},
            ),
            progress=lambda done, total, _: tick(done, total),
        )
    except SearchError as error:
        # What the search calls its budget is a part of the first network's time here.
        hint = error.hint.replace("--budget", "--target (up to 1), or --search-epochs")
        raise SearchError(str(error), hint=hint) from None
    record.save(found, folder / "found.json")
    best = found.candidates[0]
    said = f" at {best.predicted_ns / 1e3:.0f} µs predicted" if best.predicted_ns else ""
    return f"{best.accuracy:.1%} on validation with shared weights{said}: {found.genotype}"


def time_untrained(folder: Path, tick: Tick, *, setting: Setting, found: Path, table: Path) -> str:
    """Measure a genotype before it is trained: weights do not change how long kernels take."""
    genotype = record.load(Found, found).in_stages()
    device, path = registry.find(setting.device), folder / "untrained.binas"
    with registry.connect(device) as link:
        compile_network(genotype, device, path)
        (whole,) = _settled(
            [path], link, table, lambda done: tick(done, ROUNDS, "measure")
        ).values()
    record.save(whole, folder / "measurement.json")
    return f"{whole.median_ns / 1e3:.1f} µs measured"


def train(
    folder: Path,
    tick: Tick,
    *,
    setting: Setting,
    found: Path,
    table: Path,
    real: bool,
    seed: int,
    epochs: int | None,
) -> str:
    """Train a genotype from scratch and write its ONNX file."""
    images, _ = setting.read()
    settings = RetrainSettings() if epochs is None else RetrainSettings(epochs=epochs)
    net, trained = retrain(
        record.load(Found, found).in_stages(),
        images,
        settings,
        seed=seed,
        real=real,
        folder=_run(
            folder,
            kind="retrain",
            setting=setting,
            images=images,
            seed=seed,
            settings={**asdict(settings), "real": real},
        ),
        progress=lambda done, total, _: tick(done, total),
    )
    searched = {"table": record.digest_bytes(table.read_bytes()), "search_data": images.digest}
    trained = replace(trained, sources={**trained.sources, **searched})
    path = folder / "model.onnx"
    export(net, trained.genotype, path, labels=images.labels, sources=trained.sources)
    record.save(trained, folder / "trained.json")
    return f"{trained.accuracy:.1%} of {len(images.x_test)} held-out images right"


def make_artifacts(folder: Path, tick: Tick, *, setting: Setting, model: Path) -> str:
    """Compile for the device and for a board that is not here; verify both."""
    loaded = BinaryModel.load(model)
    reports, instructions = {}, {}
    for place, name in enumerate((setting.device, setting.board)):
        tick(place, 3, f"compile for {name}")
        compiled = compile_model(loaded, registry.find(name), folder / f"{name}.binas", verify=True)
        for link, report in compiled.verified.items():
            reports[f"{name}: onnxruntime = {link}"] = report
    tick(2, 3, "count instructions")
    instructions[setting.board] = count_instructions(compiled.artifact).total
    checked = Checked(
        binary_layers_exact=all(report.binary_layers_exact for report in reports.values()),
        max_abs_error=max(report.max_abs_error for report in reports.values()),
        flips=sum(report.flips for report in reports.values()),
        links=tuple(reports),
        instructions=instructions,
    )
    record.save(checked, folder / "checked.json")
    exact = "exact" if checked.binary_layers_exact else "NOT exact"
    return f"{len(reports)} links verified, binary layers {exact}"


def time_artifacts(
    folder: Path, tick: Tick, *, setting: Setting, files: dict[str, Path], table: Path
) -> str:
    """Measure networks, whole and step by step, with nothing else running."""
    quiet_ns = record.load(LatencyTable, table).quiet_ns
    steps: dict[str, tuple[Measurement | Failure, ...]] = {}
    turns = ROUNDS + len(files)
    with registry.connect(registry.find(setting.device)) as link:
        for place, (name, path) in enumerate(files.items()):
            tick(place, turns, f"steps of {name}")
            with Session(load(path), link) as session:
                steps[name] = tuple(session.layers(STEP_PLAN, quiet_ns=quiet_ns))
        paths = list(files.values())
        found = _settled(paths, link, table, lambda done: tick(len(files) + done, turns, "whole"))
    wholes = {name: found[path] for name, path in files.items()}
    for name, whole in wholes.items():
        record.save(Timed(whole=whole, steps=steps[name]), folder / f"{name}.json")
    return ", ".join(f"{name} {whole.median_ns / 1e3:.2f} µs" for name, whole in wholes.items())


def _settled(
    paths: list[Path], link: Link, table: Path, turned: Callable[[int], None]
) -> dict[Path, Measurement]:
    """Whole networks in turns, and again where the machine was never calm."""

    def time(path: Path, plan: Plan) -> Measurement:
        with Session(load(path), link) as session:
            return session.time(plan, quiet_ns=quiet_ns)

    quiet_ns = record.load(LatencyTable, table).quiet_ns
    return settled(
        time,
        paths,
        NET_PLAN,
        passes=ROUNDS,
        waits=WAITS,
        quiet_ns=quiet_ns,
        turned=lambda done, _: turned(done),
        say=cli.say,
    )


def time_layers(
    folder: Path, tick: Tick, *, setting: Setting, layers: tuple[Layer, ...], table: Path
) -> str:
    """Measure layers by themselves, as the table's are."""
    quiet_ns = record.load(LatencyTable, table).quiet_ns
    device = registry.find(setting.device)
    artifact = compile_layers(layers, device, folder / "layers.binas")
    tick(1, 2)
    with registry.connect(device) as link, Session(artifact, link) as session:
        times = LayerTimes(
            layers=layers, results=tuple(session.layers(TABLE_PLAN, quiet_ns=quiet_ns))
        )
    record.save(times, folder / "times.json")
    return f"{len(layers)} layers measured"


def _run(
    folder: Path,
    *,
    kind: str,
    setting: Setting,
    images: Dataset,
    seed: int,
    settings: dict[str, Scalar],
) -> RunFolder:
    """A run folder inside a stage's folder, whose name already holds every input."""
    config = Config(
        kind=kind,
        data=setting.data,
        data_digest=images.digest,
        seed=seed,
        settings=settings,
        inputs={},
        versions=versions(),
    )
    return RunFolder(folder / "run", config)
