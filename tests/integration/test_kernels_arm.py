"""Every kernel family on aarch64 against its meaning in numpy, in an emulated CPU.

The cases are those of `test_kernels.py`, and more of binary convolutions: the way of counting is
another one there, and cuts kernel rows into units of 4, 2 and 1 words. Under emulation a page
without memory lies behind the arena; where in it a kernel may write is `test_kernels.py`'s to say.

Computed is what the generic CPU gets. A Cortex-A53 gets the same code, byte for byte, which is
tested, too: its generators are told the same, and what the generic CPU lacks no kernel uses. CPUs
that reorder get other tiles for some layers; these are computed for one of them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from binas.compile import build, objects, samples
from binas.compile import isa as isas
from binas.compile.graph import Add, Graph, Node
from binas.compile.kernels import binary_conv, family, thresholds
from binas.compile.kernels.counting_dot import Dot
from binas.compile.tile import Choice
from binas.core import bits
from binas.devices import registry
from binas.devices.device import CPUS
from binas.runtime.emulated import emulate_steps
from tests.integration.kernel_cases import CASES, affine, conv, near, operands

pytestmark = pytest.mark.slow

CHANNELS = (1, 31, 33, 64, 65, 96, 127, 128, 129, 256, 512)


def _cases() -> Iterator[tuple[str, Node]]:
    # What depthwise padding holds is a matter of tables, which all instruction sets share.
    yield from ((name, node) for name, node in CASES.items() if not _tabled(name))
    for C in CHANNELS:
        yield f"binary {C} to bits", conv(C, 48, image=(4, 11), floats=False, packed=True)
        yield f"binary {C} to floats", conv(C, 20, image=(3, 6))
        fields: dict[str, Any] = {"padding": (2, 3, 2, 1), "pad_value": -1, "packed": True}
        yield f"binary {C}, padded with -1", conv(C, 16, image=(3, 5), **fields)
        dilated: dict[str, Any] = {"padding": (2, 2, 2, 2), "dilation": (2, 2), "stride": (1, 2)}
        yield f"binary {C}, dilated", conv(C, 24, image=(4, 9), packed=True, **dilated)
        yield f"binary 1x1 of {C}", conv(C, 33, image=(2, 3), kernel=(1, 1), packed=True)
        yield f"binary 2x5 of {C}", conv(C, 8, kernel=(2, 5), padding=(1, 2, 0, 2), packed=True)
    for K in (1, 7, 8, 9, 15, 16, 17, 31, 32, 40, 47, 63, 64, 80, 96):
        yield f"binary to {K} bits", conv(32, K, floats=False, packed=True)
        yield f"binary to {K} floats and bits", conv(40, K, packed=True)
    for C in (7281, 7282, 7300):  # 9 * 7281 = 65529: about as many ones as 16 bits hold
        yield f"binary of {C} channels", conv(C, 4, image=(3, 2), floats=False, packed=True)
        yield f"binary of {C} channels to floats", conv(C, 4, image=(2, 3), pad_value=1)
    grouped: dict[str, Any] = {"groups": 3, "packed": True}
    yield "binary in groups of three words", conv(288, 96, stages=(affine(96),), **grouped)


def _tabled(name: str) -> bool:
    return name.startswith("depthwise") and "padded with" in name and "with 0" not in name


ARM_CASES = dict(_cases())


@dataclass(frozen=True)
class Emulated:
    """Case → what a step read and wrote."""

    reads: dict[str, list[NDArray[Any]]]
    outputs: dict[str, list[NDArray[Any]]]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    """All cases in one artifact, run step by step."""
    return _emulated(ARM_CASES, "aarch64", tmp_path_factory.mktemp("arm"))


def _emulated(cases: dict[str, Node], device: str, folder: Path) -> Emulated:
    pytest.importorskip("unicorn")
    graph, names = Graph([], []), list(cases)
    taps: dict[str, Any] = {}
    reads = {name: operands(node) for name, node in cases.items()}
    for i, name in enumerate(names):
        node = _named(cases[name], f"case{i}")
        graph.nodes.append(node)
        samples._declare(graph, node)
        taps.update(zip(node.reads, reads[name], strict=True))
    layers = [node.layer for node in graph.nodes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "sample_graph", lambda _: graph)
        artifact = build.compile_layers(layers, registry.find(device), folder / "cases.binas")
    found = emulate_steps(artifact, taps)
    outputs = {
        name: [found[written] for written in node.writes]
        for name, node in zip(names, graph.nodes, strict=True)
    }
    return Emulated(reads, outputs)


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


@pytest.mark.parametrize("case", ARM_CASES)
def test_an_arm_kernel_computes_its_meaning(emulated: Emulated, case: str) -> None:
    _check(emulated, case)


def test_cpus_that_reorder_compute_their_own_tiles_right(tmp_path: Path) -> None:
    own = isas.find("cortex-a72", "aarch64")
    cases = {
        name: node
        for name, node in ARM_CASES.items()
        if node.op == "binary_conv"
        and binary_conv.way(node.layer, own) is Dot
        and (
            Dot.choose(node.layer, own) != Dot.choose(node.layer, GENERIC)
            or node.in_shape[3] in (128, 129)  # loops that the generic CPU keeps
        )
    }
    assert len(cases) >= 10
    emulated = _emulated(cases, "rpi4", tmp_path)
    for name in cases:
        _check(emulated, name)


def _check(emulated: Emulated, case: str) -> None:
    node = ARM_CASES[case]
    meant = family.meaning(node, emulated.reads[case])
    for expected, got in zip(meant, emulated.outputs[case], strict=True):
        if expected.dtype == np.uint32:
            channels = node.out_channels
            differs = bits.unpack(expected, channels) != bits.unpack(got, channels)
            exact = thresholds.thresholded(node.layer) and node.op == "binary_conv"
            allowed = np.False_ if exact else near(node, emulated.reads[case])
            assert not (differs & ~allowed).any()
            stray = bits.pack(bits.unpack(got, channels)) ^ got
            assert not stray.any(), "bits beyond the last channel are 0"
        else:
            largest = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * largest)


GENERIC = isas.find("generic", "aarch64")
OTHERS = sorted(set(CPUS["aarch64"]) - {"generic"})
# The first case of each family, and every twentieth.
COMPARED = {family.of(node.layer).__name__: name for name, node in reversed(ARM_CASES.items())}
COMPARED |= {name: name for name in list(ARM_CASES)[::20]}


@pytest.mark.parametrize("cpu", OTHERS)
def test_generators_are_told_the_same_of_every_64_bit_arm_but_whether_it_reorders(cpu: str) -> None:
    isa = isas.find(cpu, "aarch64")
    same = replace(isa, cpu="generic", attributes=GENERIC.attributes, in_order=True)
    assert same == GENERIC
    assert isa.in_order == (cpu == "cortex-a53")


@pytest.mark.parametrize("pair", [("generic", "cortex-a53"), ("cortex-a72", "cortex-a76")])
def test_a_pi_gets_the_code_that_was_computed_with_to_the_byte(pair: tuple[str, str]) -> None:
    choices = [Choice(ARM_CASES[name].layer) for name in COMPARED.values()]
    assert len({family.of(choice.layer) for choice in choices}) >= 6
    computed, own = (objects.compiled(choices, isas.find(cpu, "aarch64")) for cpu in pair)
    assert [str(choice) for choice in own if own[choice].code != computed[choice].code] == []
