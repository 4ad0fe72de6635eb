"""How many binary MACs a cycle our ARM code does in LLVM's models: `python -m benchmarks.arm`.

No ARM is needed and no clock is involved: figures are estimates, and docs/raspberry-pi.md says how
to hold a board against them. A layer is compiled from an ONNX file, and the machine code of its
artifact is executed in an emulator, which tells the order of its blocks. What is priced by llvm-mca
is that very stretch of instructions, branches foreseen and data in the first cache: the innermost
loop, a tile and a row (`arm_stretches.py`).
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks import commit, models, report_file, targets
from benchmarks.arm_stretches import stretches
from benchmarks.arm_works import ANY, BUILDS, SIZES, Out, layer_name
from benchmarks.judge import judge
from benchmarks.macs import Conv
from benchmarks.onnx_builder import saved
from benchmarks.schema import ArmReport, ArmRow
from benchmarks.works import Work
from binas.compile import cycles
from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.core import cli, record
from binas.devices import registry
from binas.runtime.artifact import Artifact

INSTRUCTIONS = 50_000  # priced of a stretch: its steady state, hardly of its beginning
ROW_ITERATIONS = 4


@click.command(cls=cli.Command)
@report_file.option
@click.option("--channels", type=int, multiple=True, help="Of these layers only; repeatable.")
def main(*, file: Path, channels: tuple[int, ...]) -> None:
    """Price the emitted code of binary 3x3 layers for ARM CPUs that are not here."""
    sources, rows = commit.of_sources(), list[ArmRow]()
    with TemporaryDirectory() as folder:
        for C in channels or SIZES:
            for build in dict.fromkeys((*BUILDS.values(), ANY)):
                models_of = [m for m, own in BUILDS.items() if build in (own, ANY)]
                for out, artifact, index in layers(C, build, Path(folder)):
                    rows += priced(C, out, build, artifact, index, models_of)
    version = ".".join(map(str, cycles.tool_version(cycles.tool("llvm-mca"))))
    report = ArmReport(llvm_mca=version, commit=sources, rows=tuple(rows))
    record.save(report, file)
    for row in rows:
        click.echo(
            f"{row.work:9} {row.out:8} {row.build:7} {row.model:11} inner {row.inner:5.1f} "
            f"tile {row.tile:5.1f} row {row.row:5.1f}  {row.kernel}"
        )
    for target in targets.arm(channels or tuple(SIZES)):
        click.echo(judge(target, [report]))


@cache
def layers(C: int, device: str, folder: Path) -> list[tuple[Out, Artifact, int]]:
    """A 3x3 layer with each kind of result: artifact and index of the step."""
    found: list[tuple[Out, Artifact, int]] = []
    for form in ("bits", "residual"):
        conv = Conv(channels=C, filters=C, size=SIZES[C])
        work = Work(name=form, form=form, conv=conv)
        layer = partial(models.layer_model, work=work, depth=1)
        path = saved(f"{form}_{C}_{device}", layer, folder)
        made = compile_model(
            BinaryModel.load(path), registry.find(device), path.with_suffix(".binas")
        ).artifact
        steps = made.manifest.steps
        places = [i for i, step in enumerate(steps) if step.layer.op == "binary_conv"]
        outs: tuple[Out, ...] = ("bits", "floats") if form == "bits" else ("residual",)
        found += [(out, made, place) for out, place in zip(outs, places, strict=True)]
    return found


def priced(
    C: int, out: Out, build: str, artifact: Artifact, index: int, names: list[str]
) -> list[ArmRow]:
    """One layer in the models of some CPUs."""
    found = stretches(artifact, index)
    rates = {name: [one.macs / _cycles(one.text, name) for one in found] for name in names}
    return [
        ArmRow(
            work=layer_name(C),
            out=out,
            build=build,
            kernel=artifact.manifest.steps[index].kernel,
            model=name,
            inner=rates[name][0],
            tile=rates[name][1],
            row=rates[name][2],
            row_instructions=found.row.text.count("\n") + 1,
            stack_accesses=found.row.text.count("[sp"),
        )
        for name in names
    ]


@cache
def _cycles(text: str, model: str) -> float:
    """A stretch over and over; builds for different CPUs may hold the same instructions."""
    iterations = max(ROW_ITERATIONS, INSTRUCTIONS // (text.count("\n") + 1))
    return cycles.priced([text], "aarch64", model, iterations=iterations)[0]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.arm")
