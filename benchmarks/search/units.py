"""The units of work of the benchmark: a search, a training, a measurement; each kept once done.

A unit's file is named by the digest of everything that decides its result but the sources: those
change with every commit, so a result keeps the commit that it was made with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from benchmarks.search import plan
from benchmarks.search.resnet import resnet
from binas.core import record
from binas.core.errors import SearchError
from binas.devices import registry
from binas.runtime.measure import Plan
from binas.search import data
from binas.search.cost import Lut, layers_of
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.menu import Menu
from binas.search.networks.family import AnyNetwork
from binas.search.retrain import untrained
from binas.search.strategy import catalogue
from binas.search.strategy.settings import Found
from binas.search.survey import menu_of
from binas.search.train import accuracy, fit
from binas.search.training import Training

TIMING = Plan(repeats=15, warmup=2, min_batch_ns=5_000_000, max_ns=2_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchUnit:
    """One search."""

    SCHEMA: ClassVar[str] = "binas.benchmark-search-unit/1"

    strategy: str
    settings: dict[str, Any]
    data: str
    budget_macs: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What came of it.

    Attributes:
        genotype: The network found; None where the search failed.
        failure: Why; empty otherwise.
        cpu_s: Processor time, one thread.
        commit: Of the sources.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-searched/1"

    genotype: Genotype | None
    failure: str
    cpu_s: float
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainUnit:
    """One training.

    Attributes:
        genotype: Of the space; None: the ResNet of `channels`.
        channels: Of the ResNet's first stage; 0 otherwise.
        images: The first of the training images.
        seed: Of weights and order.
        settings: Of the training.
        data: The data set.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-train-unit/1"

    genotype: Genotype | None
    channels: int
    images: int
    seed: int
    settings: dict[str, Any]
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it.

    Attributes:
        validation: Accuracy on the validation split.
        accuracy: On the held-out images.
        cpu_s: Processor time, one thread.
        commit: Of the sources.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark-trained/1"

    validation: float
    accuracy: float
    cpu_s: float
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeUnit:
    """One network measured on this machine."""

    SCHEMA: ClassVar[str] = "binas.benchmark-time-unit/1"

    genotype: Genotype | None
    channels: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Median time of an inference."""

    SCHEMA: ClassVar[str] = "binas.benchmark-timed/1"

    latency_us: float


R = TypeVar("R", bound=record.Record)
Unit = SearchUnit | TrainUnit
Result = Searched | Trained


def do(unit: Unit, folder: Path, commit: str) -> Result:
    """A unit's result, from its file or by doing it; in a process with one thread."""
    path = folder / f"{record.digest(unit)}.json"
    if isinstance(unit, SearchUnit):
        return _kept(Searched, path, lambda: _search(unit, folder, commit))
    return _kept(Trained, path, lambda: _train(unit, commit))


def measure(unit: TimeUnit, folder: Path) -> Timed:
    """A network's latency, from its file or by compiling and measuring it."""
    return _kept(Timed, folder / f"{record.digest(unit)}.json", lambda: _time(unit, folder))


def lut_of(folder: Path) -> Lut:
    """Multiply-accumulates of every piece of the space."""
    found: Menu = menu_of(plan.SPACE, folder)
    return Lut.of(found, plan.Macs())


def resnet_macs(channels: int) -> float:
    """Multiply-accumulates of the ResNet."""
    from binas.compile.build import plan_layers  # noqa: PLC0415 (onnx)
    from binas.compile.model import BinaryModel  # noqa: PLC0415 (onnx)

    layers = plan_layers(BinaryModel.of(_proto(_net(None, channels, 0), None), "resnet"))
    return float(sum(layer.macs for _, layer in layers))


def macs(genotype: Genotype) -> float:
    """Multiply-accumulates of a network of the space."""
    return float(sum(layer.macs for layer in layers_of(genotype)))


def _search(unit: SearchUnit, folder: Path, commit: str) -> Searched:
    torch.set_num_threads(1)
    strategy = catalogue.find(unit.strategy)
    images, lut = _data(unit.data).first(plan.IMAGES), lut_of(folder)
    start, failure = time.process_time(), ""
    found: Found | None
    try:
        found = strategy.search(
            plan.SPACE,
            images,
            plan.settings(strategy),
            seed=unit.seed,
            lut=lut,
            budget_ns=unit.budget_macs,
        )
    except SearchError as error:  # a collapse is a result, too
        found, failure = None, str(error)
    genotype = None if found is None else found.genotype
    return Searched(
        genotype=genotype if isinstance(genotype, Genotype) else None,
        failure=failure,
        cpu_s=time.process_time() - start,
        commit=commit,
    )


def _train(unit: TrainUnit, commit: str) -> Trained:
    torch.set_num_threads(1)
    images = _data(unit.data)
    start = time.process_time()
    training = Training(
        _net(unit.genotype, unit.channels, unit.seed),
        images.first(unit.images),
        plan.TRAINING,
        unit.seed,
    )
    fit(training)
    training.finish()
    spent = time.process_time() - start
    held = slice(plan.IMAGES, plan.IMAGES + plan.VALIDATION)
    x, y = torch.from_numpy(images.x_train[held]), torch.from_numpy(images.y_train[held])
    test = torch.from_numpy(images.x_test), torch.from_numpy(images.y_test)
    return Trained(
        validation=accuracy(training.net, x, y),
        accuracy=accuracy(training.net, *test),
        cpu_s=spent,
        commit=commit,
    )


def _time(unit: TimeUnit, folder: Path) -> Timed:
    from binas.compile.build import compile_model  # noqa: PLC0415 (tvm: 2 s)
    from binas.compile.model import BinaryModel  # noqa: PLC0415 (onnx)
    from binas.runtime import artifact  # noqa: PLC0415
    from binas.runtime.session import Session  # noqa: PLC0415

    net = _net(unit.genotype, unit.channels, 0)
    device, path = registry.find(unit.device), folder / f"{record.digest(unit)}.binas"
    compile_model(BinaryModel.of(_proto(net, unit.genotype), path.stem), device, path)
    link = registry.connect(device)
    try:
        with Session(artifact.load(path), link) as session:
            measured = session.time(TIMING)
    finally:
        link.close()
        path.unlink(missing_ok=True)
    return Timed(latency_us=measured.median_ns / 1000)


def _net(genotype: Genotype | None, channels: int, seed: int) -> AnyNetwork:
    if genotype is not None:
        return untrained(genotype, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resnet(plan.SPACE.input_shape[0], plan.SPACE.classes, channels=channels)


def _proto(net: AnyNetwork, genotype: Genotype | None) -> Any:
    from binas.compile.model import ModelWriter  # noqa: PLC0415 (onnx)
    from binas.search.export import export  # noqa: PLC0415 (onnx)

    net.eval()
    if genotype is not None:
        return export(net, genotype)
    writer = ModelWriter("resnet")
    x = writer.input("input", (1, *plan.SPACE.input_shape))
    return writer.finish([net.write(writer, x)])


_DATA: dict[str, Dataset] = {}


def _data(name: str) -> Dataset:
    if name not in _DATA:
        _DATA[name] = data.load(name)
    return _DATA[name]


def _kept(cls: type[R], path: Path, make: Callable[[], R]) -> R:
    if path.exists():
        return record.load(cls, path)
    found = make()
    record.save(found, path)
    return found
