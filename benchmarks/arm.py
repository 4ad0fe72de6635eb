"""How many binary MACs a cycle our ARM code does in LLVM's models: `python -m benchmarks.arm`.

No ARM is needed and no clock is involved: figures are estimates, and docs/raspberry-pi.md says how
to hold a board against them. A layer is compiled from an ONNX file, and the machine code of its
artifact is executed in an emulator, which tells the order of its blocks. What is priced by llvm-mca
is that very stretch of instructions, branches foreseen and data in the first cache: the innermost
loop, a tile and a row (`arm_stretches.py`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import click

from benchmarks import models, report_file
from benchmarks.arm_stretches import stretches
from benchmarks.macs import Conv
from benchmarks.onnx_builder import saved
from benchmarks.works import Work
from binas.compile import cycles
from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.core import cli
from binas.devices import registry
from binas.runtime.artifact import Artifact

SIZES = {32: 56, 64: 56, 128: 28, 256: 14, 512: 7}  # channels → rows, as in ResNet-18
BUILDS = {"cortex-a53": "rpi3", "cortex-a72": "rpi4", "cortex-a76": "rpi5", "neoverse-n1": "rpi5"}
ANY = "aarch64"  # the build for all of them
ONE_BUILD_SHARE = 0.97  # of the best build's rate
INSTRUCTIONS = 50_000  # priced of a stretch: its steady state, hardly of its beginning
ROW_ITERATIONS = 4

Out = Literal["bits", "floats", "residual"]


class Low(NamedTuple):
    """What is wanted at least, MACs a cycle: of cores that reorder, and of one that does not."""

    inner: tuple[float, float]
    tile: tuple[float, float] | None


LOWS = {
    32: Low((80, 34), None),
    64: Low((84, 35), (76, 32.5)),
    128: Low((84, 35), (78, 33)),
    256: Low((84, 35), (78, 33)),
    512: Low((84, 35), (78, 33)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One layer of one build in one CPU's model.

    Attributes:
        work: Channels and rows.
        out: What leaves it.
        build: Device it was compiled for.
        kernel: Tile and instruction set, as the artifact says.
        model: LLVM's name of the CPU.
        inner: MACs per cycle of the inner loop.
        tile: Of a whole tile.
        row: Of a whole row.
        row_instructions: Instructions of that row.
        stack_accesses: Those among them that read or write the stack.
        met: Whether inner loop and tile are as fast as wanted. The build for all is not asked: it
            is compared with the others instead (`one_build`).
    """

    work: str
    out: Out
    build: str
    kernel: str
    model: str
    inner: float
    tile: float
    row: float
    row_instructions: int
    stack_accesses: int
    met: bool


@click.command(cls=cli.Command)
@report_file.option
@click.option("--channels", type=int, multiple=True, help="Of these layers only; repeatable.")
def main(*, file: Path, channels: tuple[int, ...]) -> None:
    """Price the emitted code of binary 3x3 layers for ARM CPUs that are not here."""
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        for C in channels or SIZES:
            for build in dict.fromkeys((*BUILDS.values(), ANY)):
                models_of = [m for m, own in BUILDS.items() if build in (own, ANY)]
                for out, artifact, index in layers(C, build, Path(folder)):
                    rows += judged(C, out, build, artifact, index, models_of)
    report = {
        "schema": "binas.benchmark.arm/1",
        "kind": "estimate",
        "llvm_mca": ".".join(map(str, cycles.tool_version(cycles.tool("llvm-mca")))),
        "one_build": one_build(rows),
        "rows": [asdict(row) for row in rows],
    }
    report_file.write(file, report)
    for row in rows:
        click.echo(
            f"{row.work:9} {row.out:8} {row.build:7} {row.model:11} inner {row.inner:5.1f} "
            f"tile {row.tile:5.1f} row {row.row:5.1f}  {row.kernel}{'' if row.met else '  MISSED'}"
        )
    click.echo(json.dumps(report["one_build"]))


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


def judged(
    C: int, out: Out, build: str, artifact: Artifact, index: int, names: list[str]
) -> list[Row]:
    """One layer in the models of some CPUs."""
    found = stretches(artifact, index)
    rates = {name: [one.macs / _cycles(one.text, name) for one in found] for name in names}
    return [
        Row(
            work=f"{C}x{SIZES[C]}",
            out=out,
            build=build,
            kernel=artifact.manifest.steps[index].kernel,
            model=name,
            inner=rates[name][0],
            tile=rates[name][1],
            row=rates[name][2],
            row_instructions=found.row.text.count("\n") + 1,
            stack_accesses=found.row.text.count("[sp"),
            met=build == ANY or _met(LOWS[C], out, name, *rates[name][:2]),
        )
        for name in names
    ]


@cache
def _cycles(text: str, model: str) -> float:
    """A stretch over and over; builds for different CPUs may hold the same instructions."""
    iterations = max(ROW_ITERATIONS, INSTRUCTIONS // (text.count("\n") + 1))
    return cycles.priced([text], "aarch64", model, iterations=iterations)[0]


def _met(low: Low, out: Out, model: str, inner: float, tile: float) -> bool:
    in_order = model == "cortex-a53"
    enough = inner >= low.inner[in_order]
    # The residual form reads a float for each that it writes, and has no target of its own.
    return enough and (low.tile is None or out == "residual" or tile >= low.tile[in_order])


def one_build(rows: list[Row]) -> dict[str, float | bool]:
    """How the inner loops of the build for all compare with each CPU's own, at worst."""
    own = {(r.work, r.out, r.model): r.inner for r in rows if r.build != ANY}
    shares = [r.inner / own[r.work, r.out, r.model] for r in rows if r.build == ANY]
    return {"least_share": min(shares), "met": min(shares) >= ONE_BUILD_SHARE}


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.arm")
