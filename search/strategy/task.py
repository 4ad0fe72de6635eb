"""What every search holds: the two halves of the images, the latency term, its state, its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from binas.core.errors import SearchError, UsageError
from binas.search.cost import Lut
from binas.search.data import Dataset
from binas.search.genotype import Genotype
from binas.search.networks.bars_supernet import Choice, one_hot
from binas.search.retrain import CALIBRATION_BATCH, must_fit
from binas.search.run import RunFolder
from binas.search.space import Space
from binas.search.strategy import collapse, derive
from binas.search.strategy.settings import Candidate, Found, SearchSettings
from binas.search.train import (
    Progress,
    accuracy,
    batches,
    calibrate,
    cosine_rate,
    cross_entropy,
    fit,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
    with_prefix,
    without_prefix,
)

MOMENTUM = 0.9  # of SGD, in every paper of the field
BETAS = (0.5, 0.999)  # of the architecture's Adam, in every code since DARTS
Batch = tuple[Tensor, Tensor]  # images [N, C, H, W], classes [N]
SettingsT = TypeVar("SettingsT", bound=SearchSettings)


class SearchTask(ABC, Generic[SettingsT]):
    """A search that is trained by epochs and can be put away between them (a `Task`).

    A strategy puts its networks, optimisers and tables into `nets`, `optimisers` and `tables`; all
    of them are in the checkpoint.

    Attributes:
        epochs: Of the whole schedule.
        weight_half: Images and classes that train weights.
        architecture_half: Those that judge architectures.
        nets: Name → network; "child" is the one that candidates are evaluated with.
    """

    epochs: int

    def __init__(
        self,
        space: Space,
        data: Dataset,
        settings: SettingsT,
        seed: int,
        *,
        lut: Lut | None,
        budget_ns: float | None,
    ) -> None:
        """Split the training images in two halves; everything drawn comes from the seed."""
        must_be_possible(space, data, lut, budget_ns)
        self.space, self.settings, self.seed = space, settings, seed
        self.lut, self.budget_ns = lut, budget_ns
        self.generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(seed))
        x, y = torch.from_numpy(data.x_train)[order], torch.from_numpy(data.y_train)[order]
        half = len(x) // 2
        self.weight_half, self.architecture_half = (x[:half], y[:half]), (x[half:], y[half:])
        self.size = min(settings.batch, half)
        self.steps = max(1, round(settings.share * half) // self.size)
        self.nets: dict[str, nn.Module] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.tables: dict[str, Tensor] = {}

    @abstractmethod
    def epoch(self, number: int) -> dict[str, Any]:
        """Train one epoch and return what to log; `loss` must be among it."""

    @abstractmethod
    def probabilities(self) -> Choice:
        """The distribution from which networks are derived."""

    def make(self, build: type[nn.Module], *args: Any, **options: Any) -> Any:
        """A network whose initial weights come from the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return build(*args, **options)

    def weight_optimiser(self, net: nn.Module) -> torch.optim.Optimizer:
        """Of a network's weights, as the settings say."""
        rate, decay = self.settings.weight_rate, self.settings.weight_decay
        if self.settings.optimiser == "sgd":
            return torch.optim.SGD(net.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=decay)
        return torch.optim.Adam(net.parameters(), lr=rate, weight_decay=decay)

    def architecture_optimiser(self, tensors: list[Tensor]) -> torch.optim.Adam:
        """Of architecture parameters."""
        return torch.optim.Adam(
            tensors,
            lr=self.settings.architecture_rate,
            betas=BETAS,
            weight_decay=self.settings.architecture_decay,
        )

    def batches_of(self, half: Batch) -> Iterator[Batch]:
        """One epoch's batches: `share` of the half, in an order drawn anew."""
        x, y = half
        for picked in islice(batches(len(x), self.size, self.generator), self.steps):
            yield x[picked], y[picked]

    def weight_step(
        self, net: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, choice: Choice
    ) -> tuple[float, int]:
        """min_w CE(f(x; w, choice)); the loss, and how many images were right."""
        x, y = batch
        out = net(x, choice)
        loss = cross_entropy(out, y)
        optimiser.zero_grad()
        loss.backward()
        self.descend(net, optimiser)
        return loss.item(), int((out.argmax(dim=1) == y).sum())

    def descend(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """A step along the gradients that are there, clipped as the settings say."""
        if self.settings.clip:
            nn.utils.clip_grad_norm_(net.parameters(), self.settings.clip)
        optimiser.step()

    def set_weight_rate(self, optimiser: torch.optim.Optimizer, done: int, steps: int) -> None:
        """The cosine of the settings after `done` of `steps` weight steps."""
        set_rate(optimiser, cosine_rate(done, steps, self.settings.weight_rate))

    def evaluate(self, genotype: Genotype) -> float:
        """Accuracy on the architecture half with the shared weights, batch norm recalibrated."""
        return self.validated("child", one_hot(genotype), 0)

    def validated(self, net: str, choice: Choice, images: int) -> float:
        """Accuracy of a network of a supernet on images of the architecture half; 0: all."""

        def forward(x: Tensor) -> Tensor:
            y: Tensor = self.nets[net](x, choice)
            return y

        x, y = self.architecture_half
        few = self.weight_half[0] if not images else self.weight_half[0][:images]
        calibrate(self.nets[net], forward, few, CALIBRATION_BATCH)
        return accuracy(forward, *((x, y) if not images else (x[:images], y[:images])))

    def latency_ratio(self, p: Choice) -> Tensor | None:
        """E[T]/T*; None without a budget."""
        if self.lut is None or self.budget_ns is None:
            return None
        return self.lut.expected_ns(p) / self.budget_ns

    def described(self) -> dict[str, Any]:
        """The architecture for the log: what the pictures of a search are drawn from.

        Raises:
            SearchError: The architecture has collapsed.
        """
        with torch.no_grad():
            p = self.probabilities()
            cells = [cell.mean(dim=0) for stage in p.normal for cell in stage]
            free = collapse.weight_free(self.space, p)
            collapse.must_stand(free, self.settings.collapse)
            return {
                "expected_ns": None if self.lut is None else float(self.lut.expected_ns(p)),
                "budget_ns": self.budget_ns,
                "entropy": float(collapse.entropy(p)),
                "weight_free": free,
                "depth": [_rounded(d) for d in p.depth],
                "width": [_rounded(w) for w in p.width],
                "normal": _rounded(torch.stack(cells).mean(dim=0)),
                "reduction": [_rounded(r.mean(dim=0)) for r in p.reduction],
            }

    def candidates(self) -> list[Candidate]:
        """Networks derived from the final distribution, evaluated."""
        drawn = derive.candidates(
            self.space,
            self.probabilities(),
            self.settings.samples,
            self.generator,
            lut=self.lut,
            budget_ns=self.budget_ns,
        )
        return [self.candidate(genotype, self.evaluate(genotype)) for genotype in drawn]

    def candidate(self, genotype: Genotype, marks: float) -> Candidate:
        """A network with its accuracy and its price."""
        price = None if self.lut is None else self.lut.predict_ns(genotype)
        return Candidate(genotype=genotype, accuracy=marks, predicted_ns=price)

    def tensors(self) -> dict[str, Tensor]:
        """All state: networks, optimisers, tables, generator."""
        found = {"generator": self.generator.get_state()}
        for name, net in self.nets.items():
            found |= with_prefix(f"net.{name}", net.state_dict())
        for name, optimiser in self.optimisers.items():
            found |= optimiser_tensors(optimiser, f"optimiser.{name}")
        return found | with_prefix("table", self.tables)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        for name, net in self.nets.items():
            net.load_state_dict(without_prefix(f"net.{name}", tensors))
        for name, optimiser in self.optimisers.items():
            restore_optimiser(optimiser, tensors, f"optimiser.{name}")
        kept = without_prefix("table", tensors)
        with torch.no_grad():
            for name, table in self.tables.items():
                table.copy_(kept[name])
        self.generator.set_state(tensors["generator"])


def run(
    task: SearchTask[Any], folder: RunFolder | None = None, progress: Progress | None = None
) -> Found:
    """Search to the end and choose among what was found.

    Args:
        task: At its start; where the folder holds a checkpoint it goes on there.
        folder: Where log and checkpoints go, and where an interrupted run goes on.
        progress: Told after each epoch.

    Raises:
        SearchError: No derived network is within the budget, the training diverged, or the
            architecture collapsed; the folder keeps the last good epoch.
    """
    log = fit(task, folder, progress)
    with torch.no_grad():
        found = task.candidates()
        p = task.probabilities()
        expected_ns = None if task.lut is None else float(task.lut.expected_ns(p))
    found.sort(key=lambda candidate: (-candidate.accuracy, candidate.predicted_ns or 0.0))
    return Found(
        genotype=found[0].genotype,
        seed=task.seed,
        budget_ns=task.budget_ns,
        predicted_ns=found[0].predicted_ns,
        expected_ns=expected_ns,
        candidates=tuple(found),
        seconds=sum(float(entry["seconds"]) for entry in log),
    )


def must_be_possible(space: Space, data: Dataset, lut: Lut | None, budget_ns: float | None) -> None:
    """Check, before anything is trained, that a search can end with a network.

    Raises:
        UsageError: The images do not fit the space, or there is a budget without prices.
        SearchError: The budget is below the fastest network of the space.
    """
    must_fit(space, data)
    if budget_ns is None:
        return
    if lut is None:
        raise UsageError("a budget needs a latency table", hint="give --table")
    if (fastest := lut.fastest_ns()) > budget_ns:
        raise SearchError(
            f"no network of the space is within {budget_ns / 1e3:.1f} us: "
            f"the fastest takes {fastest / 1e3:.1f} us",
            hint="raise --budget, or add narrower widths to the space",
        )


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]
