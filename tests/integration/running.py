"""Steps run as kernels on their own: on this CPU between guard pages, or in an emulated ARM."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from binas.compile import build, codegen, samples
from binas.compile.graph import Add, Graph, Node
from binas.compile.isa import Isa
from binas.compile.kernels import family
from binas.compile.tile import Choice, Tile
from binas.devices import zig
from binas.devices.device import Device
from binas.runtime.emulated import emulate_steps
from tests.integration.kernel_meaning import operands

CHILD = Path(__file__).with_name("guarded_run.py")
SPLITS = 3  # ways in which guarded_run.py cuts the work


@dataclass(frozen=True)
class Ran:
    """What the kernels of one ISA computed.

    Attributes:
        isa: For which.
        reads: Case → operands and addends.
        outputs: Case → per split, the arrays written; absent where it did not get so far.
        said: Lines that the child printed.
        returncode: How it ended.
    """

    isa: Isa
    reads: dict[str, list[NDArray[Any]]]
    outputs: dict[str, list[list[NDArray[Any]]]]
    said: list[str] = field(default_factory=list)
    returncode: int = 0

    def must_have_lived(self, cases: Mapping[str, Node]) -> None:
        """No kernel ended the child, failed, or wrote beyond its outputs."""
        last = self.said[-1] if self.said else "nothing"
        assert self.returncode == 0, f"the child died with {self.returncode} in {last}"
        assert [line for line in self.said if line not in cases] == []


def on_this_cpu(
    cases: Mapping[str, Node], isa: Isa, folder: Path, tiles: Mapping[str, Tile] | None = None
) -> Ran:
    """All cases, compiled for an ISA of this CPU and run by `guarded_run.py`."""
    symbols = {name: f"kernel{i}" for i, name in enumerate(cases)}
    chosen = {name: (tiles or {}).get(name) for name in cases}
    kernels = {n: family.generate(cases[n].layer, isa, s, chosen[n]) for n, s in symbols.items()}
    module = codegen.build({symbols[n]: k.function for n, k in kernels.items()}, isa)
    codegen.write_object(module, folder / "kernels.o")
    share(folder / "kernels.o", folder / "kernels.so")
    reads, jobs = {}, []
    for name, node in cases.items():
        reads[name] = operands(node)
        files = {"reads": reads[name], "parameters": family.arrays(node, isa, chosen[name])}
        job: dict[str, Any] = {"symbol": symbols[name], "units": kernels[name].units}
        for what, arrays in files.items():
            job[what] = [f"{symbols[name]}.{what}{i}.npy" for i in range(len(arrays))]
            for file, array in zip(job[what], arrays, strict=True):
                np.save(folder / file, array)
        job["writes"] = [array.nbytes for array in family.meaning(node, reads[name])]
        jobs.append(job)
    (folder / "job.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, str(CHILD), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    outputs = {}
    for name, node in cases.items():
        meant = family.meaning(node, reads[name])
        files_out = [
            [folder / f"{symbols[name]}.split{n}.out{i}.npy" for i in range(len(meant))]
            for n in range(SPLITS)
        ]
        if all(file.exists() for row in files_out for file in row):
            outputs[name] = [
                [
                    np.load(file).view(array.dtype).reshape(array.shape)
                    for file, array in zip(row, meant, strict=True)
                ]
                for row in files_out
            ]
    names = {symbol: name for name, symbol in symbols.items()}
    lines = done.stdout.splitlines() + done.stderr.splitlines()
    said = [" ".join(names.get(word, word) for word in line.split()) for line in lines]
    return Ran(isa, reads, outputs, said, done.returncode)


def share(objects: Path, output: Path) -> None:
    """Link a library that exports every kernel."""
    zig.cc([*zig.library("x86_64"), str(objects), "-o", str(output)])


def emulated(
    cases: Mapping[str, Node],
    device: Device,
    isa: Isa,
    folder: Path,
    tiles: Mapping[str, Tile] | None = None,
) -> Ran:
    """All cases in one artifact for an aarch64 device, run step by step; one split, the whole."""
    graph = Graph([], [])
    taps: dict[str, Any] = {}
    reads = {name: operands(node) for name, node in cases.items()}
    for i, name in enumerate(cases):
        node = _named(cases[name], f"case{i}")
        graph.nodes.append(node)
        samples._declare(graph, node)
        taps.update(zip(node.reads, reads[name], strict=True))
    choices = [Choice(node.layer, (tiles or {}).get(name)) for name, node in cases.items()]
    with mock.patch.object(build, "sample_graph", lambda _: graph):
        artifact = build.compile_choices(choices, {}, device, folder / f"{device.name}.binas")
    found = emulate_steps(artifact, taps)
    outputs = {
        name: [[found[written] for written in node.writes]]
        for name, node in zip(cases, graph.nodes, strict=True)
    }
    return Ran(isa, reads, outputs)


def _named(node: Node, name: str) -> Node:
    """The node with values of its own."""
    stages = tuple(
        replace(stage, value=f"{name}.{stage.value}") if isinstance(stage, Add) else stage
        for stage in node.stages
    )
    return replace(
        node,
        name=name,
        inputs=tuple(f"{name}.{x}{i}" for i, x in enumerate(node.inputs)),
        stages=stages,
        float_out=f"{name}.y" if node.float_out else None,
        bits_out=f"{name}.b" if node.bits_out else None,
    )
