"""The space of a search as strategies see it: tables of alternatives, networks, prices.

A strategy knows a list of tables [rows, alternatives], one softmax per row. On cells
(`cell_ground.py`) a table is a group of edges with its operations; BARS also chooses depths and
widths (`layout_ground.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from binas.core.errors import SearchError, UsageError
from binas.search.data import Dataset
from binas.search.genotype import AnyGenotype, AnySpace
from binas.search.retrain import must_fit

Tables = Sequence[Tensor]
SpaceT = TypeVar("SpaceT", bound=AnySpace)
GenotypeT = TypeVar("GenotypeT", bound=AnyGenotype)

# A band below the budget, widened downwards only while nothing lies within it.
BANDS = (0.97, 0.92, 0.85, 0.75, 0.5, 0.0)
FLATTENINGS = (1.0, 2.0, 4.0)  # temperatures: a sharp distribution may have no mass in the band
DRAWS = 192  # per flattening


class Ground(ABC, Generic[SpaceT, GenotypeT]):
    """What differs between kinds of space.

    Attributes:
        space: Where networks come from.
    """

    space: SpaceT

    @abstractmethod
    def net(self, *, partial: int = 1, real: bool = False) -> nn.Module:
        """A supernet with new weights.

        Args:
            partial: Operations see one channel in so many.
            real: Without binarisation: the Parent.
        """

    @abstractmethod
    def logits(self, generator: torch.Generator) -> list[Tensor]:
        """Architecture parameters α, 1e-3 · N(0, 1)."""

    @abstractmethod
    def mixed(self, p: Tables) -> Any:
        """What the supernet is given to run every alternative with its weight."""

    @abstractmethod
    def only(self, genotype: GenotypeT) -> Any:
        """What the supernet is given to run one network."""

    @abstractmethod
    def most_probable(self, p: Tables) -> GenotypeT:
        """The network derived from a distribution by the rule of the space."""

    @abstractmethod
    def draw(self, p: Tables, generator: torch.Generator) -> GenotypeT:
        """A network drawn from a distribution."""

    @abstractmethod
    def uniform(self) -> list[Tensor]:
        """Every alternative alike."""

    @abstractmethod
    def expected_ns(self, p: Tables) -> Tensor | None:
        """E[T] of independent choices with probabilities p, float64 ns; None without prices."""

    @abstractmethod
    def predict_ns(self, genotype: GenotypeT) -> float | None:
        """T of one network; None without prices."""

    @abstractmethod
    def fastest_ns(self) -> float | None:
        """T of the fastest network; None without prices."""

    @abstractmethod
    def weight_free(self, p: Tables) -> float:
        """Mean probability of operations without weights, over the edges of normal cells.

        Differentiable searches drift to them, since they carry gradients from the first step; what
        is left then convolves nothing (Zela et al., 2020, arXiv:1909.09656). Reductions are not
        counted: their input is convolved whatever their edges do.
        """

    @abstractmethod
    def described(self, p: Tables) -> dict[str, Any]:
        """The distribution for the log: what the pictures of a search are drawn from."""

    def node_channels(self) -> tuple[int, ...]:
        """Channels that nodes of the supernet's cells have, where they are given."""
        return ()

    def must_be_possible(self, data: Dataset, budget_ns: float | None, parts: int = 1) -> None:
        """Check, before anything is trained, that a search can end with a network.

        Args:
            data: Its training images.
            budget_ns: The latency to meet.
            parts: Into how many the channels of every node must divide.

        Raises:
            UsageError: The images do not fit the space or are too few, channels do not divide, or
                there is a budget without prices.
            SearchError: The budget is below the fastest network of the space.
        """
        must_fit(self.space, data)
        if len(data.x_train) < 2:
            raise UsageError(
                f"{data.name} has 1 training image, a search needs 2: "
                "one half trains weights, the other judges architectures",
                hint="give another --data",
            )
        for channels in self.node_channels():
            if channels % parts:
                raise _indivisible(channels, parts)
        if budget_ns is None:
            return
        fastest = self.fastest_ns()
        if fastest is None:
            raise UsageError("a budget needs a latency table", hint="give --table")
        if fastest > budget_ns:
            raise SearchError(
                f"no network of the space is within {budget_ns / 1e3:.7g} us: "
                f"the fastest takes {fastest / 1e3:.7g} us",
                hint="raise --budget, or add narrower widths to the space",
            )

    def candidates(
        self, p: Tables, count: int, generator: torch.Generator, budget_ns: float | None
    ) -> tuple[GenotypeT, ...]:
        """Networks to evaluate: the most probable one and samples, or those within the band.

        Args:
            p: Final probabilities, or scores of 0 or more that are as good.
            count: How many to return, at most.
            generator: Of the draws.
            budget_ns: Predicted latency must lie in [0.97, 1] of it; in a wider band if none does.

        Raises:
            SearchError: Every network drawn is above the budget.
        """
        if budget_ns is None:
            pool = dict.fromkeys([self.most_probable(p)])
            for _ in range(DRAWS):
                if len(pool) >= count:
                    break
                pool[self.draw(p, generator)] = None
            return tuple(pool)
        priced = self._priced(p, count, generator, budget_ns)
        for band in BANDS:
            fits = [g for g, ns in priced.items() if band * budget_ns <= ns <= budget_ns]
            if fits:
                return tuple(fits[:count])
        raise SearchError(
            f"of {len(priced)} networks drawn none is within {budget_ns / 1e3:.1f} us; "
            f"the fastest takes {min(priced.values()) / 1e3:.1f} us",
            hint="raise --budget, or add narrower widths to the space",
        )

    def _priced(
        self, p: Tables, count: int, generator: torch.Generator, budget_ns: float
    ) -> dict[GenotypeT, float]:
        """Enough drawn networks for `count` in the narrowest band, with their latency."""
        pool: dict[GenotypeT, float] = {}
        first = self.most_probable(p)
        pool[first] = self._price(first)
        for flattening in FLATTENINGS:
            flat = [v.clamp(min=1e-12) ** (1 / flattening) for v in p]
            for _ in range(DRAWS):
                genotype = self.draw(flat, generator)
                if genotype not in pool:
                    pool[genotype] = self._price(genotype)
            if sum(BANDS[0] * budget_ns <= ns <= budget_ns for ns in pool.values()) >= count:
                break
        return pool

    def _price(self, genotype: GenotypeT) -> float:
        found = self.predict_ns(genotype)
        if found is None:
            raise UsageError("a budget needs a latency table", hint="give --table")
        return found


def _indivisible(channels: int, parts: int) -> UsageError:
    """The error of partial channels that a space does not have."""
    *most, last = [str(n) for n in range(1, channels + 1) if channels % n == 0]
    able = f"{', '.join(most)} or {last}" if most else last
    return UsageError(
        f"partial is {parts}: {channels} channels of a node do not divide into {parts} parts",
        hint=f"take partial {able}, or a space whose channels are a multiple of {parts}",
    )


def entropy(p: Tables) -> Tensor:
    """Σ H̄(p) / log n over all tables of n alternatives, H̄ the mean over a table's rows.

    H(p) = -Σ p log p of a row is divided by its greatest value, so that every table counts from 0
    (certain) to 1 (uniform), however many rows and alternatives it has. BARS' code adds H itself,
    and mixes the depths of all stages in one distribution.
    """
    parts = [
        -(v * v.clamp(min=1e-12).log()).sum(-1).mean() / torch.tensor(float(v.shape[-1])).log()
        for v in p
        if v.shape[-1] > 1
    ]
    return torch.stack([torch.zeros(()), *parts]).sum()


def rounded(values: Tensor) -> list[float]:
    """Four digits, for a log."""
    return [round(float(value), 4) for value in values]


def softmax(logits: Tables) -> list[Tensor]:
    """Probabilities of every row."""
    return [values.softmax(-1) for values in logits]
