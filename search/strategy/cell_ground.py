"""Cells of any kind: DARTS networks, broad ones, and the stages of a BARS space at one layout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from binas.core.errors import UsageError
from binas.search.cost import Lut
from binas.search.genotype import WEIGHT_FREE, AnyGenotype, AnySpace, Genotype
from binas.search.networks.family import supernet
from binas.search.networks.stages import StageSupernet
from binas.search.networks.supernet import Group, Mixture, Supernet
from binas.search.space import Space
from binas.search.strategy.ground import Ground, Tables, rounded


class CellPrices(Protocol):
    """Latency on one device of networks that differ in the operations of their cells alone."""

    def expected_ns(self, p: Sequence[Tensor]) -> Tensor:
        """E[T] for probabilities per group [edges, ops]; differentiable, float64 ns."""
        ...

    def predict_ns(self, genotype: AnyGenotype) -> float:
        """T of one network."""
        ...

    def fastest_ns(self) -> float:
        """T of the fastest one."""
        ...


class Layout(NamedTuple):
    """Per stage: normal cells, and an index into the widths of the space."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]


class CellGround(Ground[AnySpace, AnyGenotype]):
    """Tables are groups of edges, each [edges, ops], in the order of `Supernet.groups`.

    Strategies that search cells alone stand at one layout of a BARS space: without a budget the
    greatest, with one that whose expected latency, all operations alike, is nearest to the budget.
    """

    def __init__(
        self, space: AnySpace, lut: Lut | CellPrices | None, budget_ns: float | None = None
    ) -> None:
        """Choose the layout; `lut` must be of the space."""
        self.space = space
        self.layout: Layout | None = None
        self.prices: CellPrices | None = None
        if isinstance(lut, Lut):
            self.layout = None if budget_ns is None else layout_near(lut, budget_ns)
            self.prices = StagePrices(lut, self._stages())
        else:
            self.prices = lut
        self.form = self.net()
        self.groups: tuple[Group, ...] = self.form.groups

    def net(self, *, partial: int = 1, real: bool = False) -> Supernet:
        """See `Ground`."""
        if isinstance(self.space, Space):
            return self._stages(partial=partial, real=real)
        return supernet(self.space, partial=partial, real=real)

    def _stages(self, *, partial: int = 1, real: bool = False) -> StageSupernet:
        if not isinstance(self.space, Space):
            raise UsageError("prices of stages for a space of cells", hint="give its own table")
        depths, widths = (None, None) if self.layout is None else self.layout
        return StageSupernet(self.space, depths=depths, widths=widths, partial=partial, real=real)

    def node_channels(self) -> tuple[int, ...]:
        """See `Ground`; later cells have a multiple of the first ones'."""
        if isinstance(self.form, StageSupernet):
            space = self.form.space
            return tuple(
                space.node_channels(at, width) for at, width in enumerate(self.form.widths)
            )
        return (self.space.channels,)

    def logits(self, generator: torch.Generator) -> list[Tensor]:
        """See `Ground`."""
        shapes = [group.shape for group in self.groups]
        return [(1e-3 * torch.randn(s, generator=generator)).requires_grad_() for s in shapes]

    def mixed(self, p: Tables) -> Mixture:
        """See `Ground`."""
        return Mixture.soft(p)

    def only(self, genotype: AnyGenotype) -> Mixture:
        """See `Ground`."""
        return self.form.mixture_of(genotype)

    def most_probable(self, p: Tables) -> AnyGenotype:
        """See `Supernet.derive`."""
        return self.form.derive(p)

    def draw(self, p: Tables, generator: torch.Generator) -> AnyGenotype:
        """Derived from perturbed scores: argmax(log p + g), g = -log(-log U), is a draw from p.

        Source: Maddison et al., 2017, arXiv:1611.00712, section 2 (the Gumbel-max trick).
        """
        uniforms = [torch.rand(v.shape, generator=generator).clamp_(1e-9, 1 - 1e-7) for v in p]
        return self.form.derive([v / -u.log() for v, u in zip(p, uniforms, strict=True)])

    def uniform(self) -> list[Tensor]:
        """See `Ground`."""
        return [torch.full(group.shape, 1 / group.shape[1]) for group in self.groups]

    def expected_ns(self, p: Tables) -> Tensor | None:
        """See `CellPrices`."""
        return None if self.prices is None else self.prices.expected_ns(p)

    def predict_ns(self, genotype: AnyGenotype) -> float | None:
        """See `CellPrices`."""
        return None if self.prices is None else self.prices.predict_ns(genotype)

    def fastest_ns(self) -> float | None:
        """See `CellPrices`."""
        return None if self.prices is None else self.prices.fastest_ns()

    def weight_free(self, p: Tables) -> float:
        """Over all groups but reductions and enhancements."""
        shares = [
            (v @ torch.tensor([op in WEIGHT_FREE for op in group.ops], dtype=v.dtype)).mean()
            for group, v in zip(self.groups, p, strict=True)
            if not group.name.startswith(("reduction", "enhancement"))
        ]
        return float(torch.stack(shares).mean())

    def described(self, p: Tables) -> dict[str, Any]:
        """Per group the mean probability of each operation."""
        pairs = zip(self.groups, p, strict=True)
        return {"ops": {group.name: rounded(v.mean(dim=0)) for group, v in pairs}}


class StagePrices:
    """The prices of a BARS space at one layout."""

    def __init__(self, lut: Lut, form: StageSupernet) -> None:
        """Of the layout of that supernet."""
        self.lut, self.form = lut, form

    def expected_ns(self, p: Sequence[Tensor]) -> Tensor:
        """See `Lut.expected_ns`; depths and widths are certain."""
        return self.lut.expected_ns(self.form.choice(p))

    def predict_ns(self, genotype: AnyGenotype) -> float:
        """See `Lut.predict_ns`."""
        if not isinstance(genotype, Genotype):
            raise UsageError("prices of stages for a network of cells", hint="give its own table")
        return self.lut.predict_ns(genotype)

    def fastest_ns(self) -> float:
        """See `Lut.fastest_at`."""
        return self.lut.fastest_at(self.form.depths, self.form.widths)


def layout_near(lut: Lut, budget_ns: float) -> Layout:
    """Depths and widths, the same in all stages, whose networks fit a budget best.

    Of the layouts that hold a network within the budget, the one whose E[T] with all operations
    alike is nearest to it; without any, the one that holds the fastest network.
    """
    space, found = lut.menu.space, []
    for depth, width in product(space.depths, range(len(space.widths))):
        layout = Layout((depth,) * space.stages, (width,) * space.stages)
        if depth == 0:
            continue  # nothing to search
        form = StageSupernet(space, depths=layout.depths, widths=layout.widths)
        flat = [torch.full(g.shape, 1 / g.shape[1]) for g in form.groups]
        fastest = lut.fastest_at(form.depths, form.widths)
        distance = abs(float(lut.expected_ns(form.choice(flat))) - budget_ns)
        found.append((fastest > budget_ns, fastest if fastest > budget_ns else distance, layout))
    return min(found, key=lambda entry: entry[:2])[2]
