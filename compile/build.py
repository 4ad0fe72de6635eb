"""From a model to an artifact: the stages of the compiler in reading order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from binas.compile import isa as isas
from binas.compile.graph import Graph, Node
from binas.compile.isa import Isa
from binas.compile.manifest import Facts, manifest_of
from binas.compile.memory import MemoryPlan, plan_memory
from binas.compile.model import BinaryModel
from binas.compile.objects import Object, compiled, kernel_version
from binas.compile.pixels import check_normalisation, pixels_of
from binas.compile.plan import plan, plan_layers
from binas.compile.plan_source import Call, plan_source, symbols
from binas.compile.samples import sample_graph
from binas.compile.tile import Choice
from binas.compile.tuning import Origin, Tuning
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.devices.device import Device
from binas.runtime import artifact as artifacts
from binas.runtime.artifact import Artifact
from binas.runtime.verify import VerifyReport

__all__ = ["Compiled", "compile_layers", "compile_model", "kernel_version", "plan_layers", "tiles"]

Say = Callable[[str], None]

_ROOM_BYTES = 64 << 20  # objects, library, harness and artifact of a large network


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a compilation made.

    Attributes:
        artifact: The file.
        lower_bound_bytes: No arena for this plan can be smaller.
        verified: Link of the chain of truth → what its comparison found; empty without verify.
        emitted: Files written besides the artifact.
        notes: Layer → what is said of a layer of another tool that became binary.
        origins: Who chose the tile of each layer.
    """

    artifact: Artifact
    lower_bound_bytes: int
    verified: dict[str, VerifyReport]
    emitted: tuple[Path, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[Layer, Origin] = field(default_factory=dict)


def compile_model(
    model: BinaryModel,
    device: Device,
    output: Path,
    *,
    verify: bool = False,
    uint8: bool = False,
    emit: Sequence[str] = (),
    tuning: Tuning | None = None,
    jobs: int = 0,
    say: Say = lambda _: None,
) -> Compiled:
    """Compile a model for a device.

    Args:
        model: The model.
        device: What it is compiled for; its CPU decides the kernels.
        output: Where the artifact goes; written beside and renamed into place.
        verify: Walk the chain of truth as far as this machine can see.
        uint8: The caller gives the image as bytes [N, H, W, C]; the network normalises them.
        emit: Intermediate forms to write beside the artifact, of `compile/emit.py`.
        tuning: Knows tiles of layers; None: the databases of whoever runs this.
        jobs: Processes that compile kernels; 0: one per core, eight at most.
        say: Told what happens, for people.

    Raises:
        UsageError: Bytes are wanted of a model that reads no image, or does not say what they mean.
        CompileError: The model cannot be compiled.
        WrongAnswerError: A link of the chain differs from the one before it; nothing is written.
    """
    from binas.compile import truth  # noqa: PLC0415 (onnxruntime takes 0.2 s)

    say("plan")
    graph = plan(model)
    say("reference")
    check_normalisation(graph, model.inputs, model.normalisation)
    pixels = pixels_of(graph, model.inputs, model.normalisation) if uint8 else None
    taps = truth.taps(model, graph, truth.fixed_input(model, pixels), pixels)
    facts = Facts(
        model_name=model.name,
        model_digest=model.digest,
        inputs=model.inputs,
        outputs=model.outputs,
        labels=model.labels,
        sources=model.sources,
        normalisation=model.normalisation,
        pixels=pixels,
    )
    layers, known = [node.layer for node in graph.nodes], tuning or Tuning.of_user()
    choices, facts.tuning = _chosen(layers, device, known)
    made, memory = _assemble(
        graph, choices, device, facts, taps, output, say, verify=verify, forms=emit, jobs=jobs
    )
    isa = isas.find(device.cpu, device.arch)
    return Compiled(
        made.artifact,
        memory.lower_bound_bytes,
        made.verified,
        made.emitted,
        model.notes,
        {layer: known.tile(layer, isa)[1] for layer in dict.fromkeys(layers)},
    )


def tiles(
    layers: Sequence[Layer], cpu: str, arch: str, tuning: Tuning | None = None
) -> tuple[str, ...]:
    """The tile that each layer's kernel is made with, in words; empty where there is no choice.

    Args:
        layers: Of a network or a table.
        cpu: LLVM's name of the CPU.
        arch: Its architecture.
        tuning: Knows tiles of layers; None: the databases of whoever runs this.
    """
    isa, known = isas.find(cpu, arch), tuning or Tuning.of_user()
    return tuple(str(known.tile(layer, isa)[0] or "") for layer in layers)


def compile_layers(
    layers: Sequence[Layer],
    device: Device,
    output: Path,
    tuning: Tuning | None = None,
    jobs: int = 0,
) -> Artifact:
    """An artifact of independent steps, one per layer in the order given, with random weights.

    It is for measuring (`Session.layers`): the steps share no data, and there are no model inputs.
    `jobs` is that of `compile_model`.
    """
    chosen = _chosen(layers, device, tuning or Tuning.of_user())
    return compile_choices(*chosen, device, output, jobs)


def compile_choices(
    choices: Sequence[Choice], digests: dict[str, str], device: Device, output: Path, jobs: int = 0
) -> Artifact:
    """The same of kernels whose tiles are chosen.

    Args:
        choices: One per step.
        digests: Of the databases that the tiles are from.
        device: What it is compiled for.
        output: Where the artifact goes.
        jobs: See `compile_model`.
    """
    graph = sample_graph([choice.layer for choice in choices])
    facts = Facts("layers", "0" * 12, inputs=(), outputs=(), labels=(), tuning=digests)
    made, _ = _assemble(
        graph, choices, device, facts, {}, output, lambda _: None, verify=False, jobs=jobs
    )
    return made.artifact


def _chosen(
    layers: Sequence[Layer], device: Device, tuning: Tuning
) -> tuple[list[Choice], dict[str, str]]:
    """The layers with their tiles, and the digests of the databases that were asked."""
    isa = isas.find(device.cpu, device.arch)
    tiles = {layer: tuning.tile(layer, isa)[0] for layer in dict.fromkeys(layers)}
    return [Choice(layer, tiles[layer]) for layer in layers], tuning.digests


@dataclass(frozen=True, slots=True)
class _Made:
    artifact: Artifact
    verified: dict[str, VerifyReport]
    emitted: tuple[Path, ...]


def _assemble(
    graph: Graph,
    choices: Sequence[Choice],
    device: Device,
    facts: Facts,
    taps: dict[str, NDArray[Any]],
    output: Path,
    say: Say,
    *,
    verify: bool,
    forms: Sequence[str] = (),
    jobs: int = 0,
) -> tuple[_Made, MemoryPlan]:
    from binas.compile import emit, link  # noqa: PLC0415
    from binas.compile.chain import check  # noqa: PLC0415
    from binas.compile.stored import reference_of  # noqa: PLC0415

    if output.is_dir():
        raise UsageError(f"{output} is a folder, expected a file", hint="give -o NAME.binas")
    _check_room()
    isa = isas.find(device.cpu, device.arch)
    memory = plan_memory(graph)
    say("kernels")
    kernels = compiled(choices, isa, jobs)
    names = symbols(kernels)
    calls, weights = _bind(graph.nodes, choices, kernels, isa)
    steps = list(zip(calls, (kernels[choice].tile for choice in choices), strict=True))
    manifest = manifest_of(graph, device, facts, steps, memory, len(weights))
    plan_c = plan_source(graph, calls, memory, weights, facts.pixels)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "plan.c"
        source.write_text(plan_c)
        say("link")
        codes = {names[choice]: kernel.code for choice, kernel in kernels.items()}
        stored = reference_of(graph, manifest, taps)
        members = link.members(isa.arch, Path(folder), codes, weights, stored)
        beside = artifacts.write(Path(folder) / output.name, manifest, members)
        verified = {}
        if verify:
            say("verify")
            verified = check(graph, taps, beside, device)
    made = artifacts.write(output, manifest, members)
    emitted = emit.write(forms, output, emit.Made(graph, calls, manifest, names, isa, plan_c))
    return _Made(made, verified, tuple(emitted)), memory


def _check_room() -> None:
    """LLVM ends the whole process where it cannot write, so look before."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        raise UsageError(
            f"{folder} has {free >> 20} MiB left for temporary files, expected {_ROOM_BYTES >> 20}",
            hint="free space, or set TMPDIR to another folder",
        )


def _bind(
    nodes: Sequence[Node], choices: Sequence[Choice], kernels: dict[Choice, Object], isa: Isa
) -> tuple[list[Call], bytes]:
    """Lay all parameter arrays out in one section, equal ones once."""
    from binas.compile.kernels import family  # noqa: PLC0415

    section, places, calls = bytearray(), dict[bytes, int](), []
    names = symbols(kernels)
    for node, choice in zip(nodes, choices, strict=True):
        offsets = []
        for array in family.arrays(node, isa, choice.tile):
            data = array.astype(array.dtype.newbyteorder("<")).tobytes()
            if data not in places:
                places[data] = len(section)
                section += data + bytes(-len(data) % 64)
            offsets.append(places[data])
        kernel = kernels[choice]
        calls.append(Call(node, names[choice], kernel.units, kernel.sweeps, tuple(offsets)))
    return calls, bytes(section) or bytes(64)
