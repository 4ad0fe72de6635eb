"""From a space to its latency table: compile every layer it can contain, measure, check the sum.

Every layer is measured in several passes, each with another order and another start of the program;
layers against which something speaks are measured again. What is measured is kept (`chunks.py`), so
an interrupted build goes on and a second one measures nothing. Why so: docs/measuring.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch

from binas.core import record
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.runtime.measure import Plan
from binas.runtime.passes import agreement, outcome
from binas.runtime.table import Entry, LatencyTable, Network, fitted
from binas.search.campaign import Campaign, Progress, Say
from binas.search.cells import CellGenotype
from binas.search.chunks import Key, Store, alone_in
from binas.search.genotype import AnyGenotype, AnySpace, Genotype
from binas.search.menu import Menu
from binas.search.menu import menu as plan_menu
from binas.search.networks.family import supernet
from binas.search.space import Space
from binas.search.strategy.cell_prices import CellMenu
from binas.search.strategy.derive import uniform
from binas.search.workshop import What, Workshop

PASSES = 3  # two can disagree, three can tell which one was wrong
REPEATS = 2  # further passes over what is suspicious
WAITS = 5  # and then over what was measured while somebody else had the core
FIT_NETS = 5  # whole networks that the sum is compared with
# Few and short batches, since every layer gets several passes: 15 of 0.1 ms are 2 ms per layer and
# pass on a machine left alone. A busy one gets up to 50 ms, to find as many undisturbed batches.
TABLE_PLAN = Plan(repeats=15, warmup=1, min_batch_ns=100_000, max_ns=50_000_000)
# Half of the limit may pass in waiting for a quiet moment: in a bad minute, all of that does.
NET_PLAN = Plan(repeats=30, warmup=2, min_batch_ns=100_000, max_ns=400_000_000)
# A network with next to no work: what is left is the cost of a run.
NOTHING = Layer(op="elementwise", in_shape=(1, 1, 1, 16), out_channels=16, stages=("relu",))


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
            with suppress(UsageError):  # ours and planned again in seconds: damaged, it is no loss
                return record.load(Menu, path)
    tell = progress
    found = plan_menu(
        space, progress=None if tell is None else lambda done, total: tell("plan", done, total)
    )
    if path is not None:
        record.save(found, path)
    return found


def build_table(
    space: AnySpace,
    device: Device,
    folder: Path,
    *,
    workshop: Workshop,
    plan: Plan = TABLE_PLAN,
    passes: int = PASSES,
    fit_nets: int = FIT_NETS,
    seed: int = 0,
    facts: dict[str, str] | None = None,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Built:
    """Measure every layer of a space on a device, or on several of one kind.

    Args:
        space: Of stages, whose every layer is measured; or of cells, whose networks are too many
            for that: the layers that `CellLut` makes its prices of, and those of the random
            networks.
        device: What the layers are compiled for, and the table named after.
        folder: Keeps what is measured; the caller writes the table.
        workshop: Compiles, and has the boards.
        plan: How each layer is measured in one pass.
        passes: Over every layer.
        fit_nets: Random networks that the sum of layers is compared with: none, or 2 and more.
        seed: Of those networks, and of the order of measuring.
        facts: What else describes the board.
        progress: Told (stage, done, in all).
        say: Told what went wrong on the way, for people.

    Raises:
        UsageError: A fit is wanted over a single network, or another process builds in the folder.
        MeasureError: The fixed cost of a run could not be measured, or a board computes wrongly.
        DeviceError: No device is left within reach.
    """
    if fit_nets == 1:
        raise UsageError("a fit over one network says nothing", hint="give --fit-nets 5, or 0")
    tell: Progress = progress if progress is not None else lambda _stage, _done, _all: None
    nets = random_networks(space, fit_nets or int(len(workshop.boards) > 1), seed)
    whole = {folder / f"net-{record.digest(net)}.binas": net for net in nets}
    if fit_nets and len(whole) == 1:
        raise UsageError(
            f"the {fit_nets} networks drawn are one and the same, a fit over one says nothing",
            hint="give --fit-nets 0; or more, where the space holds other networks",
        )
    nothing = folder / "nothing.binas"
    others: dict[Path, What] = {nothing: (NOTHING,), **whole}
    key = Key(
        device=device.name,
        model=(facts or {}).get("model", ""),
        cpu=device.cpu,
        kernel_version=workshop.kernel_version(),
        threads=1,
        plan=plan,
    )
    with ExitStack() as leaving:
        leaving.enter_context(alone_in(folder))
        leaving.callback(_remove, others)
        with workshop.compiler() as compiler:
            compiler.order(others)  # meanwhile we plan: what the layers are takes seconds
            layers, steps = _offered(space, nets, folder, progress)
            tiles = workshop.tiles(layers)
            store = Store(folder, layers, tiles, key)
            reused = sum(len(store.results(layer)) >= passes for layer in layers)
            campaign = Campaign(workshop, store, plan, tell=tell, say=say, seed=seed)
            leaving.callback(campaign.clean)
            campaign.compile(compiler, others, campaign.missing(folder, passes))
        campaign.measure(passes)
        campaign.repeat_suspicious(REPEATS, WAITS)
        paths = [nothing, *(whole if fit_nets else ())]
        times = campaign.networks(paths, NET_PLAN, passes, WAITS)
    table = LatencyTable(
        device=device.name,
        cpu=device.cpu,
        arch=device.arch,
        kernel_version=key.kernel_version,
        threads=1,
        facts=facts or {},
        entries=tuple(
            Entry(layer=layer, result=outcome(store.results(layer), plan), tile=tile)
            for layer, tile in zip(layers, tiles, strict=True)
        ),
        fixed=times[nothing],
        agreement=agreement([store.results(layer) for layer in layers], len(campaign.repeated)),
    )
    failed = {entry.layer for entry in table.failures}
    networks = [
        Network(name=str(net), layers=steps(net), measured_ns=times[path].median_ns)
        for path, net in (whole.items() if fit_nets else ())
        if failed.isdisjoint(steps(net))
    ]
    return Built(fitted(table, networks) if len(networks) > 1 else table, reused)


def of_one_kind(devices: Sequence[Device]) -> Sequence[Device]:
    """The devices, if they can share a table.

    Raises:
        UsageError: They differ in what decides a latency, or one is given twice.
    """
    first = devices[0]
    for other in devices[1:]:
        differs = [
            f"{name} is {getattr(first, name)!r} and {getattr(other, name)!r}"
            for name in ("arch", "cpu", "features", "cores", "pin")
            if getattr(first, name) != getattr(other, name)
        ]
        if differs:
            raise UsageError(
                f"{first.name} and {other.name} are no boards of one kind: {'; '.join(differs)}",
                hint="build a table for each",
            )
    if len({device.name for device in devices}) < len(devices):
        raise UsageError("a device is given twice", hint="each board has one name")
    return devices


def random_networks(space: AnySpace, count: int, seed: int) -> tuple[AnyGenotype, ...]:
    """Networks of any space; the same ones for the same seed."""
    if isinstance(space, Space):
        return random_genotypes(space, count, seed)
    generator, net = torch.Generator().manual_seed(seed), supernet(space)
    return tuple(
        net.derive([torch.rand(group.shape, generator=generator) for group in net.groups])
        for _ in range(count)
    )


def random_genotypes(space: Space, count: int, seed: int) -> tuple[Genotype, ...]:
    """Networks of a space of stages, every choice alike; the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(uniform(space, generator) for _ in range(count))


Steps = Callable[[AnyGenotype], tuple[Layer, ...]]


def _offered(
    space: AnySpace, nets: Sequence[AnyGenotype], folder: Path, progress: Progress | None
) -> tuple[tuple[Layer, ...], Steps]:
    """The layers of a table, and what the steps of these networks are."""
    if isinstance(space, Space):
        menu = menu_of(space, folder, progress)
        return menu.layers, lambda net: menu.steps(cast(Genotype, net))
    cells = CellMenu.of(space, cast("Sequence[CellGenotype]", nets))
    return cells.layers, lambda net: cells.steps(cast(CellGenotype, net))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _planner_digest() -> str:
    """Of the compiler's planning sources: another planner makes another menu."""
    room = files("binas.compile")
    folders = (room, room / "passes")
    sources = [f for folder in folders for f in folder.iterdir() if f.name.endswith(".py")]
    return record.digest_bytes(b"".join(f.read_bytes() for f in sorted(sources, key=str)))
