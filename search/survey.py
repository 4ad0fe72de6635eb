"""From a space to its latency table: compile every layer it can contain, measure, check the sum.

Finished chunks of layers stay in the build folder under a name made of everything that decides
their numbers, so an interrupted build goes on and a second one measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import torch

from binas.core import record
from binas.core.errors import CompileError, UsageError
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.runtime.measure import Failure, Plan, Result
from binas.runtime.table import Entry, LatencyTable, Pair, fit_of
from binas.search.cost import predict_ns
from binas.search.genotype import Genotype
from binas.search.menu import Menu, menu
from binas.search.space import Space
from binas.search.strategy.derive import uniform
from binas.search.workshop import Workshop

CHUNK = 16  # layers per artifact: large enough to share a link step, small enough to lose
FIT_NETS = 5  # whole networks that the sum is compared with
# A table has hundreds of entries: half the samples of a single benchmark, in batches long enough
# for the clock. The fit says what that costs.
TABLE_PLAN = Plan(repeats=9, warmup=1, min_batch_ns=2_000_000, max_ns=2_000_000_000)
NET_PLAN = Plan(repeats=15, warmup=2, min_batch_ns=5_000_000, max_ns=5_000_000_000)
# A network with next to no work: what is left is the cost of a run.
NOTHING = Layer(op="elementwise", in_shape=(1, 1, 1, 16), out_channels=16, stages=("relu",))

Progress = Callable[[str, int, int], None]  # stage, done, in all


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some layers of a table and what came of them."""

    SCHEMA: ClassVar[str] = "binas.chunk/1"

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What decides the numbers of a chunk; its digest names the file."""

    SCHEMA: ClassVar[str] = "binas.chunk-key/1"

    device: str
    model: str
    cpu: str
    kernel_version: str
    threads: int
    plan: Plan
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """A table, and how many of its layers were taken from an earlier build."""

    table: LatencyTable
    reused: int


def layers_of_space(space: Space, folder: Path | None = None) -> tuple[Layer, ...]:
    """Every Layer that a network of the space can contain, sorted, each once."""
    return menu_of(space, folder).layers


def menu_of(space: Space, folder: Path | None = None, progress: Progress | None = None) -> Menu:
    """The menu of a space, kept in `folder` where one is given: planning takes seconds."""
    path = None
    if folder is not None:
        path = folder / f"menu-{record.digest(space)}-{_planner_digest()}.json"
        if path.exists():
            return record.load(Menu, path)
    tell = progress
    found = menu(
        space, progress=None if tell is None else lambda done, total: tell("plan", done, total)
    )
    if path is not None:
        record.save(found, path)
    return found


def build_table(
    space: Space,
    device: Device,
    folder: Path,
    *,
    workshop: Workshop,
    plan: Plan = TABLE_PLAN,
    fit_nets: int = FIT_NETS,
    seed: int = 0,
    facts: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> Built:
    """Measure every layer of a space on a device.

    Args:
        space: A BARS space.
        device: What the layers are compiled for and measured on.
        folder: Keeps finished chunks; the caller writes the table.
        workshop: Compiles and measures.
        plan: How each layer is measured.
        fit_nets: Random networks that the sum of layers is compared with: none, or 2 and more.
        seed: Of those networks.
        facts: What else describes the board.
        progress: Told (stage, done, in all).

    Raises:
        MeasureError: The fixed cost of a run could not be measured.
        DeviceError: The device is out of reach.
    """
    if fit_nets == 1:
        raise UsageError("a fit over one network says nothing", hint="give --fit-nets 5, or 0")
    tell: Progress = progress if progress is not None else lambda _stage, _done, _all: None
    layers = menu_of(space, folder, progress).layers
    nothing = folder / "nothing.binas"
    workshop.compile_layers([NOTHING], nothing)
    kernel_version = workshop.kernel_version(nothing)
    fixed = workshop.time(nothing, NET_PLAN)

    chunks: list[tuple[Path, tuple[Layer, ...]]] = []
    for first in range(0, len(layers), CHUNK):
        part = layers[first : first + CHUNK]
        key = Key(
            device=device.name,
            model=(facts or {}).get("model", ""),
            cpu=device.cpu,
            kernel_version=kernel_version,
            threads=1,
            plan=plan,
            layers=part,
        )
        chunks.append((folder / f"chunk-{record.digest(key)}.json", part))
    kept = {path: entries for path, _ in chunks if (entries := _kept(path)) is not None}
    missing = [(path, part) for path, part in chunks if path not in kept]
    errors = workshop.compile_chunks(
        [(part, path.with_suffix(".binas")) for path, part in missing],
        lambda done, total: tell("compile", done, total),
    )
    fresh: dict[Path, tuple[Entry, ...]] = {}
    for (path, part), error in zip(missing, errors, strict=True):
        fresh[path] = _measured(workshop, part, path.with_suffix(".binas"), plan, error)
        if not any(isinstance(entry.result, Failure) for entry in fresh[path]):
            record.save(Chunk(entries=fresh[path]), path)  # a failure is tried again next time
        path.with_suffix(".binas").unlink(missing_ok=True)
        tell("measure", len(fresh), len(missing))
    found = {**kept, **fresh}
    table = LatencyTable(
        device=device.name,
        cpu=device.cpu,
        arch=device.arch,
        kernel_version=kernel_version,
        threads=1,
        facts=facts or {},
        entries=tuple(entry for path, _ in chunks for entry in found[path]),
        fixed=fixed,
    )
    if fit_nets and not table.failures:
        nets = random_genotypes(space, fit_nets, seed)
        pairs = _pairs(nets, table, folder, workshop, tell)
        table = replace(table, fit=fit_of(pairs))
    return Built(table, sum(len(entries) for entries in kept.values()))


def random_genotypes(space: Space, count: int, seed: int) -> tuple[Genotype, ...]:
    """Networks of a space, every choice alike; the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(uniform(space, generator) for _ in range(count))


def _kept(path: Path) -> tuple[Entry, ...] | None:
    """A finished chunk; None where there is none, or a damaged one, which is measured again."""
    try:
        return record.load(Chunk, path).entries
    except UsageError:
        return None


def _measured(
    workshop: Workshop,
    layers: Sequence[Layer],
    path: Path,
    plan: Plan,
    error: CompileError | None,
) -> tuple[Entry, ...]:
    """A chunk's entries; a chunk that fails as a whole is taken apart, so one layer fails alone."""
    results: Sequence[Result] = [Failure(kind="compile", message=str(error))] * len(layers)
    if error is None:
        results = workshop.layers(path, plan)
    if len(layers) > 1 and all(isinstance(result, Failure) for result in results):
        singles: list[Entry] = []
        for layer in layers:
            alone = workshop.compile_chunks([((layer,), path)], lambda _done, _all: None)[0]
            singles += _measured(workshop, (layer,), path, plan, alone)
        return tuple(singles)
    return tuple(Entry(layer=la, result=r) for la, r in zip(layers, results, strict=True))


def _pairs(
    genotypes: Sequence[Genotype],
    table: LatencyTable,
    folder: Path,
    workshop: Workshop,
    tell: Progress,
) -> list[Pair]:
    """Whole networks, predicted and measured."""
    pairs: list[Pair] = []
    for genotype in genotypes:
        path = folder / f"net-{record.digest(genotype)}.binas"
        workshop.compile_network(genotype, path)
        measured = workshop.time(path, NET_PLAN)
        pairs.append(
            Pair(
                name=str(genotype),
                predicted_ns=predict_ns(genotype, table),
                measured_ns=measured.median_ns,
            )
        )
        path.unlink(missing_ok=True)
        tell("fit", len(pairs), len(genotypes))
    return pairs


def _planner_digest() -> str:
    """Of the compiler's planning sources: another planner makes another menu."""
    room = files("binas.compile")
    folders = (room, room / "passes")
    sources = [f for folder in folders for f in folder.iterdir() if f.name.endswith(".py")]
    return record.digest_bytes(b"".join(f.read_bytes() for f in sorted(sources, key=str)))
