"""The units of work of the benchmark: a search, a training, a measurement; each kept once done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.search import plan
from benchmarks.search.records import (
    FullSearchUnit,
    Result,
    Searched,
    SearchUnit,
    Timed,
    TimeUnit,
    Trained,
    TrainUnit,
    Unit,
)
from benchmarks.search.resnet import resnet
from binas.core import record
from binas.core.errors import SearchError
from binas.devices import registry
from binas.runtime.measure import Plan
from binas.search import data
from binas.search.cost import Lut, layers_of
from binas.search.data import Dataset
from binas.search.genotype import AnyGenotype
from binas.search.menu import Menu
from binas.search.networks.family import AnyNetwork
from binas.search.recipe import RetrainSettings
from binas.search.retrain import untrained
from binas.search.strategy import catalogue
from binas.search.strategy.settings import Found
from binas.search.survey import menu_of
from binas.search.train import accuracy, fit
from binas.search.training import Training

TIMING = Plan(repeats=15, warmup=2, min_batch_ns=5_000_000, max_ns=2_000_000_000)


R = TypeVar("R", bound=record.Record)


def do(unit: Unit, folder: Path, commit: str) -> Result:
    """A unit's result, from its file or by doing it; in a process with one thread."""
    path = folder / f"{record.digest(unit)}.json"
    if isinstance(unit, SearchUnit):
        return _kept(Searched, path, lambda: _search(unit, folder, commit))
    if isinstance(unit, FullSearchUnit):
        return _kept(Searched, path, lambda: _search_all(unit, commit))
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


def macs(genotype: AnyGenotype) -> float:
    """Multiply-accumulates of a network of any space."""
    return float(sum(layer.macs for layer in layers_of(genotype)))


def _search(unit: SearchUnit, folder: Path, commit: str) -> Searched:
    strategy = catalogue.find(unit.strategy)
    return _searched(
        commit,
        lambda images, lut: strategy.search(
            plan.SPACE,
            images,
            strategy.settings(**unit.settings),
            seed=unit.seed,
            lut=lut,
            budget_ns=unit.budget_macs,
        ),
        _data(unit.data).first(plan.IMAGES),
        lut_of(folder),
    )


def _search_all(unit: FullSearchUnit, commit: str) -> Searched:
    strategy = catalogue.find(unit.strategy)
    return _searched(
        commit,
        lambda images, _: strategy.search(
            unit.space, images, strategy.settings(**unit.settings), seed=unit.seed
        ),
        _data(unit.data).first(unit.images),
        None,
    )


def _searched(
    commit: str, search: Callable[[Dataset, Lut | None], Found], images: Dataset, lut: Lut | None
) -> Searched:
    """A search's result and its processor time; a collapse is a result, too."""
    torch.set_num_threads(1)
    start, failure = time.process_time(), ""
    found: Found | None
    try:
        found = search(images, lut)
    except SearchError as error:
        found, failure = None, str(error)
    return Searched(
        genotype=None if found is None else found.genotype,
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
        RetrainSettings(**unit.settings),
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


def _net(genotype: AnyGenotype | None, channels: int, seed: int) -> AnyNetwork:
    if genotype is not None:
        return untrained(genotype, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resnet(plan.SPACE.input_shape[0], plan.SPACE.classes, channels=channels)


def _proto(net: AnyNetwork, genotype: AnyGenotype | None) -> Any:
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
