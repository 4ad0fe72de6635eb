"""Hold a board against the estimates: `python -m benchmarks.arm_board --device desk --ghz 1.8`.

The layers of `benchmarks.arm` and Bi-Real-18 are compiled for the board, verified on it and timed
by the harness, each layer alone. A time becomes cycles by the clock that you say: fix it first
(docs/raspberry-pi.md). Estimates of `benchmarks.arm` and `benchmarks.arm_network` for the board's
CPU stand beside what was measured, where their files are given.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import models, report_file
from benchmarks.arm import layers
from benchmarks.arm_stretches import counted
from benchmarks.arm_works import ANY, SIZES, layer_name
from benchmarks.onnx_builder import saved
from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.core import cli
from binas.core.errors import MeasureError
from binas.devices import registry
from binas.devices.device import Device
from binas.devices.link import Link
from binas.runtime.artifact import Artifact
from binas.runtime.measure import Failure, Measurement, Plan
from binas.runtime.session import Session
from binas.runtime.verify import verify

PLAN = Plan()
Row = dict[str, Any]


@click.command(cls=cli.Command)
@click.option("--device", "name", required=True, help="The board, as binas-devices knows it.")
@click.option("--ghz", type=click.FloatRange(0, min_open=True), required=True, help="Its clock.")
@click.option("--channels", type=int, multiple=True, help="Of these layers only; repeatable.")
@click.option("--network/--no-network", default=True, help="Time Bi-Real-18, too.")
@click.option("--estimates", type=click.Path(path_type=Path), multiple=True, help="JSON files.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Report.")
def main(
    *,
    name: str,
    ghz: float,
    channels: tuple[int, ...],
    network: bool,
    estimates: tuple[Path, ...],
    file: Path | None,
) -> None:
    """Time on a board what is only estimated elsewhere."""
    device = registry.find(name)
    known = [json.loads(path.read_text()) for path in estimates]
    click.echo("| work | out | median | MACs a cycle | estimated | doubts |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    rows: list[Row] = []
    with TemporaryDirectory() as folder, registry.connect(device) as link:
        for C in channels or SIZES:
            for out, artifact, index in layers(C, device.name, Path(folder)):
                found = timed(artifact, link, index)
                macs = counted(artifact.manifest.steps[index])
                wanted = estimated_rate(known, layer_name(C), out, device)
                rows.append(row(layer_name(C), out, found, macs, ghz, wanted))
                click.echo(line(rows[-1]))
        if network:
            made = bireal18(device, Path(folder))
            macs = sum(s.layer.macs for s in made.manifest.steps if s.layer.op == "binary_conv")
            wanted = estimated_network(known, macs, device)
            rows.append(row("bireal18", "whole", timed(made, link, None), macs, ghz, wanted))
            click.echo(line(rows[-1]))
    if file is not None:
        report = {
            "schema": "binas.benchmark.arm_board/1",
            "device": name,
            "cpu": device.cpu,
            "ghz": ghz,
            "rows": rows,
        }
        report_file.write(file, report)


def timed(artifact: Artifact, link: Link, index: int | None) -> Measurement:
    """Verify an artifact on the board, then time one of its steps, or all of it.

    Raises:
        MeasureError: It cannot be timed.
    """
    with Session(artifact, link) as session:
        verify(session)
        if index is None:
            return session.time(PLAN)
        (found,) = session.layers(PLAN, only=[index])
    if isinstance(found, Failure):
        raise MeasureError(found.message, hint=f"binas-devices check {link.device.name}")
    return found


def bireal18(device: Device, folder: Path) -> Artifact:
    """The network of `benchmarks.arm_network`."""
    path = saved("bireal18", models.bireal18, folder)
    return compile_model(BinaryModel.load(path), device, path.with_suffix(".binas")).artifact


def row(
    work: str, out: str, found: Measurement, macs: int, ghz: float, wanted: float | None
) -> Row:
    """A measurement in cycles, beside its estimate."""
    return {
        "work": work,
        "out": out,
        "median_ns": found.median_ns,
        "macs_per_cycle": macs / (found.median_ns * ghz),
        "estimated_macs_per_cycle": wanted,
        "doubts": list(found.doubts),
        "samples_ns": list(found.samples_ns),
    }


def estimated_rate(known: list[Row], work: str, out: str, device: Device) -> float | None:
    """MACs per cycle of a layer's rows in the model of a board's CPU."""
    for report in known:
        for one in report.get("rows", ()):
            own = one["build"] != ANY and one["model"] == device.cpu
            if own and (one["work"], one["out"]) == (work, out):
                return float(one["row"])
    return None


def estimated_network(known: list[Row], macs: int, device: Device) -> float | None:
    """The same of Bi-Real-18: binary MACs per cycle of everything."""
    return next(
        (macs / one["total_cycles"] for one in known if one.get("model") == device.cpu), None
    )


def line(one: Row) -> str:
    """A row of the table."""
    wanted = one["estimated_macs_per_cycle"]
    return (
        f"| {one['work']} | {one['out']} | {one['median_ns'] / 1e3:.1f} µs "
        f"| {one['macs_per_cycle']:.1f} | {'' if wanted is None else format(wanted, '.1f')} "
        f"| {'; '.join(one['doubts'])} |"
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.arm_board")
