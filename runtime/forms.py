"""What the commands of this room print with `--json`, as types; `record.json_schema` reads them.

`layer` is the fields of a `core.layer.Layer`; times are in ns.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

# pydantic reads no other TypedDict before Python 3.12
from typing_extensions import TypedDict


class TopEntry(TypedDict):
    """One of an output's largest values; `image` in a batch. A value that is not finite is None."""

    image: NotRequired[int]
    index: int
    label: str
    value: float | None


class OutputSummary(TypedDict):
    """An output in a few words."""

    name: str
    shape: list[int]
    min: float | None
    max: float | None
    mean: float | None
    top: list[TopEntry]


class TensorCheck(TypedDict):
    """One tensor, compared with the reference; `step` is "output" for a whole run.

    Where `rows` is not 0, digests of image rows were compared: `wrong` counts rows, and
    `max_abs_error` is what no float differs by.
    """

    step: str
    tensor: str
    dtype: Literal["float32", "bits"]
    binary: bool
    elements: int
    flips: int
    wrong: int
    max_abs_error: float
    rows: int


class Verified(TypedDict):
    """What a verification found; one that fails prints no answer."""

    binary_layers_exact: bool
    flips: int
    max_abs_error: float
    judged_outputs: bool
    checks: list[TensorCheck]


class RunAnswer(TypedDict):
    """`binas-run`."""

    schema: Literal["binas.run/1"]
    device: str
    emulated: bool
    outputs: list[OutputSummary]
    verify: NotRequired[Verified]


class Timed(TypedDict, total=False):
    """A measurement with all its samples, or the failure in its place."""

    median_ns: float
    p10_ns: float
    p90_ns: float
    samples_ns: list[float]
    runs_per_batch: int
    preemptions: list[int]
    doubts: list[str]
    facts: dict[str, Any]
    yardsticks_ns: list[float]
    quiet_ns: float | None
    failure: dict[str, str]


class TimedLayer(Timed):
    """A step of a network, timed alone."""

    step: str
    layer: dict[str, Any]
    kernel: str


class BenchAnswer(TypedDict):
    """`binas-bench`."""

    schema: Literal["binas.bench/1"]
    artifact: str
    model: str
    model_digest: str
    kernel_version: str
    device: str
    cpu: str
    plan: dict[str, Any]
    load_ns: float
    first_ns: float
    round_trip_ns: float | None
    sustained: dict[str, float] | None
    steady: Timed
    layers: list[TimedLayer]


class TableEntry(TypedDict):
    """A layer of a table: its latency, or why there is none."""

    layer: dict[str, Any]
    text: str
    median_ns: NotRequired[float]
    p10_ns: NotRequired[float]
    p90_ns: NotRequired[float]
    doubts: NotRequired[list[str]]
    failure: NotRequired[dict[str, str]]


class TableAnswer(TypedDict):
    """`binas-table show`: no samples."""

    schema: Literal["binas.table-summary/1"]
    device: str
    cpu: str
    arch: str
    kernel_version: str
    threads: int
    facts: dict[str, str]
    fixed_ns: float
    step_ns: float
    entries: list[TableEntry]
    failures: int
    doubts: dict[str, int]
    agreement: dict[str, float] | None
    fit: dict[str, Any] | None


class LayerDifference(TypedDict):
    """A layer in two tables; None where one has no time of it."""

    layer: dict[str, Any]
    text: str
    first_ns: float | None
    second_ns: float | None
    ratio: float | None


class TablesCompared(TypedDict):
    """`binas-table compare`."""

    schema: Literal["binas.table-compare/1"]
    layers: int
    in_both: int
    median_abs_difference: float
    entries: list[LayerDifference]


class TablesMerged(TypedDict):
    """`binas-table merge`."""

    schema: Literal["binas.table-merge/1"]
    table: str
    layers: int
    failures: int


class ReportAnswer(TypedDict):
    """`binas-report`."""

    schema: Literal["binas.report/1"]
    report: str
    sections: list[str]
