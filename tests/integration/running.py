"""Steps run as kernels on their own: between guard pages on x86, or in an emulated ARM."""

from __future__ import annotations

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
from binas.devices.device import CPUS, Device
from binas.devices.probe import this_machine
from binas.runtime.emulated import emulate_steps
from tests.integration.kernel_jobs import Job, in_bochs, on_this_cpu
from tests.integration.kernel_meaning import operands


@dataclass(frozen=True)
class Ran:
    """What the kernels of one ISA computed.

    Attributes:
        isa: For which.
        reads: Case → operands and addends.
        outputs: Case → per split, the arrays written; absent where it did not get so far.
        said: What was wrong, and cases that were begun.
        died: What ended them all before the last, if anything did.
        module: The compiled kernels, `kernel0` and so on.
    """

    isa: Isa
    reads: dict[str, list[NDArray[Any]]]
    outputs: dict[str, list[list[NDArray[Any]]]]
    said: list[str] = field(default_factory=list)
    died: str = ""
    module: Any = None

    def must_have_lived(self, cases: Mapping[str, Node]) -> None:
        """No kernel ended the run, failed, or wrote beyond its outputs."""
        last = self.said[-1] if self.said else "nothing"
        assert not self.died, f"{self.died} in {last}"
        assert [line for line in self.said if line not in cases] == []


def on_x86(
    cases: Mapping[str, Node],
    isa: Isa,
    folder: Path,
    tiles: Mapping[str, Tile | None] | None = None,
) -> Ran:
    """All cases, compiled for an ISA of x86; in Bochs where this CPU lacks it."""
    symbols = {name: f"kernel{i}" for i, name in enumerate(cases)}
    chosen = {name: (tiles or {}).get(name) for name in cases}
    kernels = {n: family.generate(cases[n].layer, isa, s, chosen[n]) for n, s in symbols.items()}
    module = codegen.build({symbols[n]: k.function for n, k in kernels.items()}, isa)
    objects = folder / "kernels.o"
    codegen.write_object(module, objects)
    reads = {name: operands(node) for name, node in cases.items()}
    meant = {name: family.meaning(node, reads[name]) for name, node in cases.items()}
    jobs = [
        Job(
            symbols[name],
            kernels[name].units,
            reads[name],
            family.arrays(node, isa, chosen[name]),
            [array.nbytes for array in meant[name]],
        )
        for name, node in cases.items()
    ]
    here = set(CPUS["x86_64"][isa.cpu]) <= set(this_machine().features)
    done = on_this_cpu(jobs, objects, folder) if here else in_bochs(jobs, objects, folder, isa.cpu)
    outputs = {
        name: [
            [
                np.frombuffer(data, array.dtype).reshape(array.shape)
                for data, array in zip(split, meant[name], strict=True)
            ]
            for split in done.outputs[symbol]
        ]
        for name, symbol in symbols.items()
        if symbol in done.outputs
    }
    names = {symbol: name for name, symbol in symbols.items()}
    said = [" ".join(names.get(word, word) for word in line.split()) for line in done.said]
    return Ran(isa, reads, outputs, said, done.died, module)


def emulated(
    cases: Mapping[str, Node],
    device: Device,
    isa: Isa,
    folder: Path,
    tiles: Mapping[str, Tile | None] | None = None,
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
