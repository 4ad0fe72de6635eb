"""What an artifact says of itself: its manifest, put together from what the compiler decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata

from binas.compile.graph import Graph
from binas.compile.memory import MemoryPlan
from binas.compile.objects import kernel_version
from binas.compile.pixels import Pixels, entries
from binas.compile.plan_source import Call
from binas.devices.device import CPUS, Device
from binas.runtime.artifact import LayerKind, Manifest, Normalisation, Port, Step, Tensor


@dataclass(slots=True)
class Facts:
    """What a manifest holds besides the plan; fields as `Manifest` names them."""

    model_name: str
    model_digest: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...]
    sources: dict[str, str] = field(default_factory=dict)
    normalisation: Normalisation | None = None
    pixels: Pixels | None = None
    tuning: dict[str, str] = field(default_factory=dict)


def manifest_of(
    graph: Graph,
    device: Device,
    facts: Facts,
    made: Sequence[tuple[Call, str]],
    memory: MemoryPlan,
    weights_bytes: int,
) -> Manifest:
    """The manifest of a plan.

    Args:
        graph: The fused steps.
        device: What they are compiled for.
        facts: What else is known.
        made: Per step, its call and what people are told of its kernel.
        memory: Where its tensors lie.
        weights_bytes: Of all parameter arrays.
    """

    def tensor(name: str) -> Tensor:
        value = graph.values[name]
        return Tensor(
            name=name,
            shape=value.shape,
            dtype=value.dtype,
            offset=memory.offsets[name],
            size_bytes=value.size_bytes,
        )

    steps = tuple(
        Step(
            name=node.name,
            nodes=node.sources,
            layer=node.layer,
            kernel=tile,
            inputs=tuple(tensor(name) for name in node.reads),
            outputs=tuple(tensor(name) for name in node.writes),
            symbol=call.symbol,
        )
        for node, (call, tile) in zip(graph.nodes, made, strict=True)
    )
    packages = ("binas", "apache-tvm", "onnx", "ziglang")
    return Manifest(
        model_name=facts.model_name,
        model_digest=facts.model_digest,
        device=device.name,
        arch=device.arch,
        cpu=device.cpu,
        features=CPUS[device.arch][device.cpu],
        kernel_version=kernel_version(),
        versions={name: metadata.version(name) for name in packages},
        inputs=entries(graph, facts.inputs, facts.pixels),
        outputs=tuple(
            replace(port, channels_last=at in graph.outputs_last)
            for at, port in enumerate(facts.outputs)
        ),
        steps=steps,
        layers=tuple(
            LayerKind(name=name, kind=kind, reason=why) for name, (kind, why) in graph.kinds.items()
        ),
        arena_bytes=memory.arena_bytes,
        weights_bytes=weights_bytes,
        labels=facts.labels,
        sources=facts.sources,
        tuning=facts.tuning,
        normalisation=facts.normalisation,
    )
