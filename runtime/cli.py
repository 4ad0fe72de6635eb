"""`binas-run`, `binas-bench` and `binas-table`: answers, times and tables of artifacts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binas.core.cli import Command, LazyGroup, emit, json_option, say, version_option
from binas.core.errors import BinasError, MeasureError, UsageError
from binas.core.record import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy import ndarray

    from binas.runtime.artifact import Artifact
    from binas.runtime.session import Runner

_UNITS_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time with its unit, such as 5ms; gives nanoseconds. A bare number is refused."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s)", str(value).strip())
        if not found:
            self.fail(f"{value!r} is no time; write a number and its unit, such as 5ms", param, ctx)
        return round(float(found[1]) * _UNITS_NS[found[2]])


_ARTIFACT = click.argument(
    "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.binas"
)
_DEVICE = click.option("--device", "device_name", required=True, help="As in `binas-devices list`.")
_EMULATE = click.option(
    "--emulate",
    is_flag=True,
    help="Run on an emulated CPU: right answers without a board, and no times. Uses qemu-user "
    "where it is installed, else unicorn (aarch64 only).",
)
_ENVIRONMENT = {"auto_envvar_prefix": "BINAS"}


@click.command(cls=Command, context_settings=_ENVIRONMENT)
@version_option
@_ARTIFACT
@_DEVICE
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]X.npy",
    help="A float32 array; NAME= where the model has several inputs.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the output goes: .npy, or .npz where the model has several.",
)
@click.option("--verify", is_flag=True, help="Compare every step with the artifact's reference.")
@click.option(
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="MODEL.onnx",
    help="With --verify and --input: compare with onnxruntime on this file and that input.",
)
@_EMULATE
@json_option
def run(
    *,
    file: Path,
    device_name: str,
    inputs: tuple[str, ...],
    output: Path | None,
    verify: bool,
    model: Path | None,
    emulate: bool,
    as_json: bool,
) -> None:
    """Run an artifact on an input, or verify it against its own reference values.

    \b
        binas-run net.binas --device host --input x.npy -o y.npy
        binas-run net.binas --device rpi4 --emulate --verify
        binas-run net.binas --device host --verify --model net.onnx --input x.npy

    --verify needs no input: the artifact carries one, and what every step makes of it. With --model
    it is done for your input; that needs the compile extra.
    """
    from binas.devices.registry import find  # noqa: PLC0415
    from binas.runtime import answers  # noqa: PLC0415
    from binas.runtime.artifact import load  # noqa: PLC0415
    from binas.runtime.reference import reference_taps  # noqa: PLC0415
    from binas.runtime.session import must_fit  # noqa: PLC0415

    if not inputs and not verify:
        raise UsageError("nothing to do", hint="give --input x.npy, or --verify")
    if model is not None and not (verify and inputs):
        raise UsageError(
            "--model says what an input is compared with",
            hint=f"binas-run {file} --verify --model {model} --input x.npy",
        )
    artifact, device = load(file), find(device_name)
    must_fit(artifact, device)
    given = answers.read_inputs(artifact.manifest, inputs) if inputs else None
    if output is not None and given is not None:
        answers.check_output(output, artifact.manifest)
    record: dict[str, Any] = {
        "schema": "binas.run/1",
        "device": device.name,
        "emulated": emulate,
        "outputs": [],
    }
    taps = None
    if model is not None and given is not None:
        taps = reference_taps(model, artifact, given)
    with answers.runner(artifact, device, emulate=emulate) as session:
        if verify:
            record["verify"] = _verified(session, taps, as_json)
        if given is not None:
            found = session.run(given)
            record["outputs"] = [answers.summary(n, v, artifact) for n, v in found.items()]
            if output is not None:
                answers.write(output, found)
    if as_json:
        emit(record)
    elif given is not None:
        _show_outputs(record["outputs"], output)


@click.command(cls=Command, context_settings=_ENVIRONMENT)
@version_option
@_ARTIFACT
@_DEVICE
@click.option("--layers", is_flag=True, help="Also measure every step by itself.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--repeats", type=click.IntRange(2), default=20, show_default=True, help="Batches that count."
)
@click.option(
    "--warmup", type=click.IntRange(0), default=3, show_default=True, help="Batches before them."
)
@click.option(
    "--min-time", type=Duration(), default="5ms", show_default=True, help="Length of a batch."
)
@click.option(
    "--max-time",
    type=Duration(),
    default="60s",
    show_default=True,
    help="No batch is begun after this, per network or layer.",
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
@_EMULATE
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
    clock; batches that were preempted are kept in --json and left out of the median. `load` is from
    the file to a ready network, `first` is the first run, and `layer` is a step by itself. What
    speaks against a number is printed as a doubt on stderr. Emulation gives no time at all.
    """
    from binas.devices.registry import connect, find  # noqa: PLC0415
    from binas.runtime import benched, timeline  # noqa: PLC0415
    from binas.runtime.artifact import load  # noqa: PLC0415
    from binas.runtime.measure import Plan  # noqa: PLC0415
    from binas.runtime.session import Session, must_fit  # noqa: PLC0415

    plan = Plan(repeats=repeats, warmup=warmup, min_batch_ns=min_time, max_ns=max_time)
    artifact, device = load(file), find(device_name)
    must_fit(artifact, device)
    if emulate:
        raise _no_latency(artifact)
    with connect(device) as link, Session(artifact, link, threads=threads) as session:
        timing = session.timing(plan)
        wanted = layers or csv_file is not None or timeline_file is not None
        results = session.layers(plan, seed=seed) if wanted else []
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
        emit(benched.bench_record(artifact, device, plan, timing, results))
    else:
        click.echo(benched.bench_text(artifact, timing, results))
    if strict and timing.steady.doubts:
        raise MeasureError(
            f"{len(timing.steady.doubts)} doubts remain, and --strict allows none",
            hint="mend what they name, or measure for longer: --repeats, --min-time",
        )


@click.command(
    cls=LazyGroup,
    entry_group="binas.table",
    prefix="",
    summaries={
        "build": "measure every layer of a search space on a device",
        "show": "what a table says, and how far to trust it",
    },
    context_settings=_ENVIRONMENT,
)
@version_option
def table() -> None:
    """Latency tables: what every layer of a search space takes on one device."""


@click.command(cls=Command, name="show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="TABLE.json")
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="Layers.")
@json_option
def table_show(file: Path, limit: int, as_json: bool) -> None:
    """Show a table: layers largest first, failures, doubts, and how well sums predict networks."""
    from binas.core import record  # noqa: PLC0415
    from binas.runtime import benched  # noqa: PLC0415
    from binas.runtime.table import LatencyTable  # noqa: PLC0415

    found = record.load(LatencyTable, file)
    if as_json:
        emit(benched.table_record(found))
    else:
        click.echo(benched.table_text(found, limit))


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


def _verified(session: Runner, taps: Mapping[str, ndarray] | None, quiet: bool) -> dict[str, Any]:
    """Verify, say the result, and give it as JSON values."""
    from dataclasses import asdict  # noqa: PLC0415

    from binas.runtime.verify import verify  # noqa: PLC0415

    report = verify(session, taps)
    known = {
        "binary_layers_exact": report.binary_layers_exact,
        "flips": report.flips,
        "max_abs_error": report.max_abs_error,
        "judged_outputs": report.judged_outputs,
    }
    if not quiet:
        click.echo(
            f"verified {len(report.checks)} tensors: binary layers exact, {report.flips} bits at "
            f"their thresholds, floats within {report.max_abs_error:.2g}"
        )
        if not report.judged_outputs:
            say("a bit of the reference is at its threshold: a whole run is not judged by it")
    return {**known, "checks": [asdict(check) for check in report.checks]}


def _show_outputs(outputs: list[dict[str, Any]], written: Path | None) -> None:
    if written is not None:
        say(f"wrote {written}")
        return
    for output in outputs:
        shape = "x".join(str(size) for size in output["shape"])
        click.echo(f"{output['name']}  {shape}  from {output['min']} to {output['max']}")
        for entry in output["top"]:
            click.echo(f"  {entry['label']:>12}  {entry['value']}")
