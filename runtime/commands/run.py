"""`binas-run`: answers of an artifact, and their verification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from binas.core.cli import Command, emit, json_option, say, version_option
from binas.core.errors import UsageError
from binas.runtime.commands import shared
from binas.runtime.harness import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy import ndarray

    from binas.runtime.forms import OutputSummary, RunAnswer, TensorCheck, Verified
    from binas.runtime.session import Runner


@click.command(cls=Command, context_settings=shared.ENVIRONMENT)
@version_option
@shared.ARTIFACT
@shared.DEVICE
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="A float32 array (.npy) or a photo; NAME= where the model has several inputs. For "
    "a batch of photos give it once for each.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the output goes: .npy, or .npz where the model has several.",
)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes shown.")
@click.option("--threads", type=click.IntRange(1, MAX_THREADS), default=1, show_default=True)
@click.option("--verify", is_flag=True, help="Compare every step with the artifact's reference.")
@click.option(
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="MODEL.onnx",
    help="With --verify and --input: compare with onnxruntime on this file and that input.",
)
@shared.EMULATE
@json_option
def run(
    *,
    file: Path,
    device_name: str,
    inputs: tuple[str, ...],
    output: Path | None,
    top: int,
    threads: int,
    verify: bool,
    model: Path | None,
    emulate: bool,
    as_json: bool,
) -> None:
    """Run an artifact on an input, or verify it against its own reference values.

    \b
        binas-run net.binas --device host --input x.npy -o y.npy
        binas-run net.binas --device rpi4 --input photo.jpg --top 3
        binas-run net.binas --device rpi4 --emulate --verify
        binas-run net.binas --device host --verify --model net.onnx --input x.npy

    --verify needs no input: the artifact carries one, and what every step makes of it. With --model
    it is done for your input; that needs the compile extra.
    """
    from binas.devices.registry import find  # noqa: PLC0415
    from binas.runtime import answers  # noqa: PLC0415
    from binas.runtime.artifact import load, must_fit  # noqa: PLC0415
    from binas.runtime.reference import reference_taps  # noqa: PLC0415

    if not inputs and not verify:
        raise UsageError("nothing to do", hint="give --input x.npy, or --verify")
    if output is not None and not inputs:
        raise UsageError(
            f"-o {output} without --input: --verify writes no output",
            hint="give --input x.npy, or leave -o out",
        )
    if model is not None and not (verify and inputs):
        raise UsageError(
            "--model says what an input is compared with",
            hint=f"binas-run {file} --verify --model {model} --input x.npy",
        )
    artifact, device = load(file), find(device_name)
    must_fit(artifact, device)
    given = answers.read_inputs(artifact.manifest, inputs) if inputs else None
    if output is not None and given is not None:
        answers.check_output(output, artifact.manifest, inputs)
    record: RunAnswer = {
        "schema": "binas.run/1",
        "device": device.name,
        "emulated": emulate,
        "outputs": [],
    }
    taps = None
    if model is not None and given is not None:
        taps = reference_taps(model, artifact, given)
    with answers.runner(artifact, device, emulate=emulate, threads=threads) as session:
        if verify:
            record["verify"] = _verified(session, taps, as_json)
        if given is not None:
            found = session.run(given)
            record["outputs"] = [
                answers.summary(name, value, artifact, top=top) for name, value in found.items()
            ]
            if output is not None:
                answers.write(output, found)
    if as_json:
        emit(record)
    elif given is not None:
        _show_outputs(record["outputs"], output)


def _verified(session: Runner, taps: Mapping[str, ndarray] | None, quiet: bool) -> Verified:
    """Verify, say the result, and give it as JSON values."""
    from dataclasses import asdict  # noqa: PLC0415

    from binas.runtime.verify import verify  # noqa: PLC0415

    report = verify(session, taps)
    if not quiet:
        within = "1e-3 of their largest" if report.by_digest else f"{report.max_abs_error:.2g}"
        click.echo(
            f"verified {len(report.checks)} tensors: binary layers exact, {report.flips} bits at "
            f"their thresholds, floats within {within}"
        )
        if not report.judged_outputs:
            say("a bit of the reference is at its threshold: a whole run is not judged by it")
    return {
        "binary_layers_exact": report.binary_layers_exact,
        "flips": report.flips,
        "max_abs_error": report.max_abs_error,
        "judged_outputs": report.judged_outputs,
        "checks": [cast("TensorCheck", asdict(check)) for check in report.checks],
    }


def _show_outputs(outputs: list[OutputSummary], written: Path | None) -> None:
    if written is not None:
        say(f"wrote {written}")
        return
    for output in outputs:
        shape = "x".join(str(size) for size in output["shape"])
        click.echo(f"{output['name']}  {shape}  from {output['min']} to {output['max']}")
        for entry in output["top"]:
            image = f"  image {entry['image']}" if "image" in entry else ""
            click.echo(f"{image}  {entry['label']:>12}  {entry['value']}")
