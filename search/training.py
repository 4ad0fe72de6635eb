"""One network under training: what a step minimises, the two steps, what is added meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.core.errors import UsageError
from binas.search import augment
from binas.search.data import Dataset
from binas.search.hardware import CPU, Hardware
from binas.search.held_weights import holding
from binas.search.losses import centre_loss, distribution_loss, kernel_loss
from binas.search.networks.bars import Network
from binas.search.networks.cell_family import CellNetwork
from binas.search.ops import BinaryConv
from binas.search.processes import Processes
from binas.search.recipe import RetrainSettings
from binas.search.regularise import Auxiliary, DropPath, Features
from binas.search.step_log import StepLog
from binas.search.train import (
    CALIBRATION_BATCH,
    batches,
    calibrate,
    cosine_rate,
    cross_entropy,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
    with_prefix,
    without_prefix,
)

SGD_MOMENTUM = 0.9


class Training:
    """One network under training (a `Task`).

    Args:
        net: To train; its weights are changed.
        data: Images of the net's shape.
        settings: How.
        seed: Of the order of images, of augmentation and of the auxiliary head.
        teacher: What `settings.distil` refers to: images → logits.
        hardware: Where.
        processes: Who else trains on other shares of each batch.
    """

    def __init__(
        self,
        net: nn.Module,
        data: Dataset,
        settings: RetrainSettings,
        seed: int,
        *,
        teacher: nn.Module | None = None,
        hardware: Hardware = CPU,
        processes: Processes | None = None,
    ) -> None:
        """Nothing is trained yet; all that is random comes from the seed alone."""
        _must_agree(net, settings, teacher)
        self.settings, self.epochs = settings, settings.epochs * settings.steps
        self.hardware, self.processes = hardware, processes or Processes.alone()
        self.x, self.y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
        self.classes = len(data.labels)
        self.generator = torch.Generator().manual_seed(seed)
        self.auxiliary: Auxiliary | None = None
        if settings.auxiliary:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.auxiliary = Auxiliary(_pieces(net), net, self.x[:1])
        self.drop_path = DropPath(net, self.generator) if settings.drop_path else None
        self.features = Features(_classifier(net)) if settings.kernel else None
        self.teacher = None if teacher is None else hardware.place(teacher.eval())
        self.net = net
        trained = [net, *([self.auxiliary] if self.auxiliary is not None else [])]
        for module in trained:
            hardware.place(self.processes.gathered(module))
        self.parameters = [p for module in trained for p in module.parameters()]
        self.binary = [m for m in net.modules() if isinstance(m, BinaryConv) and not m.real]
        forward = self.processes.parallel(net)
        self.forward = torch.compile(forward) if hardware.compiled else forward
        self.optimiser = self._new_optimiser()

    def epoch(self, number: int) -> dict[str, Any]:
        """One pass over the training images."""
        settings = self.settings
        step, passed = divmod(number, settings.epochs)
        self._real_weights(step < settings.steps - 1)
        if passed == 0 and number:
            self.optimiser = self._new_optimiser()
        for group in self.optimiser.param_groups:  # also where a run goes on in the second step
            group["weight_decay"] = settings.weight_decay if step == 0 else 0.0
        if self.drop_path is not None:
            self.drop_path.probability = settings.drop_path * passed / settings.epochs
        self.net.train()
        size = self.processes.whole(min(settings.batch, len(self.x)))
        count = max(1, len(self.x) // size)
        log = StepLog(number, self.processes)
        total: Tensor | float = 0.0
        right: Tensor | float = 0.0
        seen = 0.0
        predicted = torch.zeros(self.classes, dtype=torch.int64, device=self.hardware.processor)
        for place, picked in enumerate(batches(len(self.x), size, self.generator)):
            done = passed * count + place
            rate = cosine_rate(done, settings.epochs * count, settings.rate)
            set_rate(self.optimiser, rate)
            x = self.processes.share(self._augmented(self.x[picked]))
            y = self.hardware.classes(self.processes.share(self.y[picked]))
            loss, logits = self._step(self.hardware.images(x), y)
            found = logits.argmax(dim=1)
            predicted += functional.one_hot(found, self.classes).sum(dim=0)
            total = total + loss.double() * len(y)
            right = right + (found == y).sum()
            seen += len(y)
            log.add(loss, rate)
        total, right, seen = self.processes.summed(float(total), float(right), seen)
        return {
            "loss": total / seen,
            "accuracy": right / seen,
            **self.hardware.noted,
            "steps": log.entries(),
            "collapsed": self._collapse(predicted),
        }

    def _step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """One update; gives the loss and the logits."""
        with self.hardware.autocast():
            logits = self.forward(x)
            loss = self._loss(x, y, logits)
        self.optimiser.zero_grad()
        loss.backward()
        if self.auxiliary is not None:
            self.processes.average(self.auxiliary.parameters())
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.optimiser.step()
        return loss.detach(), logits.detach()

    def _loss(self, x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
        """(1 - d) · CE + d · KD + a · CE_auxiliary + λ · (kernel + centre loss)."""
        settings = self.settings
        loss = cross_entropy(logits, y, settings.smoothing)
        if self.teacher is not None and settings.distil:
            with torch.no_grad():
                taught = self.teacher(x)
            distance = distribution_loss(logits, taught, settings.temperature)
            loss = (1 - settings.distil) * loss + settings.distil * distance
        if self.auxiliary is not None:
            loss = loss + settings.auxiliary * cross_entropy(
                self.auxiliary(), y, settings.smoothing
            )
        if self.features is not None:
            extra = kernel_loss(self.net) + centre_loss(self.features.seen, y)
            loss = loss + settings.kernel * extra
        return loss

    def _augmented(self, x: Tensor) -> Tensor:
        settings = self.settings
        if settings.crop:
            x = augment.shifted(x, settings.crop, self.generator)
        if settings.flip:
            x = augment.flipped(x, self.generator)
        return augment.cut_out(x, settings.cutout, self.generator) if settings.cutout else x

    def _new_optimiser(self) -> torch.optim.Optimizer:
        settings = self.settings
        if settings.optimiser == "sgd":
            sgd = torch.optim.SGD(self.parameters, settings.rate, momentum=SGD_MOMENTUM)
            return holding(sgd, self.net)
        return holding(torch.optim.Adam(self.parameters, settings.rate), self.net)

    def _real_weights(self, on: bool) -> None:
        """The first of two steps; a twin's weights are real and stay so."""
        for conv in self.binary:
            conv.real = on

    def _collapse(self, predicted: Tensor) -> str:
        """Why training cannot recover; empty where it can."""
        if self.classes > 1 and int((predicted > 0).sum()) == 1:
            return f"every image of the epoch was taken for class {int(predicted.argmax())}"
        return ""

    def finish(self) -> None:
        """Detach what was added for training, and settle batch norm."""
        for added in (self.drop_path, self.auxiliary, self.features):
            if added is not None:
                added.remove()
        self._real_weights(False)
        self.net.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        calibrate(self.net, self.net, self.x, CALIBRATION_BATCH, self.settings.statistics)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimiser, generator."""
        auxiliary = {} if self.auxiliary is None else self.auxiliary.state_dict()
        return {
            **with_prefix("net", self.net.state_dict()),
            **with_prefix("auxiliary", auxiliary),
            **optimiser_tensors(self.optimiser, "optimiser"),
            "generator": self.generator.get_state(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        self.net.load_state_dict(without_prefix("net", tensors))
        if self.auxiliary is not None:
            self.auxiliary.load_state_dict(without_prefix("auxiliary", tensors))
        restore_optimiser(self.optimiser, tensors, "optimiser")
        self.generator.set_state(tensors["generator"])


def _must_agree(net: nn.Module, settings: RetrainSettings, teacher: nn.Module | None) -> None:
    """Refuse settings that mean nothing for this network."""
    convs = [m for m in net.modules() if isinstance(m, BinaryConv)]
    if settings.steps == 2 and any(conv.real for conv in convs):
        raise UsageError(
            "the real-valued twin has no binary weights to come to in a second step",
            hint="leave out --steps 2 or --real",
        )
    if settings.distil and teacher is None:
        raise UsageError("distil is set, but there is no teacher", hint="give --teacher RUN")


def _pieces(net: nn.Module) -> nn.ModuleList:
    """The modules a network is a chain of: pieces, or cells of the space's own."""
    found = net.body.cells if isinstance(net, CellNetwork) else cast(Network, net).pieces
    return cast(nn.ModuleList, found)


def _classifier(net: nn.Module) -> nn.Module:
    """The linear layer at the end."""
    return [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
