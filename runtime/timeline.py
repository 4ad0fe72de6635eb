"""Where the time of a network goes: a table for people, CSV for sheets, a trace for Perfetto.

Layers are measured one by one and the network as a whole; what is left between the two has a row of
its own, so that the rows add up to the total.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from binas.runtime.artifact import Step
from binas.runtime.measure import Failure, Measurement, Result

REST = "rest of the run"  # fixed cost; negative where layers cost more alone than in the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; times are None where the measurement failed."""

    name: str
    layer: str
    kernel: str
    median_ns: float | None
    p10_ns: float | None
    p90_ns: float | None
    share: float | None
    remark: str


def rows(steps: Sequence[Step], results: Sequence[Result], total: Measurement) -> tuple[Row, ...]:
    """One row per step in plan order, then the rest; they add up to the total."""
    whole = total.median_ns
    found = [_row(s, r, whole) for s, r in zip(steps, results, strict=True)]
    rest = whole - sum(row.median_ns or 0.0 for row in found)
    found.append(
        Row(
            name=REST,
            layer="",
            kernel="",
            median_ns=rest,
            p10_ns=None,
            p90_ns=None,
            share=rest / whole,
            remark="",
        )
    )
    return tuple(found)


def text(table: Sequence[Row], total: Measurement) -> str:
    """An aligned table in microseconds, largest first, at most 100 columns."""
    largest = sorted(table[:-1], key=lambda row: -(row.median_ns or 0.0))
    lines = [f"{'µs':>10} {'p10':>10} {'p90':>10} {'share':>6}  {'step':<24} layer"]
    for row in (*largest, table[-1]):
        times = " ".join(_us(ns) for ns in (row.median_ns, row.p10_ns, row.p90_ns))
        share = f"{row.share:>6.1%}" if row.share is not None else f"{'':>6}"
        line = f"{times} {share}  {_cut(row.name, 24):<24} {row.layer or row.remark}"
        lines.append(_cut(line.rstrip(), 100))
    ends = " ".join(_us(ns) for ns in (total.median_ns, total.p10_ns, total.p90_ns))
    lines.append(f"{ends} {1:>6.1%}  total")
    return "\n".join(lines)


def to_csv(table: Sequence[Row]) -> str:
    """The rows in plan order, units in the header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("step", "layer", "kernel", "median_ns", "p10_ns", "p90_ns", "share", "remark"))
    for row in table:
        times = [
            "" if ns is None else f"{ns:.1f}" for ns in (row.median_ns, row.p10_ns, row.p90_ns)
        ]
        share = "" if row.share is None else f"{row.share:.6f}"
        writer.writerow((row.name, row.layer, row.kernel, *times, share, row.remark))
    return out.getvalue()


def chrome_trace(table: Sequence[Row], *, title: str) -> dict[str, Any]:
    """Trace events, one after the other, as chrome://tracing and Perfetto read them."""
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": title}}
    ]
    at_ns = 0.0
    for row in table:
        if row.median_ns is None or row.median_ns <= 0:
            continue
        events.append(
            {
                "name": row.name,
                "cat": "rest" if row.name == REST else "layer",
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": at_ns / 1e3,  # the format's unit is the microsecond
                "dur": row.median_ns / 1e3,
                "args": {"layer": row.layer, "kernel": row.kernel, "remark": row.remark},
            }
        )
        at_ns += row.median_ns
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _row(step: Step, result: Result, whole: float) -> Row:
    row = Row(
        name=step.name,
        layer=str(step.layer),
        kernel=step.kernel,
        median_ns=None,
        p10_ns=None,
        p90_ns=None,
        share=None,
        remark="",
    )
    if isinstance(result, Failure):
        return replace(row, remark=f"{result.kind}: {result.message}")
    return replace(
        row,
        median_ns=result.median_ns,
        p10_ns=result.p10_ns,
        p90_ns=result.p90_ns,
        share=result.median_ns / whole,
        remark="; ".join(result.doubts),
    )


def _us(ns: float | None) -> str:
    return f"{'':>10}" if ns is None else f"{ns / 1e3:>10.2f}"


def _cut(words: str, width: int) -> str:
    return words if len(words) <= width else words[: width - 1] + "…"
