"""`binas-bench`: times of an artifact on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas.core.cli import Command, emit, json_option, say, version_option
from binas.core.errors import BinasError, MeasureError
from binas.core.record import write_atomic
from binas.runtime.commands import shared
from binas.runtime.harness import MAX_THREADS

if TYPE_CHECKING:
    from binas.runtime.artifact import Artifact


@click.command(cls=Command, context_settings=shared.ENVIRONMENT)
@version_option
@shared.ARTIFACT
@shared.DEVICE
@click.option("--layers", is_flag=True, help="Also measure every step by itself.")
@click.option("--threads", type=click.IntRange(1, MAX_THREADS), default=1, show_default=True)
@click.option(
    "--repeats", type=click.IntRange(2), default=20, show_default=True, help="Batches that count."
)
@click.option(
    "--warmup", type=click.IntRange(0), default=3, show_default=True, help="Batches before them."
)
@click.option(
    "--min-time",
    type=shared.Duration(),
    default="200us",
    show_default=True,
    help="Length of a batch: short enough to fit between two disturbances.",
)
@click.option(
    "--max-time",
    type=shared.Duration(),
    default="60s",
    show_default=True,
    help="No batch is begun after this, per network or layer.",
)
@click.option(
    "--sustained",
    type=shared.Duration(),
    help="Also keep the device busy for so long, and say what becomes of the latency.",
)
@click.option(
    "--cool-down",
    type=shared.Duration(),
    default="0s",
    help="Before each measurement, wait until the device gets no colder, at most so long.",
)
@click.option("--seed", type=int, default=0, help="Order of the layers.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Layers as CSV, in ns.")
@click.option(
    "--timeline",
    "timeline_file",
    type=click.Path(path_type=Path),
    help="Layers as a Chrome trace, for Perfetto.",
)
@click.option("--strict", is_flag=True, help="Exit with 6 where a doubt remains.")
@shared.EMULATE
@json_option
def bench(
    *,
    file: Path,
    device_name: str,
    layers: bool,
    threads: int,
    repeats: int,
    warmup: int,
    min_time: int,
    max_time: int,
    sustained: int | None,
    cool_down: int,
    seed: int,
    csv_file: Path | None,
    timeline_file: Path | None,
    strict: bool,
    emulate: bool,
    as_json: bool,
) -> None:
    """Measure an artifact on a device.

    \b
        binas-bench net.binas --device host --layers

    The quoted time is the median of `steady`: batches of runs after warm-up, on the device's own
    clock; disturbed batches are kept in --json and left out of the median. `load` is from the file
    to a ready network, `first` is the first run, `round trip` one inference as this machine sees
    it, and `layer` is a step by itself. What speaks against a number is printed as a doubt on
    stderr. Emulation gives no time at all.
    """
    from binas.devices.registry import connect, find  # noqa: PLC0415
    from binas.runtime import benched, timeline  # noqa: PLC0415
    from binas.runtime.artifact import load, must_fit  # noqa: PLC0415
    from binas.runtime.measure import Plan  # noqa: PLC0415
    from binas.runtime.session import Session  # noqa: PLC0415
    from binas.runtime.sustained import Sustained  # noqa: PLC0415

    plan = Plan(repeats=repeats, warmup=warmup, min_batch_ns=min_time, max_ns=max_time)
    artifact, device = load(file), find(device_name)
    must_fit(artifact, device)
    if emulate:
        raise _no_latency(artifact)
    with connect(device) as link, Session(artifact, link, threads=threads) as session:
        real = link.trust == "real"
        session.cool_down(cool_down / 1e9)
        timing = session.timing(plan)
        round_trip_ns = session.round_trip_ns(artifact.inputs()) if real else None
        lasting = None
        if sustained is not None:
            session.cool_down(cool_down / 1e9)
            lasting = Sustained.of(session.time(Plan.lasting(sustained)))
        wanted = layers or csv_file is not None or timeline_file is not None
        results = session.layers(plan, seed=seed) if wanted else []
    extra = benched.Extra(round_trip_ns=round_trip_ns, sustained=lasting)
    for doubt in timing.steady.doubts:
        say(f"Doubt: {doubt}")
    rows = timeline.rows(artifact.manifest.steps, results, timing.steady) if results else ()
    if csv_file is not None:
        write_atomic(csv_file, timeline.to_csv(rows).encode())
    if timeline_file is not None:
        title = f"{artifact.manifest.model_name} on {device.name}"
        trace = json.dumps(timeline.chrome_trace(rows, title=title), indent=1)
        write_atomic(timeline_file, trace.encode())
    if as_json:
        emit(benched.bench_record(artifact, device, plan, timing, results, extra))
    else:
        click.echo(benched.bench_text(artifact, timing, results, extra))
    if strict and timing.steady.doubts:
        raise MeasureError(
            f"{len(timing.steady.doubts)} doubts remain, and --strict allows none",
            hint="mend what they name, or measure for longer: --repeats, --min-time",
        )


def _no_latency(artifact: Artifact) -> MeasureError:
    """The refusal to time an emulated run; it says what emulation can tell instead."""
    from binas.runtime.emulated import count_instructions  # noqa: PLC0415

    hint = "measure on a board, or on --device host; --verify of binas-run needs no clock"
    try:
        counts = count_instructions(artifact)
    except BinasError as error:
        return MeasureError(f"emulation gives no latency; nor instructions: {error}", hint=hint)
    names = [step.name for step in artifact.manifest.steps]
    largest = sorted(zip(counts.steps, names, strict=True), reverse=True)[:3]
    top = ", ".join(f"{name} {count:,}" for count, name in largest)
    return MeasureError(
        f"emulation gives no latency; instruction counts: {counts.total:,} in "
        f"{len(counts.steps)} steps, most in {top}",
        hint=hint,
    )
