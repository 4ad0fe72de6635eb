"""`binas-compile`: an ONNX model in, one file for a device out."""

from __future__ import annotations

from pathlib import Path

import click

from binas.core import cli
from binas.core.errors import UsageError, unknown_name


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
@cli.json_option
@cli.version_option
def main(
    model: Path,
    device_name: str,
    output: Path | None,
    verify: bool,
    emit: str,
    require_binary: bool,
    allow_float: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compile MODEL (ONNX) into an artifact that runs on a device with nothing installed there.

    \b
    Example:
      binas-compile model.onnx --device rpi4 -o model.binas --verify
      binas-run model.binas --device host --input x.npy

    MODEL may be example:digits, a small trained network that the package holds.
    Tells which layers became binary, which stayed float, and why; and per step the kernel, what it
    computes and moves, and its share of the estimated time. --json has every step.

    \b
    Forms of --emit:
      tir   NAME.tir     every kernel as its generator wrote it, before TVM lowers it
      llvm  NAME.ll      LLVM's code after TVM lowered and LLVM optimised it
      asm   NAME.s       the machine code in the CPU's assembly language
      c     NAME.plan.c  the plan: which kernel each step calls, on which bytes of the arena
    """
    from binas.compile import isa  # noqa: PLC0415 (heavy rooms are imported inside commands)
    from binas.compile.build import compile_model  # noqa: PLC0415
    from binas.compile.model import BinaryModel  # noqa: PLC0415
    from binas.compile.plan import plan  # noqa: PLC0415
    from binas.compile.report import check_binary, compile_record, compile_text  # noqa: PLC0415
    from binas.devices import registry  # noqa: PLC0415

    forms = _forms(emit)
    device = registry.find(device_name)
    isa.find(device.cpu, device.arch)
    source = _example(model)
    loaded = BinaryModel.load(source)
    # An example lies in the installed package; its artifact belongs where the user is.
    output = output or (Path(source.name) if source != model else model).with_suffix(".binas")
    if output.exists() and output.samefile(source):
        raise UsageError(f"{output} would overwrite the model", hint="give another -o NAME.binas")
    if require_binary:
        check_binary(plan(loaded).kinds, allow_float)
    with cli.progress() as bar:
        task = bar.add_task("compile", total=None)
        compiled = compile_model(
            loaded,
            device,
            output,
            verify=verify,
            emit=forms,
            say=lambda stage: bar.update(task, description=stage),
        )
    if as_json:
        cli.emit(compile_record(compiled))
    else:
        click.echo(compile_text(compiled))


def _forms(text: str) -> tuple[str, ...]:
    """The forms of --emit, each once."""
    from binas.compile.emit import FORMS  # noqa: PLC0415

    forms = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
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
