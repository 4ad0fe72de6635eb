"""What `binas-bench` and `binas-table show` print: records for programs, tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from binas.devices.device import Device
from binas.runtime import timeline
from binas.runtime.artifact import Artifact
from binas.runtime.fit import Fit
from binas.runtime.forms import BenchAnswer, TableAnswer, TableEntry, TablesCompared, Timed
from binas.runtime.measure import Facts, Failure, Measurement, Plan, Result, percentile
from binas.runtime.session import Timing
from binas.runtime.sustained import Sustained
from binas.runtime.table import Difference, LatencyTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a bench says besides; None where it was not asked for or cannot be told.

    Attributes:
        round_trip_ns: One inference as the host sees it.
        sustained: The latency of a device that has been busy for long.
    """

    round_trip_ns: float | None = None
    sustained: Sustained | None = None


def bench_record(
    artifact: Artifact,
    device: Device,
    plan: Plan,
    timing: Timing,
    results: Sequence[Result],
    extra: Extra,
) -> BenchAnswer:
    """One JSON object of a bench, all samples included."""
    manifest = artifact.manifest
    steps = zip(manifest.steps, results, strict=False)
    return {
        "schema": "binas.bench/1",
        "artifact": str(artifact.path),
        "model": manifest.model_name,
        "model_digest": manifest.model_digest,
        "kernel_version": manifest.kernel_version,
        "device": device.name,
        "cpu": manifest.cpu,
        "plan": asdict(plan),
        "load_ns": timing.load_ns,
        "first_ns": timing.first_ns,
        "round_trip_ns": extra.round_trip_ns,
        "sustained": None if extra.sustained is None else asdict(extra.sustained),
        "steady": plain_result(timing.steady),
        "layers": [
            {"step": s.name, "layer": asdict(s.layer), "kernel": s.kernel, **plain_result(r)}
            for s, r in steps
        ],
    }


def plain_result(result: Result) -> Timed:
    """A measurement with its quantiles, or a failure, as JSON values."""
    if isinstance(result, Failure):
        return {"failure": asdict(result)}
    quantiles: Timed = {
        "median_ns": result.median_ns,
        "p10_ns": result.p10_ns,
        "p90_ns": result.p90_ns,
    }
    return {**quantiles, **cast("Timed", asdict(result))}


def bench_text(artifact: Artifact, timing: Timing, results: Sequence[Result], extra: Extra) -> str:
    """A bench for people: the network, then its layers where they were measured."""
    steady = timing.steady
    kept, taken = len(steady.kept_ns), len(steady.samples_ns)
    lines = [
        f"{artifact.manifest.model_name} on {artifact.manifest.cpu}",
        f"  load    {timing.load_ns / 1e6:>10.3f} ms",
        f"  first   {timing.first_ns / 1e3:>10.2f} µs",
        f"  steady  {steady.median_ns / 1e3:>10.2f} µs   p10 {steady.p10_ns / 1e3:.2f}   "
        f"p90 {steady.p90_ns / 1e3:.2f}   {kept} of {taken} batches, "
        f"{steady.runs_per_batch} runs each",
    ]
    if (lasting := extra.sustained) is not None:
        lines.append(
            f"  after {lasting.seconds:>4.0f} s  {lasting.last_ns / 1e3:>7.2f} µs   "
            f"{lasting.slowdown:+.1%} to the first tenth"
        )
    if extra.round_trip_ns is not None:
        lines.append(f"  round trip {extra.round_trip_ns / 1e6:>7.1f} ms")
    lines.append(f"  {facts_text(steady.facts)}")
    if results:
        rows = timeline.rows(artifact.manifest.steps, results, steady)
        lines += ["", timeline.text(rows, steady)]
    return "\n".join(lines)


def facts_text(facts: Facts) -> str:
    """The facts that are known, in one line."""
    words = [f"{facts.threads} thread{'s' if facts.threads > 1 else ''}"]
    if facts.core is not None:
        words.append(f"core {facts.core}")
    if facts.governor:
        words.append(f"governor {facts.governor}")
    if facts.temperature_before_c is not None and facts.temperature_after_c is not None:
        words.append(f"{facts.temperature_before_c:.0f} → {facts.temperature_after_c:.0f} °C")
    if facts.load is not None:
        words.append(f"load {facts.load:g}")
    return ", ".join(words)


def table_record(table: LatencyTable) -> TableAnswer:
    """One JSON object of a table: medians, failures, fit and doubts, without the samples."""
    return {
        "schema": "binas.table-summary/1",
        "device": table.device,
        "cpu": table.cpu,
        "arch": table.arch,
        "kernel_version": table.kernel_version,
        "threads": table.threads,
        "facts": table.facts,
        "fixed_ns": table.fixed_ns,
        "step_ns": table.step_ns,
        "entries": [_entry_record(str(e.layer), asdict(e.layer), e.result) for e in table.entries],
        "failures": len(table.failures),
        "doubts": dict(_doubts(table)),
        "agreement": None if table.agreement is None else asdict(table.agreement),
        "fit": _fit_record(table.fit),
    }


def table_text(table: LatencyTable, limit: int) -> str:
    """A table for people: largest first, then failures, fit and doubts."""
    measured = [
        (entry.result, entry.layer)
        for entry in table.entries
        if isinstance(entry.result, Measurement)
    ]
    measured.sort(key=lambda pair: -pair[0].median_ns)
    threads = f"{table.threads} thread{'s' if table.threads > 1 else ''}"
    model = f", {table.facts['model']}" if table.facts.get("model") else ""
    lines = [
        f"{table.device} ({table.arch} {table.cpu}{model}), {threads}, "
        f"kernels {table.kernel_version}",
        f"{len(measured)} layers, {len(table.failures)} failures, "
        f"{table.fixed_ns / 1e3:.2f} µs fixed per run, {table.step_ns:.0f} ns per step",
        "",
        f"{'µs':>10} {'p10':>10} {'p90':>10}  doubts  layer",
    ]
    for result, layer in measured[:limit]:
        times = (result.median_ns, result.p10_ns, result.p90_ns)
        cells = " ".join(f"{ns / 1e3:>10.2f}" for ns in times)
        lines.append(f"{cells}  {len(result.doubts) or '':>6}  {layer}")
    if len(measured) > limit:
        lines.append(f"... and {len(measured) - limit} more: --limit {len(measured)}")
    failures = [f"  {e.layer}: {_why(e.result)}" for e in table.failures]
    if failures:
        lines += ["", "failures:", *failures]
    doubts = [f"  {count:>5} x {doubt}" for doubt, count in _doubts(table).most_common(8)]
    if doubts:
        lines += ["", "doubts (numbers left out):", *doubts]
    return "\n".join([*lines, "", *_agreement_text(table), _fit_text(table)])


def comparison_record(differences: Sequence[Difference]) -> TablesCompared:
    """One JSON object of a comparison of two tables."""
    both = [d.ratio for d in differences if d.ratio is not None]
    return {
        "schema": "binas.table-compare/1",
        "layers": len(differences),
        "in_both": len(both),
        "median_abs_difference": _median_off(both),
        "entries": [
            {
                "layer": asdict(d.layer),
                "text": str(d.layer),
                "first_ns": d.first_ns,
                "second_ns": d.second_ns,
                "ratio": d.ratio,
            }
            for d in differences
        ],
    }


def comparison_text(differences: Sequence[Difference], limit: int) -> str:
    """A comparison for people: layers that differ most first, then those in one table alone."""
    both = [(d.ratio, d) for d in differences if d.ratio is not None]
    both.sort(key=lambda pair: -abs(pair[0] - 1))
    off = _median_off([ratio for ratio, _ in both])
    lines = [
        f"{len(both)} layers in both, {off:.1%} apart (median)"
        if both
        else "no layer was measured in both",
        "",
        f"{'first µs':>10} {'second µs':>10} {'ratio':>7}  layer",
    ]
    for ratio, one in both[:limit]:
        times = f"{(one.first_ns or 0) / 1e3:>10.2f} {(one.second_ns or 0) / 1e3:>10.2f}"
        lines.append(f"{times} {ratio:>7.3f}  {one.layer}")
    alone = len(differences) - len(both)
    return "\n".join([*lines, *([f"{alone} layers in one table alone"] if alone else [])])


def _median_off(ratios: Sequence[float]) -> float:
    return percentile([abs(ratio - 1) for ratio in ratios], 0.5) if ratios else 0.0


def _agreement_text(table: LatencyTable) -> list[str]:
    found = table.agreement
    if found is None:
        return []
    return [
        f"{found.passes} passes: a layer's first two differ by {found.median_abs_difference:.1%} "
        f"(median), drift {found.drift:+.1%}, {found.repeated} layers repeated"
    ]


def _fit_record(fit: Fit | None) -> dict[str, Any] | None:
    if fit is None:
        return None
    return {
        "nets": fit.nets,
        "mean_abs_relative_error": fit.mean_abs_relative_error,
        **asdict(fit),
    }


def _fit_text(table: LatencyTable) -> str:
    fit = table.fit
    if fit is None:
        return "fit: not measured, so nothing says how well sums predict whole networks"
    return (
        f"fit over {fit.nets} networks: rank correlation {fit.spearman:.3f}, "
        f"error {fit.median_abs_relative_error:.1%} median, {fit.worst:.1%} worst"
    )


def _doubts(table: LatencyTable) -> Counter[str]:
    """How often each kind of doubt stands in a table, whatever its figures."""
    results = [e.result for e in table.entries if isinstance(e.result, Measurement)]
    found: Counter[str] = Counter()
    for result in (*results, table.fixed):
        found.update("".join("#" if c.isdigit() else c for c in doubt) for doubt in result.doubts)
    return found


def _entry_record(text: str, layer: dict[str, Any], result: Result) -> TableEntry:
    known: TableEntry = {"layer": layer, "text": text}
    if isinstance(result, Failure):
        return {**known, "failure": asdict(result)}
    return {
        **known,
        "median_ns": result.median_ns,
        "p10_ns": result.p10_ns,
        "p90_ns": result.p90_ns,
        "doubts": list(result.doubts),
    }


def _why(result: Result) -> str:
    return f"{result.kind}, {result.message}" if isinstance(result, Failure) else ""
