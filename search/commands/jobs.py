"""A search and a retraining in a folder: done, gone on with, or taken from there if finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from binas.core import cli, record
from binas.core.errors import UsageError
from binas.search.commands import shared
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import AnySpace, Buildable
from binas.search.hardware import Hardware
from binas.search.processes import Processes
from binas.search.recipe import RetrainSettings
from binas.search.retrain import Trained, load_network, retrain, save_network
from binas.search.run import RunFolder
from binas.search.strategy.catalogue import Strategy
from binas.search.strategy.cell_ground import CellPrices
from binas.search.strategy.settings import Found, SearchSettings
from binas.search.strategy.timing import Timer


def searched(
    strategy: Strategy,
    space: AnySpace,
    data: Dataset,
    settings: SearchSettings,
    folder: RunFolder,
    *,
    seed: int,
    lut: Lut | CellPrices | None = None,
    budget_ns: float | None = None,
    timer: Timer | None = None,
    processes: Processes | None = None,
    hardware: Hardware | None = None,
) -> Found:
    """Search, and write result.json and genotype.json."""
    output = folder.path
    if (output / "result.json").exists():
        cli.say(f"{output} is finished: reused")
        known = record.load(Found, output / "result.json")
        if folder.writes and not (output / "genotype.json").exists():
            record.save(known.genotype, output / "genotype.json")
        return known
    with shared.epochs(f"search {output.name}", folder) as progress:
        found = strategy.search(
            space,
            data,
            settings,
            seed=seed,
            lut=lut,
            budget_ns=budget_ns,
            folder=folder,
            progress=progress,
            timer=timer,
            processes=processes,
            hardware=hardware,
        )
    if not folder.writes:
        return found
    record.save(found.genotype, output / "genotype.json")
    record.save(found, output / "result.json")
    return found


def retrained(
    genotype: Buildable,
    data: Dataset,
    settings: RetrainSettings,
    folder: RunFolder,
    *,
    seed: int,
    sources: Mapping[str, str] | None = None,
    **options: Any,
) -> Trained:
    """Train, and write trained.json and weights.safetensors; options are those of `retrain`.

    Args:
        genotype: What to train.
        data: On what.
        settings: How.
        folder: Where to.
        seed: Of initial weights and order of images.
        sources: Where the genotype came from, see `Trained`; another search that found the same
            genotype needs no other training, so a finished run takes these and nothing else.
        options: See `retrain`.
    """
    output = folder.path
    if (output / "trained.json").exists():
        known = record.load(Trained, output / "trained.json")
        if _weights_are_there(known, output / "weights.safetensors"):
            cli.say(f"{output} is finished: reused")
            return _of_sources(known, data, sources, folder)
    with shared.epochs(f"retrain {output.name}", folder) as progress:
        net, trained = retrain(
            genotype, data, settings, seed=seed, folder=folder, progress=progress, **options
        )
    if folder.writes:
        save_network(net, output / "weights.safetensors")
    return _of_sources(trained, data, sources, folder)


def _weights_are_there(trained: Trained, path: Path) -> bool:
    """Whether a finished training has its weights; says so where they must be made again."""
    try:
        load_network(trained.genotype, path, real=trained.real)
    except UsageError as error:
        cli.say(f"{error}; they are made again")
        return False
    return True


def _of_sources(
    trained: Trained, data: Dataset, sources: Mapping[str, str] | None, folder: RunFolder
) -> Trained:
    """The record with these sources, written where the one in the folder has others."""
    path = folder.path / "trained.json"
    trained = replace(trained, sources={"data": data.digest, **(sources or {})})
    if folder.writes and not (path.exists() and record.load(Trained, path) == trained):
        record.save(trained, path)
    return trained
