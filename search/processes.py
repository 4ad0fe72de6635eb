"""Several processes that train one network: `torchrun --no-python binas-search ...` starts them.

Every process draws the same batches and takes its share of each; gradients are averaged and batch
norm sees all shares, so N processes do what one does with the joint batch (up to rounding).

Retraining runs inside torch's DistributedDataParallel (`parallel`). Searches average what they get
(`averaged`): an architecture step has no gradients of weights and a sampled network leaves most
weights without one, and either is what DistributedDataParallel waits for.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from binas.core.errors import UsageError
from binas.search.networks.cell_recipe import Norm

# Statistics, shares of decisions and whole searches live on the CPU, whatever trains.
BACKENDS = "cpu:gloo,cuda:nccl"
HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among others.

    Attributes:
        rank: 0 writes files and prints.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def alone() -> Processes:
        """One process."""
        return Processes()

    @staticmethod
    def joined() -> Processes:
        """As torchrun started us, or alone: nccl between GPUs, gloo between CPUs."""
        count = _started()
        if count == 1:
            return Processes()
        # A 1x1 convolution's weight has the same layout with either of two strides; gradients come
        # with both, so parameters cannot be brought to agree, and copying them costs nothing.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        if not distributed.is_initialized():
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            distributed.init_process_group(BACKENDS if torch.cuda.is_available() else "gloo")
        return Processes(rank=distributed.get_rank(), count=distributed.get_world_size())

    @staticmethod
    def must_be_alone(what: str) -> None:
        """Refuse what several processes would do several times.

        Raises:
            UsageError: torchrun started more than one.
        """
        if _started() > 1:
            raise UsageError(
                f"{what} runs in one process, and torchrun started {_started()}",
                hint="start it without torchrun",
            )

    @property
    def writes(self) -> bool:
        """Whether this one writes files and prints."""
        return self.rank == 0

    def whole(self, batch: int) -> int:
        """The batch, if it can be shared alike; else an error says so."""
        if batch % self.count:
            raise UsageError(
                f"a batch of {batch} cannot be shared by {self.count} processes",
                hint=f"give --batch {max(1, batch // self.count) * self.count}",
            )
        return batch

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch that `whole` has let through."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def gathered(self, net: nn.Module) -> nn.Module:
        """The network with batch norm over all processes; the same object when alone."""
        if self.count > 1:
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.__class__ = GatheredBatchNorm2d
        return net

    @contextmanager
    def apart(self, *nets: nn.Module) -> Iterator[None]:
        """Inside, batch norms see the images of this process alone: all do the same whole work."""
        modules = [module for net in nets for module in net.modules()]
        norms = [module for module in modules if isinstance(module, GatheredBatchNorm2d)]
        for norm in norms:
            norm.gathers = False
        try:
            yield
        finally:
            for norm in norms:
                norm.gathers = True

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Inside, the process that writes comes first, and the others find what it has written."""
        if self.count > 1 and not self.writes:
            distributed.barrier()
        yield
        if self.count > 1 and self.writes:
            distributed.barrier()

    def parallel(self, net: nn.Module) -> nn.Module:
        """The network to call: its backward pass averages gradients over all processes."""
        if self.count == 1:
            return net
        # Buffers are those of gathered batch norms, equal everywhere already.
        known = signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        settings: dict[str, Any] = {name: False}  # the first since torch 2.13
        return DistributedDataParallel(net, **settings)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of what does not run inside `parallel`."""
        if self.count == 1:
            return
        moved = [parameter for parameter in parameters if parameter.grad is not None]
        found = self.averaged([cast(Tensor, parameter.grad) for parameter in moved])
        for parameter, gradient in zip(moved, found, strict=True):
            parameter.grad = gradient

    def averaged(self, gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The mean of each over all processes, in a message per processor on which gradients are.

        All must come in the same order.
        """
        found = list(gradients)
        if self.count == 1:
            return tuple(found)
        for device in dict.fromkeys(gradient.device for gradient in gradients):
            places = [place for place, g in enumerate(gradients) if g.device == device]
            sent = torch.cat([gradients[place].detach().flatten() for place in places])
            distributed.all_reduce(sent)
            parts = (sent / self.count).split([gradients[place].numel() for place in places])
            for place, part in zip(places, parts, strict=True):
                found[place] = part.view_as(gradients[place]).to(gradients[place].dtype)
        return tuple(found)

    def summed(self, *values: float) -> tuple[float, ...]:
        """Each number summed over all processes."""
        if self.count == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total)
        return tuple(total.tolist())


class GatheredBatchNorm2d(Norm):
    """Batch norm over the images of all processes; `SyncBatchNorm` refuses CPU tensors.

    mean = Σ x / n and variance = Σ (x - mean)² / n, both sums over all processes and
    differentiable, twice; shares are of equal size.

    Attributes:
        gathers: False: as any batch norm, over the images of this process; see `Processes.apart`.
    """

    gathers = True

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """Normalise [N, C, H, W], times the gain; in evaluation as batch norm does."""
        if not (self.training and self.gathers):
            return super().forward(x, gain)
        y = self._normed(x.float() if x.dtype in HALVES else x).to(x.dtype)
        return y if gain is None else y * gain.to(x.dtype)

    def _normed(self, x: Tensor) -> Tensor:
        n = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _summed(x.sum(dim=(0, 2, 3))) / n
        centred = x - mean[:, None, None]
        variance = _summed(centred.square().sum(dim=(0, 2, 3))) / n
        self._gather(mean.detach(), variance.detach() * n / (n - 1))
        y: Tensor = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y

    def _gather(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        moment = self.momentum
        if moment is None:  # plain average
            tracked = self.num_batches_tracked
            moment = 1.0 if tracked is None else 1.0 / float(tracked)
        self.running_mean.lerp_(mean, moment)
        self.running_var.lerp_(variance, moment)


class _Summed(torch.autograd.Function):
    """A sum over all processes; so is its gradient, for every process's loss depends on it.

    What every process gets back is the gradient of the sum of all losses; averaged, that of their
    mean. The gradient is differentiable in turn.
    """

    @staticmethod
    def forward(_context: object, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: object, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(x: Tensor) -> Tensor:
    total: Tensor = _Summed.apply(x)  # type: ignore[no-untyped-call]
    return total


def _started() -> int:
    """Processes that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))
