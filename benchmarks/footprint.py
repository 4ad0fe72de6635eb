"""What Bi-Real-18 takes of a board's disk and memory: `python -m benchmarks.footprint --json FILE`.

The artifact is compiled with an empty kernel cache, so its compile time is one of a new machine
whose linker is prepared. Peak memory is what the kernel accounts to the harness, which maps the
weights, while it measures the network.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import models, report_file
from benchmarks.onnx_builder import saved
from binas.compile.build import Compiled, compile_model
from binas.compile.model import BinaryModel
from binas.core import cli
from binas.core.errors import MeasureError
from binas.devices import registry

KIB, MIB = 1 << 10, 1 << 20
RUNS = ("--repeats", "20", "--min-batch-ns", "100000000", "--max-ns", "4000000000")


@click.command(cls=cli.Command)
@report_file.option
@click.option("--device", default="host", show_default=True, help="Compiled for; run on this host.")
def main(*, file: Path, device: str) -> None:
    """Compile Bi-Real-18, run it, and weigh it."""
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
        weighed = rows(made, compile_s, peak_bytes)
    report = {"schema": "binas.benchmark.footprint/1", "device": device, "rows": weighed}
    report_file.write(file, report)
    for row in weighed:
        click.echo("{what}: {value} {unit}, at most {limit}: {verdict}".format(**row))


def rows(made: Compiled, compile_s: float, peak_bytes: int | None) -> list[dict[str, Any]]:
    """Every figure beside its limit."""
    manifest = made.artifact.manifest
    size = made.artifact.path.stat().st_size
    weights, arena = manifest.weights_bytes, manifest.arena_bytes
    found = [
        ("artifact", size, weights + 256 * KIB, "bytes"),
        ("arena", arena, round(1.1 * made.lower_bound_bytes), "bytes"),
        ("compile time", round(compile_s, 1), 30.0, "s"),
    ]
    if peak_bytes is not None:
        found.append(("peak memory", peak_bytes, round(1.3 * (weights + arena)) + 4 * MIB, "bytes"))
    return [
        {
            "what": what,
            "value": value,
            "limit": limit,
            "unit": unit,
            "verdict": "met" if value <= limit else "missed",
        }
        for what, value, limit, unit in found
    ]


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
