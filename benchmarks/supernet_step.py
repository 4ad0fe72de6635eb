"""`python -m benchmarks.supernet_step --json FILE`: a training step of a supernet, ours and plain.

Both hold the same network (PC-DARTS, CIFAR shapes, batch 64, C = 16, 8 cells, k = 4) with the same
weights: first their logits are compared, in training and for the same images, then steps (forward,
backward, SGD; weights and architecture both get gradients) are timed in turns. Peak memory is that
of a process of its own per network.
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
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import report_file
from benchmarks.plain_pc_darts import PlainPcDarts
from binas.search.cells import CellSpace
from binas.search.networks.cell import Cell
from binas.search.networks.cell_ops import Pointwise, Separable
from binas.search.networks.family import supernet
from binas.search.networks.supernet import Mixture, Supernet

SPACE = CellSpace(form="real")  # C = 16, 8 cells, 32x32
PARTIAL = 4
BATCH = 64

Step = Callable[[], object]


def arguments(seed: int = 0) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Images, labels, alphas and betas."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(BATCH, 3, 32, 32, generator=generator)
    y = torch.randint(10, (BATCH,), generator=generator)
    alphas = [torch.randn(14, 8, generator=generator).requires_grad_() for _ in range(2)]
    betas = [torch.randn(14, generator=generator).requires_grad_() for _ in range(2)]
    return x, y, alphas, betas


def ours(net: Supernet, x: Tensor, alphas: list[Tensor], betas: list[Tensor]) -> Tensor:
    """Logits of the package's supernet."""
    edges = [g.edge_softmax(beta) for g, beta in zip(net.groups, betas, strict=True)]
    logits: Tensor = net(x, Mixture.soft([alpha.softmax(-1) for alpha in alphas], edges))
    return logits


def copy_weights(plain: PlainPcDarts, net: Any) -> None:
    """Give the package's supernet the plain one's weights."""
    body = net.body
    with torch.no_grad():
        body.stem.convs[0].conv.weight.copy_(_weights(plain.stem)[0])
        body.head.linear.load_state_dict(plain.classifier.state_dict())
        others: Any = plain.cells
        for cell, theirs in zip(body.cells, others, strict=True):
            _copy(cell.inputs[0], theirs.first)
            _copy(cell.inputs[1], theirs.second)
            for index, edge in enumerate(theirs.edges):
                _copy_edge(cell, index, edge)


def _copy_edge(cell: Cell, index: int, edge: Any) -> None:
    for op, module in zip(cell.ops[index], edge.ops, strict=True):
        target = cell.module(index, op)
        if isinstance(target, Separable | Pointwise):
            _copy(target, module)


def _copy(target: nn.Module, source: nn.Module) -> None:
    convs = [p for p in target.parameters() if p.ndim == 4]
    for mine, theirs in zip(convs, _weights(source), strict=True):
        mine.copy_(theirs)


def _weights(module: nn.Module) -> list[Tensor]:
    return [m.weight for m in module.modules() if isinstance(m, nn.Conv2d)]


def difference(plain: PlainPcDarts, net: Supernet) -> tuple[float, float]:
    """Largest difference of logits, and of the gradients of alpha, over their largest value."""
    x, y, alphas, betas = arguments()
    copy_weights(plain, net)
    found = []
    for forward in (lambda: plain(x, alphas, betas), lambda: ours(net, x, alphas, betas)):
        logits = forward()
        grads = torch.autograd.grad(functional.cross_entropy(logits, y), alphas)
        found.append((logits.detach(), torch.cat(grads)))
    (a, da), (b, db) = found
    return float((a - b).abs().max() / a.abs().max()), float((da - db).abs().max() / da.abs().max())


def step_of(net: nn.Module, forward: Callable[..., Tensor]) -> Step:
    """One training step: forward, backward to weights and architecture, SGD."""
    x, y, alphas, betas = arguments()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)

    def step() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(forward(x, alphas, betas), y).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5)
        optimiser.step()

    return step


def make(name: str) -> Step:
    """A step of "plain" or "binas"."""
    torch.manual_seed(0)
    if name == "plain":
        plain = PlainPcDarts()
        return step_of(plain, plain)
    net = supernet(SPACE, partial=PARTIAL)
    return step_of(net, lambda x, alphas, betas: ours(net, x, alphas, betas))


def peak_bytes(name: str) -> int:
    """Peak resident memory of two steps in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, torch.get_num_threads()))


def _peak(name: str, threads: int) -> int:
    torch.set_num_threads(threads)
    step = make(name)
    for _ in range(2):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Report.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def main(path: Path | None, rounds: int, threads: int) -> None:
    """Time a training step of both supernets."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    logits, gradients = difference(PlainPcDarts(), supernet(SPACE, partial=PARTIAL))
    if max(logits, gradients) > 1e-3:
        raise click.ClickException(f"not the same network: {logits:.1e}, {gradients:.1e}")
    steps = {name: make(name) for name in ("plain", "binas")}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    ratio = median(p / b for p, b in zip(seconds["plain"], seconds["binas"], strict=True))
    report: dict[str, Any] = {
        "schema": "binas.supernet-step/1",
        "machine": platform.processor() or platform.machine(),
        "threads": threads,
        "batch": BATCH,
        "largest_difference_of_logits": logits,
        "largest_difference_of_alpha_gradients": gradients,
        "rows": [
            {
                "name": name,
                "step_s": median(values),
                "samples_s": values,
                "images_per_s": BATCH / median(values),
                "peak_bytes": peak_bytes(name),
            }
            for name, values in seconds.items()
        ],
        "speedup": ratio,
    }
    if path is not None:
        report_file.write(path, report)
    for row in report["rows"]:
        print(
            f"{row['name']:>6}  {row['step_s']:.3f} s a step, {row['images_per_s']:.0f} images/s, "
            f"peak {row['peak_bytes'] / 2**20:.0f} MiB"
        )
    print(f"speed-up {ratio:.2f}; logits differ by {logits:.1e}, gradients by {gradients:.1e}")


if __name__ == "__main__":
    main()
