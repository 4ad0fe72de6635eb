"""Results without a device: from a stored table, or invented by the null device.

For everything that needs latencies and no board: tests of the search, of tables, of reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from binas.core import record
from binas.core.layer import Layer
from binas.devices.link import Link
from binas.devices.null import FIXED_NS, NullLink, invented_ns
from binas.runtime.measure import Facts, Measurement, Plan, Result, measured
from binas.runtime.table import LatencyTable

INVENTED = "invented by a null device, not measured"


def pretend(link: NullLink, layers: Sequence[Layer]) -> None:
    """Tell a null device what to answer for these layers: what its table says, if it has one.

    Raises:
        UsageError: The table cannot be read, or lacks a layer.
        MeasureError: It has a failure where a layer should be.
    """
    path = link.device.link.table
    if not path:
        link.pretend(layers)
        return
    table = record.load(LatencyTable, Path(path).expanduser())
    link.replay([table.latency_ns(layer) for layer in layers], table.fixed_ns)


def doubts(link: Link) -> tuple[str, ...]:
    """What has to be said of every answer of a null device."""
    replayed = link.device.link.table
    return (f"{INVENTED}: replayed from {replayed}" if replayed else INVENTED,)


def replay(layers: Sequence[Layer], table: LatencyTable | None = None) -> list[Result]:
    """What a device would answer for these layers.

    Args:
        layers: In any order, also repeated.
        table: Where the answers come from; without one they are invented and say so.

    Raises:
        UsageError: The table lacks a layer.
    """
    if table is not None:
        return [table.lookup(layer) for layer in layers]
    return [invented(invented_ns(layer)) for layer in layers]


def invented(ns: float, plan: Plan | None = None) -> Measurement:
    """A measurement of nothing, with that as its first doubt."""
    plan = plan or Plan()
    return measured(
        [ns] * plan.repeats,
        [0] * plan.repeats,
        max(1, round(plan.min_batch_ns / ns)),
        plan=plan,
        facts=Facts(),
        doubts=(INVENTED,),
    )


def invented_fixed() -> Measurement:
    """The null device's fixed cost per run."""
    return invented(FIXED_NS)
