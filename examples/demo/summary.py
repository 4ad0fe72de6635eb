"""What a demo run found, as one record: `report.json`, from which `report.html` is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from binas.search.genotype import Genotype

Kind = Literal["binary", "float", "plain"]  # arithmetic of a step; plain: pools, adds, concats


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """A step of a network, measured by itself."""

    name: str
    layer: str
    kind: Kind
    measured_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """One network.

    Attributes:
        seed: Of its search and its training.
        accuracy: Share of the held-out images that are right.
        predicted_us: Sum of the table's layers and the fixed cost.
        measured_us: Median on the device.
        p10_us: A tenth of the samples lie below.
        p90_us: A tenth of the samples lie above.
        biops: Operations on bits, two per multiply-accumulate.
        flops: Operations on floats of convolutions and dense layers.
        binary_weight_bytes: Bytes of the 1-bit weights.
        artifact_bytes: Size of the file that goes to a board.
        genotype: What it was built from.
        layers: Its steps in order of execution.
        doubts: What speaks against the measurement.
    """

    seed: int
    accuracy: float
    predicted_us: float
    measured_us: float
    p10_us: float
    p90_us: float
    biops: int
    flops: int
    binary_weight_bytes: int
    artifact_bytes: int
    genotype: Genotype
    layers: tuple[LayerTime, ...]
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch of a search.

    Attributes:
        accuracy: Of the supernet on validation images; None while the architecture is not trained.
        expected_us: Latency that the table gives for its choices.
        entropy: How undecided it is: 1 where every alternative is alike, 0 where all is decided.
    """

    epoch: int
    accuracy: float | None
    expected_us: float
    entropy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A network drawn when deriving: accuracy on validation with the supernet's weights."""

    accuracy: float
    predicted_us: float
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A search from its first epoch to the networks drawn from it."""

    epochs: tuple[Epoch, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Over all artifacts and links.

    Attributes:
        binary_layers_exact: Whether every bit and every binary layer is that of the reference.
        max_abs_error: Largest difference of a float value.
        flips: Bits that fell to the other side where the reference is at its threshold.
        links: What was compared with what.
    """

    binary_layers_exact: bool
    max_abs_error: float
    flips: int
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What emulation tells of a board that is not there: instructions, and no latency.

    Attributes:
        device: Its name.
        cpu: What the code is made for.
        kind: Says so in the file, too.
        instructions: Executed in one inference, counted by an emulator.
    """

    device: str
    cpu: str
    kind: Literal["estimate"]
    instructions: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stair:
    """A binary 3x3 convolution of `channels` to `channels`, measured."""

    channels: int
    macs: int
    measured_us: float
    p10_us: float
    p90_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The whole run.

    Attributes:
        data: Name of the data set.
        device: Name of the device that was measured on.
        cpu: What it calls itself.
        target_us: Latency that the second search was asked for.
        target_ratio: That, over the baseline's measured latency.
        baseline: Searched without latency.
        latency_aware: Searched with it.
        parent: The real-valued twin of `latency_aware`.
        searches: The courses of the two.
        verify: What was compared.
        estimate: Of the board that is not there.
        staircase: Latency over width.
        fixed_us: What a run costs besides its layers.
        table_layers: Layers of the latency table.
        seconds: What each stage took when it was done.
        versions: Of everything that decides the result.
    """

    SCHEMA: ClassVar[str] = "binas.demo/1"

    data: str
    device: str
    cpu: str
    target_us: float
    target_ratio: float
    baseline: Net
    latency_aware: Net
    parent: Net
    searches: dict[Literal["baseline", "latency_aware"], Course]
    verify: Verified
    estimate: Estimate
    staircase: tuple[Stair, ...]
    fixed_us: float
    table_layers: int
    seconds: dict[str, float]
    versions: dict[str, str]
