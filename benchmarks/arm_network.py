"""Where Bi-Real-18's cycles go on an ARM that is not here: `python -m benchmarks.arm_network`.

Instructions are counted by an emulator and priced by llvm-mca, as `binas-compile --estimate` does;
no clock is involved, caches and branches are left out. Besides the steps this counts what stands
around them in a run: the image brought into the network's layout, the result copied out.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks import commit, models, report_file, targets
from benchmarks.judge import judge
from benchmarks.onnx_builder import saved
from benchmarks.schema import ArmNetworkReport, ArmStep
from binas.compile import cycles
from binas.compile.build import compile_model
from binas.compile.model import BinaryModel
from binas.core import cli, record
from binas.devices import registry
from binas.runtime.artifact import Artifact
from binas.runtime.emulated import EmulatedSession

CONVOLUTIONS = ("binary_conv", "conv")


@click.command(cls=cli.Command)
@report_file.option
@click.option("--device", default="rpi4", show_default=True, help="Compiled for; its CPU's model.")
def main(*, file: Path, device: str) -> None:
    """Estimate the cycles of Bi-Real-18 by kind of step."""
    sources = commit.of_sources()
    with TemporaryDirectory() as folder:
        path = saved("bireal18", models.bireal18, Path(folder))
        made = compile_model(
            BinaryModel.load(path), registry.find(device), path.with_suffix(".binas")
        ).artifact
        found = cycles.estimate(made)
        outside = around(made, found.model)
    steps = list(zip(made.manifest.steps, found.steps, strict=True))
    kinds: defaultdict[str, float] = defaultdict(float)
    for step, cost in steps:
        kinds[step.layer.op] += cost
    macs = sum(step.layer.macs for step, _ in steps if step.layer.op == "binary_conv")
    rest = outside + sum(cost for kind, cost in kinds.items() if kind not in CONVOLUTIONS)
    report = ArmNetworkReport(
        device=device,
        model=found.model,
        commit=sources,
        total_cycles=found.total + outside,
        cycles={**kinds, "around": outside},
        rest_cycles=rest,
        binary_macs=macs,
        steps=tuple(
            ArmStep(step=step.name, kernel=step.kernel, macs=step.layer.macs, cycles=cost)
            for step, cost in steps
        ),
    )
    record.save(report, file)
    for kind, cost in (*report.cycles.items(), ("total", report.total_cycles)):
        click.echo(f"{kind:12} {cost / 1e6:8.2f} million cycles of {found.model}")
    click.echo(f"neither binary nor float convolution: {rest / 1e6:.2f} million")
    click.echo(judge(targets.arm_network([device]), [report]))


def around(artifact: Artifact, model: str) -> float:
    """Cycles of one run outside of the kernels."""
    session = EmulatedSession(artifact)
    session.run(artifact.inputs())
    with TemporaryDirectory() as folder:
        bench = Path(folder) / "bench"
        bench.write_bytes(artifact.read("bench"))
        kernels = cycles.disassembled(bench, "aarch64").addresses
        code = cycles.disassembled(bench, "aarch64", around=True)
    blocks = [
        cycles.Block(address, size // 4, executed)
        for (address, size), executed in session.blocks.items()
        if address not in kernels and address in code.addresses
    ]
    prices = cycles.priced([code.text(block) for block in blocks], "aarch64", model)
    return sum(block.executed * cost for block, cost in zip(blocks, prices, strict=True))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.arm_network")
