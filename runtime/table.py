"""LatencyTable: what every layer of a search space takes on one board.

A failure is an entry, never a missing key and never infinity. Tables of other boards, kernel
versions or thread counts never mix. A table carries how well the sum of its layers predicts whole
networks, because that is what it is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from binas.core.errors import MeasureError, UsageError
from binas.core.layer import Layer
from binas.runtime.fit import Fit, Pair, fit_of
from binas.runtime.measure import Failure, Measurement, Result, quiet_ns_of
from binas.runtime.passes import Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A layer and what came of measuring it.

    Attributes:
        layer: The layer.
        result: Its measurement, or why there is none.
        tile: The one that its kernel was made with, which a tuning database may choose; empty where
            there is nothing to choose, or where it is not known.
    """

    layer: Layer
    result: Result
    tile: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A whole network that was measured.

    Attributes:
        name: For people.
        layers: Its fused steps.
        measured_ns: Its latency.
    """

    name: str
    layers: tuple[Layer, ...]
    measured_ns: float


class _Indexed:
    """A place for the index that `lookup` makes on first use; no field, so never on disk."""

    __slots__ = ("_index",)

    _index: dict[Layer, Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable(_Indexed):
    """Layer → Measurement or Failure, for one board.

    Attributes:
        device: Name of the device.
        cpu: LLVM's name of the CPU that the kernels were made for.
        arch: Its architecture.
        kernel_version: Digest of the kernel generators.
        threads: Threads of the networks.
        facts: What else describes the board, such as its `model`.
        entries: One per layer.
        fixed: What a run costs besides its layers: a network with next to no work.
        step_ns: What a step of a network costs besides its time alone: its code and data are not in
            the nearest cache. Found by `fitted`; 0 until then.
        fit: How far to trust the sum; None until it is measured.
        agreement: How well the passes agree; None where each layer was measured once.
    """

    SCHEMA: ClassVar[str] = "binas.table/1"

    device: str
    cpu: str
    arch: str
    kernel_version: str
    threads: int
    entries: tuple[Entry, ...]
    fixed: Measurement
    facts: dict[str, str] = field(default_factory=dict)
    step_ns: float = 0.0
    fit: Fit | None = None
    agreement: Agreement | None = None

    def __post_init__(self) -> None:
        """Refuse a table that says two things of one layer, or is of no threads.

        Raises:
            UsageError: That.
        """
        twice = len(self.entries) - len({entry.layer for entry in self.entries})
        if twice:
            raise UsageError(f"the table of {self.device} holds {twice} layers more than once")
        if self.threads < 1:
            raise UsageError(f"the table of {self.device} is of {self.threads} threads")

    def lookup(self, layer: Layer) -> Result:
        """What came of measuring a layer.

        Raises:
            UsageError: The table has no such layer.
        """
        found = self._by_layer().get(layer)
        if found is None:
            raise UsageError(
                f"the table of {self.device} has no layer {layer}",
                hint="it was built for another space: build it for this one with binas-table build",
            )
        return found

    def latency_ns(self, layer: Layer) -> float:
        """What a layer adds to a network: its median latency alone, and the cost of a step.

        Raises:
            UsageError: The table has no such layer.
            MeasureError: Its measurement failed.
        """
        found = self.lookup(layer)
        if isinstance(found, Failure):
            raise MeasureError(
                f"the table of {self.device} has no latency for {layer}: "
                f"{found.kind}, {found.message}",
                hint="build the table again: finished layers are kept",
            )
        return found.median_ns + self.step_ns

    @property
    def fixed_ns(self) -> float:
        """Median cost of a run besides its layers."""
        return self.fixed.median_ns

    @property
    def quiet_ns(self) -> float | None:
        """The board's yardstick when it is left alone; None where it has none."""
        return quiet_ns_of(entry.result for entry in self.entries)

    def sum_ns(self, layers: Iterable[Layer]) -> float:
        """Predicted latency of a network: its layers and the fixed cost.

        Raises:
            UsageError: The table lacks a layer.
            MeasureError: The measurement of a layer failed.
        """
        return self.fixed_ns + sum(self.latency_ns(layer) for layer in layers)

    @property
    def failures(self) -> tuple[Entry, ...]:
        """The entries that are no measurements."""
        return tuple(entry for entry in self.entries if isinstance(entry.result, Failure))

    def _by_layer(self) -> dict[Layer, Result]:
        try:
            return self._index
        except AttributeError:
            index = {entry.layer: entry.result for entry in self.entries}
            object.__setattr__(self, "_index", index)
            return index


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One layer in two tables; a time is None where it failed or is not there."""

    layer: Layer
    first_ns: float | None
    second_ns: float | None

    @property
    def ratio(self) -> float | None:
        """Second over first."""
        if self.first_ns is None or self.second_ns is None:
            return None
        return self.second_ns / self.first_ns


def fitted(table: LatencyTable, networks: Sequence[Network]) -> LatencyTable:
    """The table with the cost of a step that these networks show, and how well it predicts them.

    A layer measured alone finds its code and data in the nearest cache, in a network it does not.
    c = Σ_i (measured_i - sum_i) / Σ_i steps_i is charged per step. Each network of the fit is
    predicted with the c of all others, so the error is that of networks that c has not seen.

    Raises:
        UsageError: Fewer than two networks, or a layer that the table lacks.
        MeasureError: The measurement of a layer failed.
    """
    bare = replace(table, step_ns=0.0)
    sums = [bare.sum_ns(network.layers) for network in networks]
    gaps = [network.measured_ns - ns for network, ns in zip(networks, sums, strict=True)]
    steps = [len(network.layers) for network in networks]
    pairs = []
    for place, network in enumerate(networks):
        others = max(1, sum(steps) - steps[place])
        cost = (sum(gaps) - gaps[place]) / others * steps[place]
        pairs.append(
            Pair(
                name=network.name,
                predicted_ns=sums[place] + cost,
                measured_ns=network.measured_ns,
            )
        )
    return replace(bare, step_ns=sum(gaps) / sum(steps), fit=fit_of(pairs))


def must_match(first: LatencyTable, second: LatencyTable) -> None:
    """Check that two tables say something about the same thing.

    Raises:
        UsageError: Another board, CPU, kernel version or thread count; all that differs is named.
    """
    differs = [
        f"{name} is {getattr(first, name)!r} and {getattr(second, name)!r}"
        for name in ("device", "arch", "cpu", "kernel_version", "threads")
        if getattr(first, name) != getattr(second, name)
    ]
    differs += [
        f"{key} is {first.facts[key]!r} and {second.facts[key]!r}"
        for key in ("model",)  # "host" is another machine elsewhere
        if key in first.facts and key in second.facts and first.facts[key] != second.facts[key]
    ]
    if differs:
        raise UsageError(
            f"these tables do not belong together: {'; '.join(differs)}",
            hint="measure both on one board with one version of binas and as many threads",
        )


def _must_have_equal_tiles(first: LatencyTable, second: LatencyTable) -> None:
    """Refuse to mix what two tuning databases made of a layer, as far as the tables say."""
    tiles = {entry.layer: entry.tile for entry in first.entries}
    differ = [
        f"{entry.layer} with {tiles[entry.layer]!r} and {entry.tile!r}"
        for entry in second.entries
        if entry.tile and tiles.get(entry.layer) and entry.tile != tiles[entry.layer]
    ]
    if differ:
        raise UsageError(
            f"these tables have {len(differ)} layer{'s' * (len(differ) > 1)} of other tiles: "
            f"{differ[0]}",
            hint="build both with one tuning database (docs/tuning.md)",
        )


def merge(first: LatencyTable, second: LatencyTable) -> LatencyTable:
    """The layers of both; where both have one, a measurement wins, then the one less doubted.

    Fit and agreement are left out: they were those of other entries. The cost of a step is the
    first's, or the second's where the first has none.

    Raises:
        UsageError: The tables do not belong together, or were made with other tiles.
    """
    must_match(first, second)
    _must_have_equal_tiles(first, second)
    entries = {entry.layer: entry for entry in first.entries}
    for entry in second.entries:
        held = entries.get(entry.layer)
        if held is None or _badness(entry.result) < _badness(held.result):
            entries[entry.layer] = entry
    return replace(
        first,
        entries=tuple(entries.values()),
        fixed=min(first.fixed, second.fixed, key=_badness),
        facts={**second.facts, **first.facts},
        step_ns=first.step_ns or second.step_ns,
        fit=None,
        agreement=None,
    )


def compare(first: LatencyTable, second: LatencyTable) -> tuple[Difference, ...]:
    """Every layer of either table, in the first's order, then the second's.

    Raises:
        UsageError: The tables do not belong together.
    """
    must_match(first, second)
    layers = dict.fromkeys(entry.layer for table in (first, second) for entry in table.entries)
    return tuple(
        Difference(layer=layer, first_ns=_time(first, layer), second_ns=_time(second, layer))
        for layer in layers
    )


def _time(table: LatencyTable, layer: Layer) -> float | None:
    result = table._by_layer().get(layer)
    return result.median_ns if isinstance(result, Measurement) else None


def _badness(result: Result) -> int:
    return 1_000_000 if isinstance(result, Failure) else len(result.doubts)
