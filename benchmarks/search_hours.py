"""`python -m benchmarks.search_hours --json FILE`: how fast strategies search, on a GPU or a CPU.

Every strategy stands on the space that it is published for, at CIFAR's shapes, with the published
batch and schedule, on noise. Of each kind of epoch in the schedule (weights alone; weights and
architecture; a sampled network) the first is run twice over a few batches, and the second run is
timed. Each strategy has a process of its own, whose peak of memory is its own.

    hours = Σ over kinds of: epochs of the kind · seconds of one over a half of CIFAR-10's images

Images are those of the weight half, each counted once in an epoch. Passes are counted apart, as the
rule of equal budgets counts them (`strategy.settings.scaled`): a step of DCP-NAS sends as many
images six times forward and backward, through Parent and Child, for weights and architecture.

That is a projection and no measurement. Where operations are dropped (BNAS, CP-NAS) later epochs
compute less, so there it is a bound from above; the networks evaluated at the end are not in it.
"""

from __future__ import annotations

import multiprocessing
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch

from benchmarks import report_file
from binas.search.cells import CellSpace
from binas.search.data import Dataset
from binas.search.genotype import AnySpace, load_space
from binas.search.hardware import Hardware, Processor, found_processor
from binas.search.strategy import (
    bnas,
    catalogue,
    cp_nas,
    uniform,
)
from binas.search.strategy.layout_ground import whole
from binas.search.strategy.settings import GradientSettings, SearchSettings
from binas.search.strategy.task import SearchTask

HALF = 25_000  # CIFAR-10's training images are split in two
SPACES = {"bars": "cifar10", "bnas-v2": "broad-cifar10"}  # others: DARTS cells
SMALL_SIDE, SMALL_BATCH = 8, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Epochs of a schedule that compute alike.

    Attributes:
        name: What they train.
        first: Number of the first of them.
        epochs: How many there are.
    """

    name: str
    first: int
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One kind of epoch, timed.

    Attributes:
        kind: Of epoch.
        images: Of the weight half in the run that was timed, each counted once.
        passes: Of as many images, forward and backward through any network, in that run.
        seconds: It took, tests of sampled networks and the log included.
        half_seconds: The same over a half of CIFAR-10; projected.
    """

    kind: Kind
    images: int
    passes: int
    seconds: float
    half_seconds: float


def kinds(settings: SearchSettings, operations: int) -> list[Kind]:
    """The kinds of epoch in a schedule.

    Args:
        settings: Of any strategy.
        operations: That an edge chooses from, at most.
    """
    names: list[str]
    if isinstance(settings, bnas.BnasSettings):
        names = [step.kind for step in settings.schedule(operations)]
    elif isinstance(settings, cp_nas.CpNasSettings):
        names = ["child and parent"] * len(settings.schedule(operations))
    elif isinstance(settings, GradientSettings):
        warm = settings.warmup_epochs
        names = ["weights"] * warm + ["joint"] * (settings.epochs - warm)
    elif isinstance(settings, uniform.UniformSettings):
        names = ["network"] * settings.nets
    else:
        raise TypeError(f"no schedule is known of {type(settings).__name__}")
    return [
        Kind(name=name, first=names.index(name), epochs=names.count(name))
        for name in dict.fromkeys(names)
    ]


def published(name: str) -> SearchSettings:
    """The published settings of a strategy; random search has only ours."""
    strategy = catalogue.find(name)
    presets = strategy.presets
    return presets[catalogue.PUBLISHED] if presets else strategy.settings()


def space_of(name: str, *, small: bool) -> AnySpace:
    """Where a strategy searches, as published or next to nothing."""
    space = load_space(SPACES.get(name, "darts-cifar10"))
    if not small:
        return space
    shape = (3, SMALL_SIDE, SMALL_SIDE)
    if isinstance(space, CellSpace):
        cells = 2 if space.layout == "broad" else 3
        return replace(space, input_shape=shape, channels=8, nodes=1, cells=cells)
    return replace(space, input_shape=shape, channels=16)


def task_of(
    name: str, batches: int, *, small: bool, batch: int | None = None
) -> SearchTask[Any, Any]:
    """A search whose epochs have so many batches, of the published size unless told otherwise."""
    settings, space = published(name), space_of(name, small=small)
    if batch or small:
        settings = replace(settings, batch=batch or SMALL_BATCH)
    data = noise(space, 2 * settings.batch * batches)
    return catalogue.find(name).task(whole(space, None, None), data, settings, 0)


def noise(space: AnySpace, count: int) -> Dataset:
    """Images of the space's shape to train on, with nothing to be learned from them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *space.input_shape)).astype(np.float32)
    y = rng.integers(space.classes, size=count)
    return Dataset(
        name="noise",
        x_train=x,
        y_train=y,
        x_test=x[:1],
        y_test=y[:1],
        labels=tuple(map(str, range(space.classes))),
        normalisation="none",
    )


def timed(task: SearchTask[Any, Any], hardware: Hardware) -> list[Speed]:
    """Every kind of epoch of a search."""
    space = task.ground.space
    operations = max(len(space.normal_ops), len(space.reduction_ops))
    task.place(hardware)
    found: list[Speed] = []
    for kind in kinds(task.settings, operations):
        task.epoch(kind.first)  # libraries choose their kernels, memory is taken
        start = time.perf_counter()
        entry = task.epoch(kind.first)  # ends with the losses, which wait for the processor
        seconds = time.perf_counter() - start
        images = task.steps * task.size
        speed = Speed(
            kind=kind,
            images=images,
            passes=int(entry["images"]) // images,
            seconds=seconds,
            half_seconds=seconds * HALF / images,
        )
        found.append(speed)
    return found


def row(
    name: str, batches: int, processor: Processor, threads: int, *, small: bool, batch: int | None
) -> dict[str, Any]:
    """What is reported of a strategy; run it in a process of its own."""
    torch.set_num_threads(threads)
    task = task_of(name, batches, small=small, batch=batch)
    try:
        speeds = timed(task, Hardware.searching(processor))
    except torch.OutOfMemoryError as error:
        return {"strategy": name, "batch": task.size, "failure": str(error).splitlines()[0]}
    hours = sum(speed.kind.epochs * speed.half_seconds for speed in speeds) / 3600
    images_per_s = _mean(speeds, "images") / _mean(speeds, "seconds")
    passes = _mean(speeds, "passes")  # an epoch of each kind shows equally many images
    return {
        "strategy": name,
        "batch": task.size,
        "peak_bytes": _peak_bytes(processor),
        "images_per_s": images_per_s,
        "passes_per_epoch": passes,
        "image_passes_per_s": passes * images_per_s,
        "projected_hours": None if small else hours,
        "kinds": [asdict(speed) for speed in speeds],
    }


def _mean(speeds: Sequence[Speed], what: Literal["images", "passes", "seconds"]) -> float:
    """Of an epoch of the whole schedule."""
    epochs = sum(speed.kind.epochs for speed in speeds)
    return float(sum(speed.kind.epochs * getattr(speed, what) for speed in speeds) / epochs)


def _peak_bytes(processor: Processor) -> int:
    """Of a GPU, what torch has taken for tensors; else, what the process has had in memory."""
    if processor == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine_of(processor: Processor) -> str:
    """What computes."""
    if processor == "cuda":
        return torch.cuda.get_device_name()
    return platform.processor() or platform.machine()


def said(found: dict[str, Any]) -> str:
    """A row for the terminal."""
    start = f"{found['strategy']:>8}  batch {found['batch']:>3}"
    if "failure" in found:
        return f"{start}  {found['failure']}"
    hours = found["projected_hours"]
    projected = "" if hours is None else f", published schedule {hours:.2f} h (projected)"
    peak = found["peak_bytes"] / 2**20
    speed = f"{found['images_per_s']:.0f} images/s, {found['passes_per_epoch']:.1f} passes an epoch"
    return f"{start}  {speed}, peak {peak:.0f} MiB{projected}"


@click.command()
@report_file.option
@click.option("--strategy", "names", multiple=True, help="Repeatable; all when left out.")
@click.option("--processor", type=click.Choice(["cpu", "cuda", "auto"]), default="auto")
@click.option("--batches", type=click.IntRange(1), default=20, show_default=True, help="An epoch.")
@click.option("--batch", type=click.IntRange(1), help="Images of one; as published when left out.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--small", is_flag=True, help="Next to nothing, to see that all works; no hours.")
def main(
    file: Path,
    names: Sequence[str],
    processor: Any,
    batches: int,
    batch: int | None,
    threads: int,
    small: bool,
) -> None:
    """Time every strategy's supernet at CIFAR's shapes and project its published schedule."""
    place = found_processor(processor)
    hardware = Hardware.searching(place)
    rows: list[dict[str, Any]] = []
    for name in names or [strategy.name for strategy in catalogue.STRATEGIES]:
        catalogue.find(name)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            arguments = (name, batches, place, threads)
            rows.append(pool.apply(row, arguments, {"small": small, "batch": batch}))
        print(said(rows[-1]), flush=True)
    report = {
        "schema": "binas.search-hours/2",
        "machine": machine_of(place),
        "torch": torch.__version__,
        "hardware": asdict(hardware),
        "threads": threads,
        "batches": batches,
        "small": small,
        "rows": rows,
    }
    report_file.write(file, report)


if __name__ == "__main__":
    main()
