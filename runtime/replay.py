"""Results without a device: from a stored table, or invented by the null device.

For everything that needs latencies and no board: tests of the search, of tables, of reports.
"""

from __future__ import annotations

from collections.abc import Sequence

from binas.core.layer import Layer
from binas.devices.null import FIXED_NS, invented_ns
from binas.runtime.measure import Facts, Measurement, Plan, Result, measured
from binas.runtime.session import INVENTED
from binas.runtime.table import LatencyTable


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
