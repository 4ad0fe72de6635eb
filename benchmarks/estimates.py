"""How well estimates rank networks where the truth is known: `python -m benchmarks.estimates`.

Random networks of a space are compiled for AVX2 at most (the emulators know no more), estimated
with the pipelines of several CPUs, and measured here. What matters is the order: an estimate has no
unit of time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import report_file
from binas.compile.cycles import Estimate, estimate
from binas.core import cli
from binas.devices import registry
from binas.devices.device import Device
from binas.runtime import artifact
from binas.runtime.board import DeviceBoard
from binas.runtime.fit import Pair, fit_of
from binas.runtime.measure import Measurement
from binas.runtime.passes import settled
from binas.search import space as spaces
from binas.search.commands import shared
from binas.search.survey import NET_PLAN, PASSES, WAITS, random_genotypes
from binas.search.workshop import DeviceWorkshop, compiled

DEVICE = "x86-64-v3"
MODELS = ("haswell", "skylake", "znver2", "znver3")


@click.command(cls=cli.Command)
@report_file.option
@click.option("--space", "space_name", default="digits", show_default=True, help="Name or file.")
@click.option("--nets", type=click.IntRange(3), default=20, show_default=True, help="Networks.")
def main(*, file: Path, space_name: str, nets: int) -> None:
    """Estimate and measure random networks, and compare the orders."""
    shared.set_threads(1)
    device = registry.find(DEVICE)
    drawn = random_genotypes(spaces.load(space_name), nets, 0)
    with TemporaryDirectory() as folder:
        made = {Path(folder) / f"net-{place}.binas": net for place, net in enumerate(drawn)}
        workshop = DeviceWorkshop(device, [])
        errors = compiled(workshop, made, lambda n, total: cli.say(f"compiled {n} of {total}"))
        for error in filter(None, errors.values()):
            raise error
        guesses = {
            model: [estimate(artifact.load(path), model=model) for path in made] for model in MODELS
        }
        times = measured(device, list(made))
    report = report_of(guesses, times)
    report_file.write(file, report)
    click.echo(json.dumps({model: one["spearman"] for model, one in report["models"].items()}))


def measured(device: Device, paths: Sequence[Path]) -> list[Measurement]:
    """Every network on this machine, in as many passes as a table makes."""
    with registry.connect(registry.find("host")) as link:
        board = DeviceBoard(link, NET_PLAN)
        found = settled(board.time, paths, NET_PLAN, passes=PASSES, waits=WAITS)
    return [found[path] for path in paths]


def report_of(guesses: dict[str, list[Estimate]], times: Sequence[Measurement]) -> dict[str, Any]:
    """Per CPU model: rank correlation, and how far the ratio of cycles to time varies."""
    models = {}
    for model, found in guesses.items():
        scale = sum(t.median_ns for t in times) / sum(one.total for one in found)
        pairs = [
            Pair(name=str(place), predicted_ns=one.total * scale, measured_ns=t.median_ns)
            for place, (one, t) in enumerate(zip(found, times, strict=True))
        ]
        fit = fit_of(pairs)
        models[model] = {
            "spearman": fit.spearman,
            "mean_abs_relative_error_after_scaling": fit.mean_abs_relative_error,
            "worst_after_scaling": fit.worst,
            "cycles": [one.total for one in found],
        }
    instructions = [one.instructions for one in next(iter(guesses.values()))]
    counted = fit_of(
        Pair(name="", predicted_ns=float(count), measured_ns=t.median_ns)
        for count, t in zip(instructions, times, strict=True)
    )
    return {
        "schema": "binas.benchmark.estimates/1",
        "kind": "estimate",
        "compiled_for": DEVICE,
        "nets": len(times),
        "models": models,
        "spearman_of_instructions": counted.spearman,
        "measured_ns": [t.median_ns for t in times],
    }


if __name__ == "__main__":
    main()
