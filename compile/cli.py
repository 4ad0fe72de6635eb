"""`binas-compile`: an ONNX model in, one file for a device out."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from binas.core import cli, record
from binas.core.errors import UsageError, unknown_name
from binas.core.layer import Layer
from binas.core.text import unfit_name
from binas.devices.device import Device
from binas.runtime.artifact import Normalisation

if TYPE_CHECKING:
    from binas.compile.forms import TuneAnswer


@click.command(cls=cli.Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--device",
    "device_name",
    default="host",
    show_default=True,
    help="Device to compile for; see binas-devices list.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Artifact to write.  [default: MODEL.binas]",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Compare every step with onnxruntime, here or under emulation, before writing.",
)
@click.option(
    "--emit",
    metavar="FORM,...",
    default="",
    help="Also write what the compiler made on the way, beside the artifact; forms see below.",
)
@click.option(
    "--estimate",
    is_flag=True,
    help="Also count what runs under emulation and price it in cycles: no latency.",
)
@click.option(
    "--pipeline",
    metavar="CPU",
    help="With --estimate: the CPU whose pipeline is assumed.  [default: the device's]",
)
@click.option(
    "--tune",
    is_flag=True,
    help="First try every tile of every layer, on the device, and keep the best.",
)
@click.option(
    "--board",
    "board_name",
    metavar="NAME",
    help="With --tune: the device that measures.  [default: the one of --device, or this machine]",
)
@click.option(
    "--tuning",
    "tuning_file",
    type=click.Path(path_type=Path),
    help="Tuning database to look tiles up in, and for --tune to write.  [default: the user's]",
)
@click.option(
    "--require-binary",
    is_flag=True,
    help="Fail if a layer stays float that --allow-float does not name.",
)
@click.option(
    "--allow-float",
    multiple=True,
    metavar="LAYER",
    help="With --require-binary: this layer may stay float.",
)
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    help="Names of the classes, one per line; for models that do not bring their own.",
)
@click.option(
    "--mean", metavar="R,G,B", help="What is taken from pixels of 0 to 255; one number or three."
)
@click.option("--std", metavar="R,G,B", help="What they are divided by then.")
@click.option(
    "--uint8",
    is_flag=True,
    help="The caller gives pixels as bytes, N H W C; the network normalises them by --mean and "
    "--std, or as the model says.",
)
@click.option("--bgr", is_flag=True, help="The network wants blue first; so do --mean and --std.")
@click.option(
    "--jobs",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Processes that compile kernels; 0: one per core, eight at most.",
)
@cli.json_option
@cli.version_option
def main(
    model: Path,
    device_name: str,
    output: Path | None,
    verify: bool,
    emit: str,
    estimate: bool,
    pipeline: str | None,
    tune: bool,
    board_name: str | None,
    tuning_file: Path | None,
    require_binary: bool,
    allow_float: tuple[str, ...],
    labels_file: Path | None,
    mean: str | None,
    std: str | None,
    uint8: bool,
    bgr: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Compile MODEL (ONNX) into an artifact that runs on a device with nothing installed there.

    \b
    Example:
      binas-compile model.onnx --device rpi4 -o model.binas --verify
      binas-compile model.onnx --device rpi4 --estimate --pipeline cortex-a76
      binas-compile model.onnx --device rpi4 --tune --board my-pi
      binas-compile model.onnx --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4 --labels names.txt
      binas-run model.binas --device host --input photo.jpg
      binas-compile model.onnx --uint8 --mean 127.5 --std 127.5   (bytes in, no float image)

    MODEL may be example:digits, a small trained network that the package holds, or a model of
    another tool: QONNX, Larq through tf2onnx, any spelling of a sign before a layer.
    Tells which layers became binary, which stayed float, and why; and per step the kernel, what it
    computes and moves, and its share of the estimated time. --json has every step.

    \b
    Forms of --emit:
      relax NAME.relax   the plan as a Relax program, which TVM builds and runs
      tir   NAME.tir     every kernel as its generator wrote it, before TVM lowers it
      llvm  NAME.ll      LLVM's code after TVM lowered and LLVM optimised it
      asm   NAME.s       the machine code in the CPU's assembly language
      c     NAME.plan.c  the plan: which kernel each step calls, on which bytes of the arena
    """
    from binas.compile import cycles, isa  # noqa: PLC0415 (heavy rooms are imported inside)
    from binas.compile.build import compile_model  # noqa: PLC0415
    from binas.compile.model import BinaryModel  # noqa: PLC0415
    from binas.compile.plan import plan  # noqa: PLC0415
    from binas.compile.report import check_binary, compile_record, compile_text  # noqa: PLC0415
    from binas.compile.tuning import Tuning  # noqa: PLC0415
    from binas.devices import registry  # noqa: PLC0415

    if pipeline is not None and not estimate:
        raise UsageError("--pipeline without --estimate", hint="add --estimate")
    if board_name is not None and not tune:
        raise UsageError("--board without --tune", hint="add --tune")
    if allow_float and not require_binary:
        raise UsageError("--allow-float without --require-binary", hint="add --require-binary")
    forms = _forms(emit)
    device = registry.find(device_name)
    isa.find(device.cpu, device.arch)
    if estimate:
        cycles.must_be_possible(device.arch, device.cpu, pipeline)
    source = _example(model)
    loaded = BinaryModel.load(source)
    if labels_file is not None:
        loaded = loaded.described(labels=_labels(labels_file))
    if mean is not None or std is not None:
        loaded = loaded.described(normalisation=_normalisation(mean, std, bgr=bgr))
    # An example lies in the installed package; its artifact belongs where the user is.
    output = output or (Path(source.name) if source != model else model).with_suffix(".binas")
    record.keep(output, [source, *([] if labels_file is None else [labels_file])])
    if require_binary:
        check_binary(plan(loaded).kinds, allow_float)
    tuned = None
    if tune:
        layers = [node.layer for node in plan(loaded).nodes]
        tuned = _tuned(layers, device, board_name, tuning_file, jobs)
    with cli.progress() as bar:
        task = bar.add_task("compile", total=None)
        compiled = compile_model(
            loaded,
            device,
            output,
            verify=verify,
            uint8=uint8,
            emit=forms,
            tuning=Tuning.of_user() if tuning_file is None else Tuning.of_file(tuning_file),
            jobs=jobs,
            say=lambda stage: bar.update(task, description=stage),
        )
        guess = None
        if estimate:
            bar.update(task, description="count under emulation")
            guess = cycles.estimate(compiled.artifact, model=pipeline)
    if as_json:
        cli.emit(compile_record(compiled, guess, tuned))
    else:
        click.echo(compile_text(compiled, guess, tuned))


def _tuned(
    layers: list[Layer], device: Device, board: str | None, file: Path | None, jobs: int
) -> TuneAnswer:
    """Tune the layers that the database does not know."""
    from binas.compile import judges, tune, tuning  # noqa: PLC0415
    from binas.devices import registry  # noqa: PLC0415

    path = file or tuning.user_file()
    if path is None:
        raise UsageError(
            "BINAS_TUNING is off, so what is found cannot be kept", hint="--tuning FILE"
        )
    on = None if board is None else registry.find(board)
    with judges.judge_for(device, on, jobs) as judge, cli.progress() as bar:
        if isinstance(judge, judges.Pipeline):
            cli.say(f"No {device.name} is at hand: tiles are ranked by estimated cycles.")
        task = bar.add_task("tune", total=None)
        found = tune.tune(
            layers,
            device,
            judge,
            path,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    return tune.tuned_record(found, path)


def _forms(text: str) -> tuple[str, ...]:
    """The forms of --emit, each once."""
    from binas.compile.emit import FORMS  # noqa: PLC0415

    forms = tuple(dict.fromkeys(word.strip() for word in text.split(","))) if text else ()
    for form in forms:
        if form not in FORMS:
            raise unknown_name("form of --emit", form, FORMS)
    return forms


def _example(model: Path) -> Path:
    """The file of a model that the package holds, for `example:NAME`; any other path as it is."""
    kind, _, name = str(model).partition("example:")
    if kind or not name or model.exists():
        return model
    from importlib.resources import files  # noqa: PLC0415

    known = {Path(str(f)).stem: Path(str(f)) for f in files("binas.compile.examples").iterdir()}
    models = [stem for stem, file in known.items() if file.suffix == ".onnx"]
    if name not in models:
        raise unknown_name("example", name, models)
    return known[name]


def _labels(path: Path) -> list[str]:
    try:
        labels = record.read_bytes(path).decode().splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text", hint="give a name per line, as UTF-8") from None
    unfit = unfit_name(labels)
    if unfit is not None:
        raise UsageError(f"{path}: the name {unfit!r:.60} cannot be printed", hint="write another")
    return labels


def _normalisation(mean: str | None, std: str | None, *, bgr: bool) -> Normalisation:
    """The numbers of --mean and --std, as many of the one as of the other."""
    found = []
    for name, text, otherwise in (("--mean", mean, 0.0), ("--std", std, 1.0)):
        hint = f"write {name} 127.5 or R,G,B"
        try:
            found.append([float(number) for number in text.split(",")] if text else [otherwise])
        except ValueError:
            raise UsageError(f"{name} {text!r}", hint=hint) from None
        if not all(map(isfinite, found[-1])):
            raise UsageError(f"{name} {text!r} is not finite", hint=hint)
    size = max(len(numbers) for numbers in found)
    means, stds = (tuple(n * size if len(n) == 1 else n) for n in found)
    return Normalisation(mean=means, std=stds, order="BGR" if bgr else "RGB")
