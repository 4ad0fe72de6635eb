"""What Bi-Real-18 takes of a board's disk and memory: `python -m benchmarks.footprint --json FILE`.

The artifact is compiled with an empty kernel cache, so its compile time is one of a new machine
whose linker is prepared. Peak memory is what the kernel accounts to the harness, which reads the
weights, while it measures the network.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks import commit, models, report_file, targets
from benchmarks.figures import KIB
from benchmarks.judge import judge
from benchmarks.onnx_builder import saved
from benchmarks.schema import FootprintReport
from binas.compile.build import Compiled, compile_model
from binas.compile.model import BinaryModel
from binas.core import cli, record
from binas.core.errors import MeasureError
from binas.devices import probe, registry

RUNS = ("--repeats", "20", "--min-batch-ns", "100000000", "--max-ns", "4000000000")


@click.command(cls=cli.Command)
@report_file.option
@click.option("--device", default="host", show_default=True, help="Compiled for; run on this host.")
def main(*, file: Path, device: str) -> None:
    """Compile Bi-Real-18, run it, and weigh it."""
    sources = commit.of_sources()
    with TemporaryDirectory() as folder:
        path = saved("bireal18", models.bireal18, Path(folder))
        os.environ["BINAS_KERNEL_CACHE"] = str(Path(folder) / "kernels")
        begin = time.monotonic()
        made = compile_model(
            BinaryModel.load(path), registry.find(device), Path(folder) / "bireal18.binas"
        )
        compile_s = time.monotonic() - begin
        runs_here = made.artifact.manifest.arch == registry.find("host").arch
        peak_bytes = peak(made, Path(folder)) if runs_here else None
        size = made.artifact.path.stat().st_size
    report = FootprintReport(
        device=device,
        cpu=probe.this_machine().model,
        commit=sources,
        compile_s=compile_s,
        artifact_bytes=size,
        weights_bytes=made.artifact.manifest.weights_bytes,
        arena_bytes=made.artifact.manifest.arena_bytes,
        lower_bound_bytes=made.lower_bound_bytes,
        peak_bytes=peak_bytes,
    )
    record.save(report, file)
    for line in lines(report):
        click.echo(line)


def lines(report: FootprintReport) -> list[str]:
    """What was weighed, and every target that it is held to."""
    memory = "not run here" if report.peak_bytes is None else f"{report.peak_bytes} bytes"
    weighed = [
        f"artifact {report.artifact_bytes} bytes, {report.weights_bytes} of them weights",
        f"arena {report.arena_bytes} bytes, at least {report.lower_bound_bytes}",
        f"peak memory: {memory}",
    ]
    return weighed + [str(judge(target, [report])) for target in targets.footprint([report.device])]


def peak(made: Compiled, folder: Path) -> int:
    """Most bytes that the harness had in memory at once (VmHWM), asked while it runs.

    Raises:
        MeasureError: It ended badly, or before it was asked.
    """
    for member in ("bench", "weights.bin"):
        (folder / member).write_bytes(made.artifact.read(member))
    (folder / "bench").chmod(0o700)
    line = [str(folder / "bench"), "time", "--weights", "weights.bin", *RUNS]
    found = 0
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL) as harness:
        while harness.poll() is None:
            try:
                said = Path(f"/proc/{harness.pid}/status").read_text()
            except OSError:
                break
            lines = [line.split() for line in said.splitlines() if line.startswith("VmHWM:")]
            found = max([found, *(int(words[1]) * KIB for words in lines)])
            time.sleep(0.01)
    if harness.returncode != 0 or not found:
        raise MeasureError(
            f"the harness ended with {harness.returncode}", hint="compile for --device host"
        )
    return found


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.footprint")
