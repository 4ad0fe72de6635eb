"""How many binary MACs a cycle our ARM code does in LLVM's models: `python -m benchmarks.arm`.

No ARM is needed and no clock is involved: figures are estimates, and docs/raspberry-pi.md says how
to hold a board against them. A layer is compiled from an ONNX file, and the machine code of its
artifact is executed in an emulator, which tells the order of its blocks. What is priced by llvm-mca
is that very stretch of instructions, branches foreseen and data in the first cache:

inner   one turn of the innermost loop: from the block that counts most to itself again
tile    a whole tile away from the borders, from its first instruction to that of the next tile;
        where an image has none, the whole row
row     one row of the image and one block of channels in the middle of it, from its first
        instruction to that of the next row: borders, thresholds or floats, and stores included

MACs are those inside the image. Each 16-byte `cnt` does 128 of them; a layer that counted anything
another way, or on padding, would not come out even, and is reported as wrong.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import click
import onnx

from benchmarks import models, report_file
from benchmarks.macs import Conv, executed
from benchmarks.onnx_builder import OnnxBuilder
from benchmarks.works import Work
from binas.compile import cycles
from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.core import cli
from binas.core.errors import MeasureError
from binas.devices import registry
from binas.runtime.artifact import Artifact, Step
from binas.runtime.emulated import EmulatedSession

SIZES = {32: 56, 64: 56, 128: 28, 256: 14, 512: 7}  # channels → rows, as in ResNet-18
BUILDS = {"cortex-a53": "rpi3", "cortex-a72": "rpi4", "cortex-a76": "rpi5", "neoverse-n1": "rpi5"}
ANY = "aarch64"  # the build for all of them
ONE_BUILD_SHARE = 0.97  # of the best build's rate
INSTRUCTIONS = 50_000  # priced of a stretch: its steady state, hardly of its beginning
ROW_ITERATIONS = 4
REGISTER_MACS = 128  # of one `cnt v.16b`

Out = Literal["bits", "floats", "residual"]
Block = tuple[int, int]  # address, instructions


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


class Stretch(NamedTuple):
    """Instructions, and the MACs that they do."""

    text: str
    macs: int


class Stretches(NamedTuple):
    """What is priced of a layer."""

    inner: Stretch
    tile: Stretch
    row: Stretch


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
        build = OnnxBuilder(f"{form}_{C}")
        path = folder / f"{form}_{C}_{device}.onnx"
        work = Work(name=form, form=form, conv=conv)
        onnx.save(build.finish(models.layer_model(build, work, 1)), path)
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


def stretches(artifact: Artifact, index: int) -> Stretches:
    """The inner loop, a tile and a middle row of a step.

    Raises:
        MeasureError: It does not count as it should.
    """
    step = artifact.manifest.steps[index]
    with TemporaryDirectory() as folder:
        bench = Path(folder) / "bench"
        bench.write_bytes(artifact.read("bench"))
        code = cycles.disassembled(bench, "aarch64")
    trace = [
        (at, size // 4)
        for at, size in EmulatedSession(artifact).trace(index)
        if at in code.addresses
    ]
    counts = Counter(trace)
    texts = {block: code.instructions(*block) for block in counts}
    counting = {block: sum(map(_counts, lines)) for block, lines in texts.items()}
    done = REGISTER_MACS * sum(counting[block] * n for block, n in counts.items())
    if done != counted(step):
        raise MeasureError(
            f"step {step.name} counts {done} of {counted(step)} MACs with vectors",
            hint="it has fallen back to something else: look at binas-compile --emit asm",
        )
    hottest = max(counts, key=lambda block: counting[block] * counts[block])
    row = _row(step, trace, counts)
    whole = _stretch(row, texts)
    inner = _stretch(_loop(hottest, trace), texts)
    return Stretches(inner, _tile(step, row, texts) or whole, whole)


def _loop(head: Block, trace: Sequence[Block]) -> Sequence[Block]:
    """The most frequent way from a block back to it."""
    places = [place for place, block in enumerate(trace) if block == head]
    ways = Counter(tuple(trace[a:b]) for a, b in itertools.pairwise(places))
    return ways.most_common(1)[0][0] if ways else ()


def _row(step: Step, trace: Sequence[Block], counts: Mapping[Block, int]) -> Sequence[Block]:
    """From the beginning of the middle row to that of the next one."""
    P, channels = step.layer.out_shape[1], _tile_size(step)[1]
    rows = P * -(-step.layer.out_channels // channels)
    heads = [block for block, n in counts.items() if n == rows]
    if not heads:
        raise MeasureError(
            f"no block of step {step.name} begins its {rows} rows", hint="has the nest changed?"
        )
    places = [place for place, block in enumerate(trace) if block == heads[0]]
    middle = rows // 2 + P // 2 - (rows // 2) % P  # an inner row of some block of channels
    return trace[places[middle] : places[middle + 1]]


def _tile(step: Step, row: Sequence[Block], texts: Mapping[Block, list[str]]) -> Stretch | None:
    """A way from a block back to it that does the MACs of a tile without borders."""
    pixels, channels = _tile_size(step)
    wanted = pixels * channels * math.prod(step.layer.kernel) * step.layer.in_shape[3]
    ways = (_stretch(_loop(head, row), texts) for head in dict.fromkeys(row))
    return next((way for way in ways if way.macs == wanted), None)


def _tile_size(step: Step) -> tuple[int, int]:
    """Pixels and channels, as in "binary_conv dot affine cortex-a72 4x16"."""
    found = re.search(r" (\d+)x(\d+)\b", step.kernel)
    if found is None:
        raise MeasureError(
            f"step {step.name} has no tile: {step.kernel}", hint="look at its family"
        )
    return int(found[1]), int(found[2])


def _stretch(blocks: Sequence[Block], texts: Mapping[Block, list[str]]) -> Stretch:
    lines = [line for block in blocks for line in texts[block]]
    return Stretch("\n".join(lines), REGISTER_MACS * sum(map(_counts, lines)))


def _counts(line: str) -> bool:
    return line.startswith("cnt") and ".16b" in line


def counted(step: Step) -> int:
    """Binary MACs of a step that lie inside the image."""
    _, H, _, C = step.layer.in_shape
    K = step.layer.out_channels
    return executed(Conv(channels=C, filters=K, size=H), binary=True)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.arm")
