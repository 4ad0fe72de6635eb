"""What benchmarks that are held to targets write.

`binas.benchmark/3` is of all that is timed here, every sample kept; the others are of ARM code as
LLVM's models price it, and of what a network takes of disk and memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from benchmarks.arm_works import Out, work_name
from benchmarks.commit import UNKNOWN

Method = Literal["chain", "branches", "call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine and what ran on it; no name, no address.

    Attributes:
        cpu: As the machine names it.
        best: The most capable of our CPU names whose code runs on it.
        cores: Cores online.
        core: The one that everything was pinned to.
        load_before: Runnable programs in the minute before.
        load_after: The same at the end; ours is one of them.
        versions: Package → version.
        commit: Of the sources (`commit.of_sources`); "unknown" in files of schema 2, which lack it.
    """

    cpu: str
    best: str
    cores: int
    core: int
    load_before: float | None
    load_after: float | None
    versions: dict[str, str]
    commit: str = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What registers alone reach.

    Attributes:
        unit: "GMAC/s" or "GHz".
        median: Of the samples.
        samples: Taken between the works of the whole run.
    """

    unit: str
    median: float
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine on one work.

    Attributes:
        work: Such as "bits_to_bits/r18_64x56".
        engine: Such as "binas" or "openvino-binary".
        median_ns: Of `samples_ns`; None where nothing was timed, and `note` says why.
        samples_ns: One per round. A slope of a round is (median of its calls of the model with
            several layers - the same with one) / layers more; how many, `calls_ns` tells.
        checked: Whether the numbers it computed were compared with a reference and agreed.
        gmacs_executed: 1e9 multiply-adds that one layer (or one network, its binary layers only)
            needs: input channels padded to words where the operands are bits, padded taps left out.
        method: How the time of a layer is had; "call" is the time of one call.
        check: What the comparison found, or why there was none.
        calls_ns: Depth of the model → the mean time of a call in every batch that counts.
        disturbed_ns: The same of the batches that do not count: somebody else had the core, or the
            yardstick beside it was slower than on the machine left alone.
        peaks: Name of a ceiling → its median while the engines of this work took turns: the clock
            of a CPU is not the same for the whole of a run.
        note: Anything a reader must know; empty otherwise.
    """

    work: str
    engine: str
    median_ns: float | None
    samples_ns: tuple[float, ...]
    checked: bool
    gmacs_executed: float
    method: Method
    check: str
    calls_ns: dict[str, tuple[float, ...]]
    disturbed_ns: dict[str, tuple[float, ...]]
    peaks: dict[str, float]
    note: str = ""

    @property
    def gmacs_per_s(self) -> float | None:
        """Executed multiply-adds per second."""
        return self.gmacs_executed / (self.median_ns * 1e-9) if self.median_ns else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of a benchmark."""

    SCHEMA: ClassVar[str] = "binas.benchmark/3"

    host: Host
    ceiling: dict[str, Peak]
    rows: tuple[Row, ...]

    def find(self, work: str, engine: str) -> Row | None:
        """The row of an engine on a work, if it was timed and its numbers agreed."""
        for row in self.rows:
            if (row.work, row.engine) == (work, engine) and row.checked and row.median_ns:
                return row
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWithoutCommit(Report):
    """What was written before the commit was: it fits, and its commit is unknown."""

    SCHEMA: ClassVar[str] = "binas.benchmark/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One layer of one build in one CPU's model.

    Attributes:
        work: Channels and rows.
        out: What leaves it.
        build: Device it was compiled for.
        kernel: Tile and instruction set, as the artifact says.
        model: LLVM's name of the CPU.
        inner: MACs per cycle of the inner loop.
        tile: Of a whole tile.
        row: Of a whole row.
        row_instructions: Instructions of that row.
        stack_accesses: Those among them that read or write the stack.
    """

    work: str
    out: Out
    build: str
    kernel: str
    model: str
    inner: float
    tile: float
    row: float
    row_instructions: int
    stack_accesses: int

    @property
    def name(self) -> str:
        """Of the work, as targets know it."""
        return work_name(self.work, self.out, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReport:
    """Binary MACs per cycle of layers: an estimate.

    Attributes:
        llvm_mca: Version of the tool whose models they are.
        commit: Of the sources.
        rows: One per layer, result, build and model.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark.arm/2"

    kind: Literal["estimate"] = "estimate"
    llvm_mca: str
    commit: str
    rows: tuple[ArmRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmStep:
    """A step of a network, and its share of the cycles."""

    step: str
    kernel: str
    macs: int
    cycles: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmNetworkReport:
    """Where the cycles of Bi-Real-18 go: an estimate.

    Attributes:
        device: It was compiled for.
        model: LLVM's name of its CPU.
        commit: Of the sources.
        total_cycles: Of a run.
        cycles: Kind of step → its cycles; "around": of what stands around the steps.
        rest_cycles: Of all that is neither a binary nor a float convolution.
        binary_macs: Of the binary convolutions, padded taps included.
        steps: In order.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark.arm_network/2"

    kind: Literal["estimate"] = "estimate"
    device: str
    model: str
    commit: str
    total_cycles: float
    cycles: dict[str, float]
    rest_cycles: float
    binary_macs: int
    steps: tuple[ArmStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintReport:
    """What Bi-Real-18 takes to compile, to store and to run.

    Attributes:
        device: It was compiled for.
        cpu: The machine that compiled, as it names itself.
        commit: Of the sources.
        compile_s: With an empty kernel cache.
        artifact_bytes: The file.
        weights_bytes: Stored in it, float ones included.
        arena_bytes: Planned.
        lower_bound_bytes: No arena for these tensors can be smaller.
        peak_bytes: Most memory that a run had; None where the device is another machine.
    """

    SCHEMA: ClassVar[str] = "binas.benchmark.footprint/2"

    device: str
    cpu: str
    commit: str
    compile_s: float
    artifact_bytes: int
    weights_bytes: int
    arena_bytes: int
    lower_bound_bytes: int
    peak_bytes: int | None


AnyReport = Report | ArmReport | ArmNetworkReport | FootprintReport
