"""What curvature costs DCP-NAS: `python -m benchmarks.curvature --json FILE`.

Times one product with the curvature of a Child's log-likelihood in its architecture parameters, had
three ways on the same supernet and batch: Gauss-Newton from one gradient per image, one exact
Hessian-vector product, and the whole Hessian column by column. Targets: as good as the explicit sum
Σ g gᵀ v (cosine 0.999), five times faster than columns, never slower than one exact product.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import report_file
from binas.core import cli
from binas.search.networks.supernet import Mixture, Supernet
from binas.search.space import Space
from binas.search.strategy import gauss_newton
from binas.search.strategy.batch_statistics import fixed_statistics, taking_statistics
from binas.search.strategy.cell_ground import CellGround
from binas.search.strategy.dcp_nas import image_gradients
from binas.search.strategy.ground import softmax

SPACE = Space(input_shape=(3, 16, 16), classes=16, channels=16)
COSINE, COLUMNS = 0.999, 5.0  # targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Medians in seconds, and how well the product agrees.

    Attributes:
        parameters: Architecture parameters, so many columns.
        images: Of the batch.
        gauss_newton_s: All gradients and one product.
        exact_s: One Hessian-vector product by differentiating twice.
        columns_s: The Hessian, one column after another.
        cosine: Of the product with the explicit Σ g gᵀ v.
        rounds: Repetitions, interleaved.
    """

    parameters: int
    images: int
    gauss_newton_s: float
    exact_s: float
    columns_s: float
    cosine: float
    rounds: int

    @property
    def holds(self) -> bool:
        """Whether all targets are met."""
        fast = COLUMNS * self.gauss_newton_s <= self.columns_s
        return self.cosine >= COSINE and fast and self.gauss_newton_s <= self.exact_s


def compare(space: Space, images: int, rounds: int) -> Costs:
    """Time the three ways in turns, on a supernet of random weights."""
    torch.manual_seed(0)
    ground = CellGround(space, None)
    net, alphas = ground.net(), ground.logits(torch.Generator().manual_seed(0))
    net.train()
    x, y = torch.randn(images, *space.input_shape), torch.randint(space.classes, (images,))
    v = torch.randn(sum(alpha.numel() for alpha in alphas))

    def mean(parameters: gauss_newton.Parameters) -> Tensor:
        return -functional.cross_entropy(net(x, Mixture.soft(softmax(parameters))), y)

    def cheap() -> Tensor:
        return -gauss_newton.product(image_gradients(net, alphas, x, y), v)

    def exact() -> Tensor:
        return gauss_newton.hessian_product(mean, alphas, v)

    def columns() -> Tensor:
        leaves = [alpha.detach().clone().requires_grad_() for alpha in alphas]
        first = gauss_newton.flat(torch.autograd.grad(mean(leaves), leaves, create_graph=True))
        rows = [
            gauss_newton.flat(
                torch.autograd.grad(entry, leaves, retain_graph=True, materialize_grads=True)
            )
            for entry in first
        ]
        return torch.stack(rows) @ v

    def fixed(way: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """The same with batch norms as constants, as the product has them."""

        def run() -> Tensor:
            with fixed_statistics(net):
                return way()

        return run

    # A search has the statistics from the forward pass of the plain gradient.
    with torch.no_grad(), taking_statistics(net):
        net(x, Mixture.soft(softmax(alphas)))
    ways: dict[str, Callable[[], Tensor]] = {
        "cheap": cheap,
        "exact": fixed(exact),
        "columns": fixed(columns),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # the first is a warm-up
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                spent[name].append(time.perf_counter() - start)
    expected = fixed(lambda: _explicit(net, alphas, x, y, v))()
    return Costs(
        parameters=len(v),
        images=images,
        gauss_newton_s=statistics.median(spent["cheap"]),
        exact_s=statistics.median(spent["exact"]),
        columns_s=statistics.median(spent["columns"]),
        cosine=float(torch.cosine_similarity(-cheap(), expected, dim=0)),
        rounds=rounds,
    )


def _explicit(net: Supernet, alphas: list[Tensor], x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """(1/N) Σ g gᵀ v with one backward pass per image."""
    out, total = net(x, Mixture.soft(softmax(alphas))), torch.zeros_like(v)
    for score in -functional.cross_entropy(out, y, reduction="none"):
        g = gauss_newton.flat(
            torch.autograd.grad(score, alphas, retain_graph=True, materialize_grads=True)
        )
        total += g * (g @ v)
    return total / len(x)


@click.command(cls=cli.Command)
@report_file.option
@click.option("--images", type=click.IntRange(1), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(*, file: Path, images: int, rounds: int) -> None:
    """Compare the cost of curvature, with one thread."""
    torch.set_num_threads(1)
    costs = compare(SPACE, images, rounds)
    report = {"schema": "binas.benchmark.curvature/1", **asdict(costs), "holds": costs.holds}
    report_file.write(file, report)
    cli.say(
        f"Gauss-Newton {1e3 * costs.gauss_newton_s:.0f} ms, exact product "
        f"{1e3 * costs.exact_s:.0f} ms, {costs.parameters} columns {costs.columns_s:.1f} s; "
        f"cosine with the explicit sum {costs.cosine:.6f}"
    )


if __name__ == "__main__":
    main()
