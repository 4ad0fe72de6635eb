"""Another tile is another way to the same bytes, whatever the layer, the CPU and the counting."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from binas.compile import isa as isas
from binas.compile.build import compile_choices
from binas.compile.kernels import family
from binas.compile.tile import Choice, Tile
from binas.core import bits
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import CPUS
from binas.devices.host import HostLink
from binas.runtime.artifact import Artifact, Tensor
from binas.runtime.emulated import EmulatedSession
from binas.runtime.session import Session

pytestmark = pytest.mark.slow

CONV: dict[str, Any] = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
BINARY: dict[str, Any] = {"op": "binary_conv", "in_bits": 1, "weight_bits": 1}
BITS: dict[str, Any] = {"float_out": False, "bits_out": True, "stages": ("affine",)}
LAYERS = (
    Layer(in_shape=(2, 3, 7, 129), out_channels=80, **BINARY, **CONV, **BITS),
    Layer(in_shape=(1, 5, 6, 33), out_channels=65, stages=("affine", "prelu"), **BINARY, **CONV),
    Layer(in_shape=(1, 4, 5, 64), out_channels=128, groups=2, **BINARY, **CONV, **BITS),
    Layer(op="conv", in_shape=(1, 4, 9, 7), out_channels=63, weight_bits=32, **CONV),
    Layer(op="conv", in_shape=(1, 4, 9, 300), out_channels=81, weight_bits=1),
)


def other_tile(layer: Layer, isa: isas.Isa) -> Tile:
    """One that is unlike the rule's in all that it can be unlike in."""
    rule, *others = family.tiles(layer, isa)
    return max(
        others,
        key=lambda tile: (
            tile.rows_first,
            tile.vectors != rule.vectors,
            tile.pixels != rule.pixels,
            tile.unroll != rule.unroll,
            tile.vectors,
        ),
    )


def values(artifact: Artifact) -> dict[str, NDArray[Any]]:
    """Values for all that steps read, the same for every artifact of these layers."""
    generator = np.random.default_rng(7)
    return {t.name: value(t, generator) for step in artifact.manifest.steps for t in step.inputs}


def value(tensor: Tensor, generator: np.random.Generator) -> NDArray[Any]:
    """Floats, or words whose bits beyond the last channel are 0."""
    x = generator.standard_normal(tensor.shape).astype(np.float32)
    return bits.pack(x) if tensor.dtype == "bits" else x


@pytest.mark.parametrize(
    ("arch", "cpu"),
    [
        pytest.param("x86_64", cpu, marks=pytest.mark.isa(*needed))
        for cpu, needed in CPUS["x86_64"].items()
    ]
    + [("aarch64", "generic")],
)
def test_every_tile_gives_the_bytes_of_the_rules_tile(arch: str, cpu: str, tmp_path: Path) -> None:
    device, isa = registry.find("aarch64" if arch == "aarch64" else "host"), isas.find(cpu, arch)
    device = replace(device, cpu=cpu)
    results: list[Mapping[str, NDArray[Any]]] = []
    with ExitStack() as stack:
        for attempt in (family.default_tile, other_tile):
            choices = [Choice(layer, attempt(layer, isa)) for layer in LAYERS]
            artifact = compile_choices(choices, {}, device, tmp_path / f"{len(results)}.binas")
            for choice, step in zip(choices, artifact.manifest.steps, strict=True):
                assert str(choice.tile) in step.kernel
            if arch == "aarch64":
                results.append(EmulatedSession(artifact).steps(values(artifact)))
                continue
            link = stack.enter_context(HostLink(registry.find("host")))
            session = stack.enter_context(Session(artifact, link))
            results.append(session.steps(values(artifact)))
    first, other = results
    assert {name for name in first if first[name].tobytes() != other[name].tobytes()} == set()
    assert all(np.unique(y).size > 1 for y in first.values())
