"""A workshop without compiler and device: invented times, and faults where a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from binas.core.errors import CompileError, DeviceError, TransportError, WrongAnswerError
from binas.core.layer import Layer
from binas.devices.null import FIXED_NS, invented_ns
from binas.runtime.fleet import Job
from binas.runtime.measure import Failure, Measurement, Plan, Result
from binas.runtime.replay import invented, invented_fixed
from binas.search.cells import CellGenotype
from binas.search.cost import layers_of
from binas.search.genotype import Genotype
from binas.search.survey import TABLE_PLAN
from binas.search.workshop import What


@dataclass
class ScriptedBoard:
    """Measures what the workshop has put at a path."""

    shop: Scripted
    name: str = "null"
    dies_after: int = 10**9  # layers, then its link is broken
    lies: bool = False  # its anchor shows it
    slow: float = 1.0
    disturbed: dict[Layer, int] = field(default_factory=dict)  # so often somebody has the core
    anchor: Path | None = None
    measured: list[Layer] = field(default_factory=list)

    def layers(self, job: Job) -> Sequence[Result]:
        """Invented times of what is in the file."""
        chunk = self.shop.at[job.path]
        if len(self.measured) >= self.dies_after:
            raise TransportError(f"the link to {self.name} broke")
        wanted = [chunk[step] for step in job.steps]
        self.measured += wanted
        if self.shop.dying & set(chunk):
            return [Failure(kind="run", message="it died")] * len(wanted)
        return [
            Failure(kind="unstable", message="it wobbles")
            if layer in self.shop.unstable
            else self._timed(layer)
            for layer in wanted
        ]

    def _timed(self, layer: Layer) -> Measurement:
        found = invented(invented_ns(layer) * self.slow, TABLE_PLAN)
        if layer not in self.disturbed:
            return found
        self.disturbed[layer] -= 1
        busy = 2.0 if self.disturbed[layer] >= 0 else 1.0
        return replace(
            found,
            samples_ns=tuple(ns * busy for ns in found.samples_ns),
            yardsticks_ns=(10_000.0 * busy,) * len(found.samples_ns),
            quiet_ns=10_000.0,
        )

    def check(self) -> float:
        """As honest as told."""
        if len(self.measured) >= self.dies_after:
            raise DeviceError(f"{self.name} is gone")
        if self.lies and self.measured:
            raise WrongAnswerError(f"{self.name} computes wrongly")
        return 1000.0 * self.slow

    def time(self, path: Path, plan: Plan) -> Measurement:
        """The sum of a network's invented times, or the fixed cost."""
        if path not in self.shop.networks:
            return invented_fixed()
        layers = layers_of(self.shop.networks[path])
        return invented(sum(map(invented_ns, layers)) + FIXED_NS, plan)

    def lease_s(self, job: Job) -> float:
        """Long enough for any test."""
        return 20.0


@dataclass
class Scripted:
    """A workshop that fails where it is told to."""

    version: str = "k1"
    broken: frozenset[Layer] = frozenset()  # cannot be compiled, nor can what shares its artifact
    dying: frozenset[Layer] = frozenset()  # kills the program that measures it
    unstable: frozenset[Layer] = frozenset()  # fails alone
    tuned: dict[Layer, str] = field(default_factory=dict)  # its tile, where it is no common one
    at: dict[Path, tuple[Layer, ...]] = field(default_factory=dict)
    networks: dict[Path, Genotype | CellGenotype] = field(default_factory=dict)
    boards: list[ScriptedBoard] = field(default_factory=list)

    def __post_init__(self) -> None:
        """One board, unless a test brings its own."""
        self.boards = self.boards or [ScriptedBoard(self)]

    def kernel_version(self) -> str:
        """As told."""
        return self.version

    def tiles(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """As told."""
        return tuple(self.tuned.get(layer, "4x16 u1") for layer in layers)

    @contextmanager
    def compiler(self) -> Iterator[ScriptedCompiler]:
        """Its orders are done when it is asked to finish."""
        yield ScriptedCompiler(self)

    @property
    def measured(self) -> set[Layer]:
        """What the boards were asked for."""
        return {layer for board in self.boards for layer in board.measured}


@dataclass
class ScriptedCompiler:
    """Writes empty files, and tells the workshop what would be in them."""

    shop: Scripted
    orders: dict[Path, What] = field(default_factory=dict)

    def order(self, orders: Mapping[Path, What]) -> None:
        """Nothing is begun."""
        self.orders |= orders

    def finish(self, progress: Callable[[int, int], None]) -> dict[Path, CompileError | None]:
        """All at once."""
        errors: dict[Path, CompileError | None] = {}
        for path, what in self.orders.items():
            bad = isinstance(what, tuple) and self.shop.broken & set(what)
            errors[path] = CompileError("no such kernel") if bad else None
            if isinstance(what, Genotype | CellGenotype):
                self.shop.networks[path] = what
            elif isinstance(what, tuple) and not bad:
                self.shop.at[path] = what
            path.touch()
            progress(len(errors), len(self.orders))
        return errors
