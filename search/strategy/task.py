"""What every search holds: the two halves of the images, the latency term, its state, its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from binas.runtime.measure import Measurement
from binas.search.data import Dataset
from binas.search.genotype import AnyGenotype
from binas.search.hardware import PLAIN, Hardware, Selection
from binas.search.processes import Processes
from binas.search.step_log import StepLog
from binas.search.strategy import optimisers
from binas.search.strategy.ground import Ground, Tables, entropy
from binas.search.strategy.settings import Candidate, SearchSettings
from binas.search.strategy.timing import Timer, within
from binas.search.train import (
    CALIBRATION_BATCH,
    batches,
    calibrate,
    correct,
    cosine_rate,
    cross_entropy,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
    with_prefix,
    without_prefix,
)

Batch = tuple[Tensor, Tensor]  # images [N, C, H, W], classes [N]
SettingsT = TypeVar("SettingsT", bound=SearchSettings)
GroundT = TypeVar("GroundT", bound=Ground[Any, Any])
NetT = TypeVar("NetT", bound=nn.Module)


class SearchTask(ABC, Generic[GroundT, SettingsT]):
    """A search that is trained by epochs and can be put away between them (a `Task`).

    A strategy puts its networks, optimisers and tables into `nets`, `optimisers` and `tables`; all
    of them are in the checkpoint.

    Attributes:
        epochs: Of the whole schedule.
        weight_half: Images and classes that train weights.
        architecture_half: Those that judge architectures.
        nets: Name → network; "child" is the one that candidates are evaluated with.
        timer: Measures candidates while they are evaluated; None: they are not measured.
        processes: Who else searches with other shares of each batch; see `join`.
        hardware: Where networks are trained; see `place`. Tables stay on the CPU.
    """

    epochs: int
    timer: Timer | None = None
    processes = Processes.alone()
    hardware: Hardware = PLAIN

    def __init__(
        self,
        ground: GroundT,
        data: Dataset,
        settings: SettingsT,
        seed: int,
        budget_ns: float | None = None,
    ) -> None:
        """Split the training images in two halves; everything drawn comes from the seed."""
        ground.must_be_possible(data, budget_ns, settings.parts)
        self.ground, self.settings, self.seed, self.budget_ns = ground, settings, seed, budget_ns
        self.generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(seed))
        x, y = torch.from_numpy(data.x_train)[order], torch.from_numpy(data.y_train)[order]
        half = len(x) // 2
        self.weight_half, self.architecture_half = (x[:half], y[:half]), (x[half:], y[half:])
        images = max(1, round(settings.share * half))  # of an epoch
        self.size = min(settings.batch, images)
        self.steps = images // self.size
        self.nets: dict[str, nn.Module] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.tables: dict[str, Tensor] = {}
        self._log = StepLog(0, self.processes)  # of the weight steps of this epoch

    def join(self, processes: Processes) -> None:
        """Search together with others: batches are shared, batch norms and gradients joint.

        Raises:
            UsageError: A batch cannot be shared alike.
        """
        processes.whole(self.size)
        self.processes = processes
        for net in self.nets.values():
            processes.gathered(net)

    def place(self, hardware: Hardware) -> None:
        """Train networks there, from now on."""
        self.hardware = hardware
        for net in self.nets.values():
            hardware.place(net)

    def epoch(self, number: int) -> dict[str, Any]:
        """Train one epoch; what to log of it, and of each of its weight steps (`train.Task`)."""
        self._log = StepLog(number, self.processes)
        entry = self.train(number)
        return {**entry, **self.hardware.noted, "steps": self._log.entries()}

    @abstractmethod
    def train(self, number: int) -> dict[str, Any]:
        """Train one epoch and return what to log; `loss` must be among it."""

    @abstractmethod
    def probabilities(self) -> list[Tensor]:
        """The distribution from which networks are derived."""

    def scores(self) -> list[Tensor]:
        """What networks are derived from: the same, unless the strategy says otherwise."""
        return self.probabilities()

    def make(self, build: Callable[[], NetT]) -> NetT:
        """A network whose initial weights come from the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            net = build()
        self.processes.gathered(net)
        return self.hardware.place(net)

    def weight_optimiser(self, net: nn.Module) -> torch.optim.Optimizer:
        """Of a network's weights, as the settings say."""
        return optimisers.of_weights(net, self.settings)

    def architecture_optimiser(self, tensors: list[Tensor]) -> torch.optim.Adam:
        """Of architecture parameters."""
        return optimisers.of_architecture(tensors, self.settings)

    def batches_of(self, half: Batch) -> Iterator[Batch]:
        """One epoch's batches: `share` of the half, in an order drawn anew; of each our part.

        They lie where the networks are.
        """
        x, y = half
        for drawn in islice(batches(len(x), self.size, self.generator), self.steps):
            picked = self.processes.share(drawn)
            yield self.hardware.images(x[picked]), self.hardware.classes(y[picked])

    def weight_step(
        self, net: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, selection: Selection
    ) -> tuple[Tensor, Tensor]:
        """min_w CE(f(x; w, selection)); our part of the loss, and of the images that were right."""
        x, y = batch
        out = self.hardware.logits(net, x, selection)
        loss = cross_entropy(out, y)
        return self.descend(net, optimiser, loss), self.right(out, y)

    def descend(
        self,
        net: nn.Module,
        optimiser: torch.optim.Optimizer,
        loss: Tensor,
        extra: Tensor | float = 0.0,
    ) -> Tensor:
        """A weight step down loss + extra, clipped as the settings say.

        Gradients are those of all processes.

        Returns:
            What this process adds to the loss, float64; nobody has waited for it.

        Raises:
            SearchError: One of the last losses is not finite (`StepLog`).
        """
        optimiser.zero_grad()
        (loss + extra).backward()
        self.processes.average(net.parameters())
        if self.settings.clip:
            nn.utils.clip_grad_norm_(net.parameters(), self.settings.clip)
        optimiser.step()
        self._log.add(loss, optimiser.param_groups[0]["lr"])
        return loss.detach().double() / self.processes.count

    def right(self, out: Tensor, y: Tensor) -> Tensor:
        """How many images of our part of a batch were right; nobody has waited for it."""
        return (out.argmax(dim=1) == y).sum()

    def read(self, *sums: Tensor | float) -> tuple[float, ...]:
        """Sums over the steps of an epoch, over all processes; waits for the processor."""
        return self.processes.summed(*map(float, sums))

    def set_weight_rate(self, optimiser: torch.optim.Optimizer, done: int, steps: int) -> None:
        """The cosine of the settings after `done` of `steps` weight steps."""
        set_rate(optimiser, cosine_rate(done, steps, self.settings.weight_rate))

    def evaluate(self, genotype: AnyGenotype) -> float:
        """Accuracy on the architecture half with the shared weights, batch norm recalibrated."""
        return self.exactly_tested(self.nets["child"], self.ground.only(genotype))

    def exactly_tested(self, net: nn.Module, selection: Selection | None = None) -> float:
        """`tested` on all images of the half in float32, in which sums of bits are exact."""
        with self.hardware.exactly() as hardware:
            return self.tested(net, selection, hardware=hardware)

    def tested(
        self,
        net: nn.Module,
        selection: Selection | None = None,
        images: int | None = None,
        hardware: Hardware | None = None,
    ) -> float:
        """Accuracy on the first images of the architecture half, batch norm recalibrated.

        Processes share the images, so that all hold the same number and decide alike. Computed as
        in training, unless other hardware is given.
        """
        hardware = hardware or self.hardware

        def forward(x: Tensor) -> Tensor:
            return hardware.logits(net, x, selection)

        with self.processes.apart(net):
            calibrate(net, forward, self.weight_half[0][:images], CALIBRATION_BATCH)
        x, y = self.architecture_half[0][:images], self.architecture_half[1][:images]
        mine = slice(self.processes.rank, None, self.processes.count)
        (right,) = self.processes.summed(correct(forward, x[mine], y[mine]))
        return right / len(x)

    def latency_ratio(self, p: Tables) -> Tensor | None:
        """E[T]/T*; None without a budget."""
        expected = self.ground.expected_ns(p)
        return None if expected is None or self.budget_ns is None else expected / self.budget_ns

    def described(self) -> dict[str, Any]:
        """The architecture for the log, and whether it has collapsed (`train.Task.epoch`)."""
        with torch.no_grad():
            p = self.probabilities()
            expected, free = self.ground.expected_ns(p), self.ground.weight_free(p)
            collapsed = (
                f"operations without weights hold {free:.1%} of the probability, expected at most "
                f"{self.settings.collapse:.0%}"
            )
            return {
                "expected_ns": None if expected is None else float(expected),
                "budget_ns": self.budget_ns,
                "entropy": float(entropy(p)),
                "weight_free": free,
                "collapsed": collapsed if free > self.settings.collapse else "",
                **self.ground.described(p),
            }

    def candidates(self) -> list[Candidate]:
        """Networks derived from the final distribution, evaluated."""
        drawn = self.ground.candidates(
            self.scores(), self.settings.samples, self.generator, self.budget_ns
        )
        timed = [] if self.timer is None else [self.timer.submit(genotype) for genotype in drawn]
        found = [self.candidate(genotype, self.evaluate(genotype)) for genotype in drawn]
        for place, waiting in enumerate(timed):
            if isinstance(result := waiting.result(), Measurement):
                found[place] = replace(found[place], measured_ns=result.median_ns)
        return within(found, self.budget_ns)

    def candidate(self, genotype: AnyGenotype, marks: float) -> Candidate:
        """A network with its accuracy and its price."""
        price = self.ground.predict_ns(genotype)
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
