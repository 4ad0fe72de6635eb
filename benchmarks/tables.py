"""How far a table can be trusted here: `python -m benchmarks.tables --json FILE`.

Builds a space's table from nothing, compares sums of its layers with random whole networks, builds
it once more, and compares the two builds. All of it on one device, with nothing else running.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import report_file
from binas.core import cli
from binas.devices import registry
from binas.runtime.fit import Fit, Pair, fit_of
from binas.runtime.measure import percentile
from binas.runtime.table import LatencyTable, compare
from binas.search import space as spaces
from binas.search.commands import shared
from binas.search.survey import TABLE_PLAN, build_table
from binas.search.workshop import DeviceWorkshop

CLOSE = 1.5  # networks whose latencies differ by less than this factor are hard to rank


@click.command(cls=cli.Command)
@report_file.option
@click.option("--space", "space_name", default="digits", show_default=True, help="Name or file.")
@click.option("--device", "device_name", default="host", show_default=True)
@click.option("--nets", type=click.IntRange(2), default=20, show_default=True, help="Networks.")
@click.option(
    "--builds", type=click.IntRange(1), default=2, show_default=True, help="Of the table."
)
def main(*, file: Path, space_name: str, device_name: str, nets: int, builds: int) -> None:
    """Build tables, and hold their sums against measured networks."""
    shared.set_threads(1)
    tables, seconds = [], []
    for turn in range(builds):
        began = time.monotonic()
        tables.append(_build(space_name, device_name, nets if turn == 0 else 0, turn))
        seconds.append(time.monotonic() - began)
        cli.say(f"build {turn + 1}: {len(tables[-1].entries)} layers, {seconds[-1]:.0f} s")
    report = report_of(tables, seconds)
    report_file.write(file, report)
    shown = {key: report[key] for key in ("nets", "spearman", "mean_abs_relative_error")}
    click.echo(json.dumps(shown))


def report_of(tables: Sequence[LatencyTable], seconds: Sequence[float]) -> dict[str, Any]:
    """The report: the first table has the networks, the others are compared with it.

    Args:
        tables: Of one space and device.
        seconds: That each of them took to build, networks included.
    """
    first = tables[0]
    fit = first.fit
    if fit is None:
        raise SystemExit(f"no fit: {len(first.failures)} layers failed")
    close = closest(fit.pairs)
    repeats = [
        percentile([abs(d.ratio - 1) for d in compare(first, other) if d.ratio is not None], 0.5)
        for other in tables[1:]
    ]
    return {
        "schema": "binas.benchmark.tables/1",
        "device": first.device,
        "cpu": first.cpu,
        "model": first.facts.get("model", ""),
        "kernel_version": first.kernel_version,
        "layers": len(first.entries),
        "failures": len(first.failures),
        "nets": fit.nets,
        "spearman": fit.spearman,
        "spearman_close": None if close is None else close.spearman,
        "close_nets": 0 if close is None else close.nets,
        "mean_abs_relative_error": fit.mean_abs_relative_error,
        "worst_abs_relative_error": fit.worst,
        "step_ns": first.step_ns,
        "agreement": None if first.agreement is None else asdict(first.agreement),
        "median_abs_difference_of_builds": repeats,
        "seconds": list(seconds),
        "pairs": [asdict(pair) for pair in fit.pairs],
    }


def closest(pairs: Sequence[Pair]) -> Fit | None:
    """The fit of the largest set of networks within a factor of `CLOSE`; None if none has three."""
    order = sorted(pairs, key=lambda pair: pair.measured_ns)
    sets = [
        [p for p in order[first:] if p.measured_ns <= CLOSE * order[first].measured_ns]
        for first in range(len(order))
    ]
    largest = max(sets, key=len)
    return fit_of(largest) if len(largest) >= 3 else None


def _build(space_name: str, device_name: str, nets: int, seed: int) -> LatencyTable:
    device = registry.find(device_name)
    with TemporaryDirectory() as folder, registry.connect(device) as link:
        return build_table(
            spaces.load(space_name),
            device,
            Path(folder),
            workshop=DeviceWorkshop.of(device, [link], TABLE_PLAN),
            fit_nets=nets,
            seed=seed,
            facts={"model": device.title},
            say=cli.say,
        ).table


if __name__ == "__main__":
    main()
