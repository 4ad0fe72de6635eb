"""Pairs of a search and a training, as a comparison does them: in folders, failures as results."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from binas.core import cli, record
from binas.core.errors import SearchError, UsageError
from binas.search.commands import jobs
from binas.search.compare import Entry, Failed, weight_free
from binas.search.cost import Lut, count, layers_of
from binas.search.data import Dataset
from binas.search.genotype import AnySpace
from binas.search.hardware import Hardware
from binas.search.recipe import RetrainSettings
from binas.search.retrain import Trained, untrained
from binas.search.run import Config, RunFolder, versions
from binas.search.strategy.catalogue import Strategy
from binas.search.strategy.cell_ground import CellPrices
from binas.search.strategy.settings import Found, SearchSettings, scaled


class Pairs:
    """Searches with the trainings of what they found; what all of a comparison share."""

    def __init__(
        self,
        space: AnySpace,
        data: Dataset,
        lut: Lut | CellPrices | None,
        budget_ns: float | None,
        inputs: dict[str, str],
        output: Path,
        hardware: tuple[Hardware, Hardware],  # of searches, of trainings
    ) -> None:
        """Keep what is shared."""
        self.space, self.data, self.lut = space, data, lut
        self.budget_ns, self.inputs, self.output = budget_ns, inputs, output
        self.searching, self.retraining = hardware

    def planned(self, strategy: Strategy, images: int) -> SearchSettings:
        """The published schedule, its epochs shortened to the budget of images.

        Raises:
            UsageError: The strategy cannot search this, whatever is trained; all others could not
                be compared with it.
            SearchError: The budget is below the fastest network.
        """
        try:
            found = scaled(strategy.settings(), images, half(self.data), operations(self.space))
            strategy.must_be_possible(self.space, self.data, found, self.lut, self.budget_ns)
        except (SearchError, UsageError) as error:
            hint = f"{error.hint}; or name the others with --strategy"
            raise type(error)(f"{strategy.name}: {error}", hint=hint) from None
        return found

    def outcome(
        self, strategy: Strategy, settings: SearchSettings, training: RetrainSettings, seed: int
    ) -> Entry | Failed:
        """Search and train, or take both from the folder; that one cannot go on is a result."""
        stage: Literal["search", "retrain"] = "search"
        try:
            found = self._searched(strategy, settings, seed)
            stage = "retrain"
            trained = self._trained(strategy, found, training, seed)
        except SearchError as error:
            cli.say(f"{strategy.name}, seed {seed}: {error}; the comparison goes on without it")
            return Failed(strategy=strategy.name, seed=seed, stage=stage, reason=str(error))
        return _entry(strategy, seed, found, trained)

    def _searched(self, strategy: Strategy, settings: SearchSettings, seed: int) -> Found:
        asked = {**asdict(settings), "strategy": strategy.name, "budget_ns": self.budget_ns}
        inputs = {"space": record.digest(self.space), **self.inputs}
        return jobs.searched(
            strategy,
            self.space,
            self.data,
            settings,
            self._folder("search", f"{strategy.name}-{seed}", seed, asked, inputs),
            seed=seed,
            lut=self.lut,
            budget_ns=self.budget_ns,
            hardware=self.searching,
        )

    def _trained(
        self, strategy: Strategy, found: Found, training: RetrainSettings, seed: int
    ) -> Trained:
        inputs = {"genotype": record.digest(found.genotype)}
        return jobs.retrained(
            found.genotype,
            self.data,
            training,
            self._folder("retrain", f"{strategy.name}-{seed}", seed, asdict(training), inputs),
            seed=seed,
            hardware=self.retraining,
        )

    def _folder(
        self, kind: str, name: str, seed: int, settings: dict[str, Any], inputs: dict[str, str]
    ) -> RunFolder:
        """A run of the comparison, below search/ or retrain/."""
        config = Config(
            kind=kind,
            data=self.data.name,
            data_digest=self.data.digest,
            seed=seed,
            settings={**settings, "processor": self.searching.processor},
            inputs=inputs,
            versions=versions(),
        )
        return RunFolder(self.output / kind / name, config)


def _entry(strategy: Strategy, seed: int, found: Found, trained: Trained) -> Entry:
    """What is known of a network before it is measured."""
    counts = count(layers_of(found.genotype))
    net = untrained(found.genotype, seed)
    return Entry(
        strategy=strategy.name,
        seed=seed,
        genotype=found.genotype,
        accuracy=trained.accuracy,
        validation=found.candidates[0].accuracy,
        latency_us=None,
        predicted_us=None if found.predicted_ns is None else found.predicted_ns / 1e3,
        biops=counts.biops,
        flops=counts.flops,
        parameters=sum(p.numel() for p in net.parameters()),
        binary_weights=counts.binary_weights,
        search_s=found.seconds,
        weight_free=weight_free(found.genotype),
    )


def half(data: Dataset) -> int:
    """Images that train weights; as many judge architectures."""
    return len(data.x_train) // 2


def operations(space: AnySpace) -> int:
    """That an edge chooses from, at most."""
    return max(len(space.normal_ops), len(space.reduction_ops))
