"""What it costs to schedule many boards: `python -m benchmarks.fleet --json FILE`.

Null devices answer at once, so all of the time is ours: handing out jobs, reading the harness's
answers, judging them, keeping them on disk. One board in a hundred breaks and one in a hundred
computes wrongly, so the ways around them take part.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import report_file
from binas.core import cli
from binas.core.errors import TransportError, WrongAnswerError
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.null import NullLink
from binas.runtime import harness
from binas.runtime.fleet import Fleet, Job
from binas.runtime.measure import Facts, Plan, Result
from binas.search.chunks import Key, Store

PLAN = Plan(repeats=3, warmup=0)
ODD = 100  # one board in so many breaks, and one lies


@dataclass(slots=True)
class NullBoard:
    """A null device that may break after some jobs, or lie."""

    number: int
    link: NullLink
    layers_at: dict[Path, tuple[Layer, ...]]
    jobs: int = 0

    @property
    def name(self) -> str:
        """Its number."""
        return f"null-{self.number}"

    def layers(self, job: Job) -> Sequence[Result]:
        """Through the link and the harness's reader, as of a real device."""
        self.jobs += 1
        if self.number % ODD == 1 and self.jobs > 2:
            raise TransportError(f"{self.name} broke")
        self.link.pretend(self.layers_at[job.path])
        options = harness.options(PLAN, 1, None, None)
        done = self.link.run(["bench", "layers", *options], 10)
        return harness.layers(harness.answer(done), job.steps, PLAN, Facts(), ())

    def check(self) -> float:
        """One in a hundred computes wrongly once it has begun."""
        if self.number % ODD == 2 and self.jobs:
            raise WrongAnswerError(f"{self.name} computes wrongly")
        return 1000.0


@click.command(cls=cli.Command)
@report_file.option
@click.option("--boards", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--layers", type=click.IntRange(1), default=100_000, show_default=True)
def main(*, file: Path, boards: int, layers: int) -> None:
    """Measure nothing on many boards, and say what that took."""
    with TemporaryDirectory() as folder:
        report = race(Path(folder), boards, layers)
    report_file.write(file, report)
    click.echo(json.dumps(report))


def race(folder: Path, boards: int, layers: int) -> dict[str, Any]:
    """Have every layer answered once.

    Args:
        folder: Where the answers are kept.
        boards: How many null devices.
        layers: How many different layers.
    """
    device = registry.find("null")
    asked = [layer_of(number) for number in range(layers)]
    key = Key(device="null", model="", cpu=device.cpu, kernel_version="-", threads=1, plan=PLAN)
    store = Store(folder, asked, [""] * layers, key)
    layers_at = {folder / f"{place}.binas": part for place, part in enumerate(store.chunks)}
    jobs = [Job(path, tuple(range(len(part)))) for path, part in layers_at.items()]
    fleet = Fleet(
        [NullBoard(number, NullLink(device), layers_at) for number in range(boards)],
        lease_s=lambda _: 120.0,
    )

    def answered(job: Job, board: str, results: Sequence[Result]) -> None:
        store.add([layers_at[job.path][step] for step in job.steps], results, board)

    def withdrawn(job: Job, board: str) -> None:
        store.withdraw([layers_at[job.path][step] for step in job.steps], board)

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    fleet.run(jobs, answered, withdrawn)
    seconds = time.monotonic() - began
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    return {
        "schema": "binas.benchmark.fleet/1",
        "boards": boards,
        "layers": layers,
        "answered": sum(len(store.results(layer)) == 1 for layer in asked),
        "set_aside": len(fleet.set_aside),
        "seconds": seconds,
        "overhead_ms_per_layer": 1e3 * seconds / layers,
        "grown_bytes_per_layer": 1024 * grown_kib / layers,
        "peak_mib": (before_kib + grown_kib) / 1024,
    }


def layer_of(number: int) -> Layer:
    """A layer like no other."""
    rows, channels = divmod(number, 500)
    return Layer(
        op="elementwise", in_shape=(1, rows + 1, 1, channels + 1), out_channels=channels + 1
    )


if __name__ == "__main__":
    main()
