"""The loop under search and retraining: epochs, log, checkpoints, resuming, NaN.

Everything random comes from one generator per task, whose state is part of the checkpoint: a run
that is interrupted and resumed gives the same bits as one that is not (on a CPU, one thread).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from binas.core.errors import SearchError
from binas.search.run import RunFolder

Progress = Callable[[int, int, dict[str, Any]], None]  # epochs done, in all, the last one's log


CALIBRATION_BATCH = 128
EMA_STEP = 0.1  # torch's own for statistics that are gathered while training


class Task(Protocol):
    """Something that is trained by epochs and can be put away between them."""

    epochs: int

    def epoch(self, number: int) -> dict[str, Any]:
        """Train one epoch and return what to log; `loss` must be among it.

        Two entries are not logged: `steps`, a list with what to log per step, and `collapsed`, why
        it makes no sense to go on; empty where it does.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All state."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state of `tensors()`."""
        ...


def fit(
    task: Task, folder: RunFolder | None = None, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Train to the last epoch, going on where the folder stopped.

    Returns:
        The log, one entry per epoch.

    Raises:
        SearchError: The loss or a weight is not finite, or training collapsed; the folder keeps
            the epoch before.
        UsageError: The folder's checkpoint is not of such a task.
    """
    entries: list[dict[str, Any]] = []
    if folder is not None and (kept := folder.resume()) is not None:
        _restore(task, kept[0], folder)
        entries = kept[1]
    for number in range(len(entries), task.epochs):
        start = time.perf_counter()
        entry = task.epoch(number)
        steps, collapsed = entry.pop("steps", []), entry.pop("collapsed", "")
        if not math.isfinite(entry["loss"]):
            raise diverged(f"the loss is {entry['loss']}", number)
        tensors = task.tensors()
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise diverged(f"{name} is not finite", number)
        if collapsed:
            raise SearchError(
                f"training collapsed in epoch {number}: {collapsed}", hint=_hint(number)
            )
        entry = {"epoch": number, "seconds": time.perf_counter() - start, **entry}
        entries.append(entry)
        if folder is not None:
            folder.checkpoint(tensors, entries, steps)
        if progress is not None:
            progress(len(entries), task.epochs, entry)
    return entries


def _restore(task: Task, kept: Mapping[str, Tensor], folder: RunFolder) -> None:
    """Take up a checkpoint, after a look at whether it is one of this task.

    Only optimisers have tensors later that they have not at the start.
    """
    for name, tensor in task.tensors().items():
        found = kept.get(name)
        if found is None:
            raise folder.unusable(f"holds no tensor {name}, which this run has")
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise folder.unusable(f"holds {name} as {_form(found)}, expected {_form(tensor)}")
    try:
        task.restore(kept)
    except (KeyError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise folder.unusable(f"does not fit this run: {first}") from error


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def diverged(what: str, epoch: int) -> SearchError:
    """The error of a training in which something is no number any more."""
    return SearchError(f"{what} in epoch {epoch}", hint=_hint(epoch))


def _hint(done: int) -> str:
    """What to do where training diverged; a rate this high does now and then."""
    kept = "; the last good epoch is kept" if done else ""
    return f"lower the learning rate, or start from another --seed{kept}"


def batches(
    count: int, size: int, generator: torch.Generator, *, drop_last: bool = True
) -> Iterator[Tensor]:
    """Indices of shuffled batches; a last short one upsets batch norm and is left out."""
    order = torch.randperm(count, generator=generator)
    size = min(size, count)
    end = count - count % size if drop_last else count
    for first in range(0, end, size):
        yield order[first : first + size]


def cosine_rate(step: int, steps: int, peak: float, warmup: float = 0.1) -> float:
    """Learning rate: linear over the first share `warmup` of the steps, times a cosine to 0."""
    rise = min(1.0, (step + 1) / max(1.0, warmup * steps))
    return peak * rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimiser's state as named tensors; its rate comes from the schedule and is not state."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {
        f"{prefix}.{index}.{key}": value
        for index, values in state.items()
        for key, value in values.items()
        if value is not None
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str
) -> None:
    """The inverse of `optimiser_tensors`.

    Raises:
        ValueError: Not state of these parameters.
    """
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix + "."):
            index, key = name.removeprefix(prefix + ".").split(".")
            if int(index) >= len(parameters):
                raise ValueError(f"{name} is of no parameter, there are {len(parameters)}")
            shape = parameters[int(index)].shape
            if tensor.ndim and tensor.shape != shape:
                raise ValueError(f"{name} is {list(tensor.shape)}, its parameter {list(shape)}")
            state.setdefault(int(index), {})[key] = tensor
    whole = set().union(*state.values())
    for place, values in state.items():
        if lacking := sorted(whole - values.keys()):
            raise ValueError(f"there is no {prefix}.{place}.{lacking[0]}")
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names with `prefix.` in front."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix.`, without it."""
    start = prefix + "."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def calibrate(
    net: nn.Module,
    forward: Callable[[Tensor], Tensor],
    x: Tensor,
    size: int,
    statistics: Literal["average", "ema"] = "average",
) -> None:
    """Gather batch norm statistics anew over `x`, in batches of `size`, with frozen weights.

    Statistics gathered while weights moved belong to no network; after a 1-bit search they are
    far off. "average" is the plain one of all batches; "ema" moves by a tenth per batch, more in
    the first ten, so that late batches count as while training. Leaves the net in evaluation.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    moments = [norm.momentum for norm in norms]
    net.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for place, first in enumerate(range(0, max(1, len(x) - size + 1), size)):
            if statistics == "ema":
                for norm in norms:
                    norm.momentum = max(EMA_STEP, 1 / (place + 1))
            forward(x[first : first + size])
    for norm, moment in zip(norms, moments, strict=True):
        norm.momentum = moment
    net.eval()


def accuracy(forward: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Share of images whose largest logit is their class."""
    return correct(forward, x, y) / len(x)


def correct(forward: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, size: int = 250) -> int:
    """How many images have their largest logit at their class.

    Logits may come from another processor than the images; it is waited for once, at the end.
    """
    right = torch.zeros((), dtype=torch.int64)
    with torch.no_grad():
        for first in range(0, len(x), size):
            found = forward(x[first : first + size]).argmax(dim=1)
            right = right + (found == y[first : first + size].to(found.device)).sum()
    return int(right)


def cross_entropy(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy with label smoothing."""
    return functional.cross_entropy(logits, y, label_smoothing=smoothing)
