"""What those commands of this room print with `--json` that write no record, as types."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12


class PublishedGenotype(TypedDict):
    """A genotype of the package with its source and its counts."""

    name: str
    digest: str
    source: str
    note: str
    input_shape: list[int]
    params: int
    scales: int
    binary_weights: int
    wa_macs: int
    w_macs: int
    real_macs: int


class ListAnswer(TypedDict):
    """`binas-search list`."""

    schema: Literal["binas.search-list/1"]
    spaces: list[str]
    data: list[str]
    strategies: list[str]
    genotypes: list[PublishedGenotype]


class ExportAnswer(TypedDict):
    """`binas-search export`."""

    schema: Literal["binas.export/1"]
    model: str
    bytes: int
    nodes: int
    binary_convolutions: int
    accuracy: float


class SettingsAnswer(TypedDict):
    """`--show-config`: every setting, and where those that are no defaults come from."""

    schema: Literal["binas.settings/1"]
    settings: dict[str, Any]
    origins: dict[str, str]


class ParetoNetwork(TypedDict):
    """A trained network on the plane of accuracy and latency."""

    run: str
    accuracy: float
    latency_us: float
    front: bool


class ParetoAnswer(TypedDict):
    """`binas-search pareto`."""

    schema: Literal["binas.pareto/1"]
    device: str | None
    latency: Literal["predicted", "measured"]
    networks: list[ParetoNetwork]


class TableFit(TypedDict):
    """How well sums of a table's layers predict whole networks; shares, not percent."""

    networks: int
    median_abs_relative_error: float
    worst: float
    spearman: float


class TableBuilt(TypedDict):
    """`binas-table build`."""

    schema: Literal["binas.table-build/1"]
    table: str
    device: str
    layers: int
    failures: int
    reused: int
    fixed_ns: float
    fit: TableFit | None
