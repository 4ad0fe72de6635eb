"""`python -m benchmarks.search_passes --json FILE`: what a strategy's step costs beyond its passes.

A step of a differentiable search consists of forward and backward passes, to weights or to the
architecture: two in DARTS and BARS, six in DCP-NAS (Parent: weights, architecture, tangent; Child:
weights, divergence, curvature). Steps and just these passes are timed in turns; the ratio is what
everything else costs: sampling, optimisers, terms of the loss, decoupling, the log. Every strategy
has a process of its own, whose peak memory is reported.
"""

from __future__ import annotations

import multiprocessing
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import report_file
from binas.core import cli
from binas.search.cells import CellSpace
from binas.search.data import Dataset
from binas.search.space import Space
from binas.search.strategy import bars, darts, dcp_nas
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.gradient import GradientSearch
from binas.search.strategy.layout_ground import LayoutGround
from binas.search.train import cross_entropy

# Passes of a step: network, and whether they end at weights or at the architecture.
PASSES = {
    "darts": (("child", "weights"), ("child", "architecture")),
    "bars": (("child", "weights"), ("child", "architecture")),
    "dcp-nas": (
        *(("parent", end) for end in ("weights", "architecture", "architecture")),
        *(("child", end) for end in ("weights", "architecture", "architecture")),
    ),
}
LAST = 1  # an epoch after the warm-up
Search = GradientSearch[Any, Any]
Sizes = dict[str, int]  # the arguments of `task_of` besides the strategy


def task_of(name: str, side: int, channels: int, cells: int, batch: int) -> Search:
    """A search whose epoch is one step.

    Args:
        name: "darts", "bars" or "dcp-nas".
        side: Of square colour images.
        channels: Of the first cells.
        cells: Of DARTS networks; BARS has three stages of two.
        batch: Images.
    """
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2 * batch, 3, side, side)).astype(np.float32)
    y = generator.integers(10, size=2 * batch)
    labels = tuple("0123456789")
    data = Dataset(
        name="noise", x_train=x, y_train=y, x_test=x, y_test=y, labels=labels, normalisation="none"
    )
    shape: tuple[int, int, int] = (3, side, side)
    schedule: dict[str, Any] = {"epochs": 3, "warmup_epochs": 0, "batch": batch}
    if name == "bars":
        space = Space(input_shape=shape, classes=10, channels=channels, stages=3)
        return bars.Search(LayoutGround(space, None), data, bars.BarsSettings(**schedule), 0)
    ground = CellGround(
        CellSpace(input_shape=shape, channels=channels, cells=cells, form="child"), None
    )
    if name == "darts":
        return darts.Search(ground, data, darts.DartsSettings(**schedule), 0)
    return dcp_nas.Search(ground, data, dcp_nas.DcpNasSettings(**schedule), 0)


def passes_of(name: str, task: Search) -> Callable[[], None]:
    """Just the passes of a step."""
    x, y = (tensor[: task.size] for tensor in task.weight_half)

    def run() -> None:
        for net, end in PASSES[name]:
            take = _to_weights if end == "weights" else _to_architecture
            take(task, task.nets[net], x, y)

    return run


def _to_weights(task: Search, net: nn.Module, x: Tensor, y: Tensor) -> None:
    net.zero_grad()
    cross_entropy(net(x, task.weight_mixture()), y).backward()


def _to_architecture(task: Search, net: nn.Module, x: Tensor, y: Tensor) -> None:
    loss = cross_entropy(net(x, task.mixture()), y)
    torch.autograd.grad(loss, task.logits, allow_unused=True, materialize_grads=True)


def measured(name: str, rounds: int, sizes: Sizes) -> dict[str, Any]:
    """Seconds of a step and of its passes, taken in turns, their ratio, and peak memory.

    To be called in a process of its own: what is counted is the memory of the whole process.
    """
    torch.set_num_threads(1)
    task = task_of(name, **sizes)
    passes, pairs = passes_of(name, task), []
    for round_ in range(rounds + 1):
        start = time.perf_counter()
        task.train(LAST)
        middle = time.perf_counter()
        passes()
        if round_:  # the first one warms up
            pairs.append((middle - start, time.perf_counter() - middle))
    return {
        "strategy": name,
        "passes": len(PASSES[name]),
        "step_s": median(step for step, _ in pairs),
        "passes_s": median(alone for _, alone in pairs),
        "ratio": median(step / alone for step, alone in pairs),
        "samples_s": pairs,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


@click.command(cls=cli.Command)
@report_file.option
@click.option("--strategy", "names", multiple=True, type=click.Choice([*PASSES]), help="Else all.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--side", type=click.IntRange(8), default=32, show_default=True)
@click.option("--channels", type=click.IntRange(4), default=16, show_default=True)
@click.option("--cells", type=click.IntRange(3), default=8, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
def main(*, file: Path, names: tuple[str, ...], rounds: int, **sizes: int) -> None:
    """Time a step of DARTS, BARS and DCP-NAS beside the passes that it consists of."""
    rows = []
    for name in names or PASSES:
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            row = alone.apply(measured, (name, rounds, sizes))
        rows.append(row)
        click.echo(
            f"{row['strategy']:>8}  {row['step_s']:.3f} s a step, its {row['passes']} passes alone "
            f"{row['passes_s']:.3f} s: {row['ratio']:.2f}; peak {row['peak_bytes'] / 2**20:.0f} MiB"
        )
    report_file.write(
        file,
        {
            "schema": "binas.search-passes/2",
            "machine": platform.processor() or platform.machine(),
            "sizes": sizes,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
