"""What `binas-compile` prints with `--json`, as types; `record.json_schema` reads them."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12


class LayerBecame(TypedDict):
    """A weighted layer of the model, what became of it, and why."""

    name: str
    kind: Literal["binary", "weight-binary", "float"]
    reason: str


class StepKernel(TypedDict):
    """A fused step; the share is of an estimate counted from shapes, no measurement."""

    name: str
    layer: str
    kernel: str
    macs: int
    binary_macs: int
    read_bytes: int
    written_bytes: int
    estimated_share: float
    tile_from: Literal["user", "shipped", "rule"]


class LinkVerified(TypedDict):
    """A link of the chain of truth, compared."""

    binary_layers_exact: bool
    max_abs_error: float
    flips: int


class StepCycles(TypedDict):
    """A step's cycles, estimated."""

    name: str
    cycles: float


class CyclesEstimated(TypedDict):
    """What a pipeline would take if nothing else did: an estimate, no latency."""

    pipeline: str
    total: float
    instructions: int
    steps: list[StepCycles]


class GainMeasured(TypedDict):
    """What a tile gained on a device; rule: the tile of the family's own choice."""

    tuned_ns: float
    rule_ns: float
    machine: str


class GainEstimated(TypedDict):
    """What a tile should gain if a pipeline model is right: no measurement."""

    tuned_cycles: float
    rule_cycles: float
    pipeline: str


class TunedLayer(TypedDict):
    """The best tile of a layer."""

    layer: str
    tile: str
    rule: str
    tried: int
    measured: GainMeasured | None
    estimated: GainEstimated | None


class TuneAnswer(TypedDict):
    """What the tuner came to; `reused` of the layers were known before."""

    database: str
    reused: int
    layers: list[TunedLayer]


class CompileAnswer(TypedDict):
    """`binas-compile`."""

    schema: Literal["binas.compile/1"]
    artifact: str
    artifact_bytes: int
    device: str
    cpu: str
    binary_layers: int
    layers: list[LayerBecame]
    notes: dict[str, str]
    steps: int
    kernels: list[StepKernel]
    emitted: list[str]
    binary_macs: int
    float_macs: int
    weights_bytes: int
    arena_bytes: int
    arena_lower_bound_bytes: int
    verified: dict[str, LinkVerified]
    estimated_cycles: CyclesEstimated | None
    tuned: TuneAnswer | None
