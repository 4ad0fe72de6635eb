"""Every kernel family against its meaning in numpy, on every x86 ISA.

The kernels of one ISA run between guard pages, in Bochs where this CPU lacks it; the tests look at
what came back. Each ISA has a class, so that several processes can share them (`--dist
loadscope`). aarch64 is covered by `test_kernels_arm.py`, armv7 by `test_corners.py`.
"""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
import pytest

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.graph import Affine
from binas.compile.kernels import (
    binary_conv,
    float_conv,
    float_lookup,
    float_tables,
    float_winograd,
    float_winograd_2d,
    thresholds,
)
from binas.core import bits
from binas.devices.device import CPUS, Arch
from tests.integration.kernel_cases import CASES
from tests.integration.kernel_meaning import must_mean
from tests.integration.running import Ran, on_x86

# A class compiles all its kernels before its first test: minutes on a busy core.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="class")
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All cases, compiled for the ISA of a class and run."""
    isa = isas.find(request.cls.cpu, "x86_64")
    return on_x86(CASES, isa, tmp_path_factory.mktemp("kernels"))


class Kernels:
    """What is asked of the kernels of every ISA."""

    cpu: ClassVar[str]

    def test_no_kernel_touches_memory_beyond_its_tensors(self, ran: Ran) -> None:
        ran.must_have_lived(CASES)

    @pytest.mark.parametrize("case", CASES)
    def test_a_kernel_computes_its_meaning(self, ran: Ran, case: str) -> None:
        must_mean(CASES[case], ran.reads[case], ran.outputs[case][0])

    @pytest.mark.parametrize(
        "case",
        [
            name
            for name, node in CASES.items()
            if node.op == "binary_conv" and thresholds.thresholded(node.layer)
        ],
    )
    def test_bits_after_one_affine_are_exact(self, ran: Ran, case: str) -> None:
        node = CASES[case]
        (stage,) = node.stages
        assert isinstance(stage, Affine)
        sums = binary_conv.meaning(node, ran.reads[case][0]).astype(np.float64)
        expected = np.where(sums * stage.scale + stage.bias >= 0, 1.0, -1.0)  # exact in float64
        np.testing.assert_array_equal(ran.outputs[case][0][0], bits.pack(expected))

    @pytest.mark.parametrize(
        "case",
        [
            name
            for name, node in CASES.items()
            if node.op == "binary_conv" and node.float_out and node.layer.stages == ("affine",)
        ],
    )
    def test_the_sums_of_a_binary_convolution_are_exact_integers(self, ran: Ran, case: str) -> None:
        node = CASES[case]
        (stage,) = node.stages
        assert isinstance(stage, Affine)
        sums = binary_conv.meaning(node, ran.reads[case][0]).astype(np.float64)
        y = sums * stage.scale + stage.bias
        error = np.abs(ran.outputs[case][0][0] - y)
        # A rounding is at most half a unit in the last place; fused there is one, otherwise two.
        product = 0 if ran.isa.fused else np.abs(sums * stage.scale)
        assert (error <= (np.abs(y) + product) * (1 + 2.0**-20) * 2.0**-24 + 1e-30).all()

    @pytest.mark.parametrize("case", CASES)
    def test_any_split_of_the_units_gives_the_same_bytes(self, ran: Ran, case: str) -> None:
        whole, *others = ran.outputs[case]
        for other in others:
            for a, b in zip(whole, other, strict=True):
                assert a.tobytes() == b.tobytes()


class WideKernels(Kernels):
    """What is asked where registers have 512 bits, too."""

    def test_kernels_of_most_kinds_use_the_whole_width(self, ran: Ran) -> None:
        _, *parts = re.split(r"\n(kernel\d+):", codegen.assembly(ran.module))
        bodies = dict(zip(parts[::2], parts[1::2], strict=True))
        wide = [node for i, node in enumerate(CASES.values()) if "%zmm" in bodies[f"kernel{i}"]]
        assert {node.op for node in wide} >= {"binary_conv", "conv", "elementwise"}


@pytest.mark.isa(*CPUS["x86_64"]["x86-64-v2"], emulator="bochs")
class TestVersion2(Kernels):
    """128 bits, without a fused multiply-add."""

    cpu = "x86-64-v2"


@pytest.mark.isa(*CPUS["x86_64"]["x86-64-v3"], emulator="bochs")
class TestVersion3(Kernels):
    """256 bits."""

    cpu = "x86-64-v3"


@pytest.mark.isa(*CPUS["x86_64"]["x86-64-v4"], emulator="bochs")
class TestVersion4(WideKernels):
    """512 bits, counting by a tree of adders, few words by nibbles."""

    cpu = "x86-64-v4"


@pytest.mark.isa(*CPUS["x86_64"]["icelake-server"], emulator="bochs")
class TestIcelake(WideKernels):
    """512 bits, with a population count."""

    cpu = "icelake-server"


@pytest.mark.isa(*CPUS["x86_64"]["znver4"], emulator="bochs")
class TestZen4(WideKernels):
    """512 bits, counting word by word."""

    cpu = "znver4"


def test_every_isa_has_its_class() -> None:
    tested = (*Kernels.__subclasses__(), *WideKernels.__subclasses__())
    assert {kind.cpu for kind in tested if kind is not WideKernels} == set(CPUS["x86_64"])


@pytest.mark.parametrize("cpu", CPUS["x86_64"])
def test_the_cases_of_minimal_filtering_are_filtered(cpu: str) -> None:
    isa = isas.find(cpu, "x86_64")
    cases = [node.layer for name, node in CASES.items() if name.startswith("float filtered")]
    assert cases
    assert {float_conv.way(layer, isa) for layer in cases} == {float_winograd}
    cases = [node.layer for name, node in CASES.items() if name.startswith("float doubly filtered")]
    assert {float_conv.way(layer, isa) for layer in cases} == {float_winograd_2d}


@pytest.mark.parametrize(("cpu", "arch"), [(c, a) for a in CPUS for c in CPUS[a]])
def test_the_cases_of_many_pixels_are_looked_up_in_memory(cpu: str, arch: Arch) -> None:
    isa = isas.find(cpu, arch)
    for name, node in CASES.items():
        if name.startswith("float looked up by pixels"):
            assert (float_conv.way(node.layer, isa) is float_tables) == isa.adds_from_tables, name


@pytest.mark.parametrize(
    "cpu", [cpu for cpu in CPUS["x86_64"] if isas.find(cpu, "x86_64").looks_up]
)
def test_the_cases_of_signed_sums_are_looked_up(cpu: str) -> None:
    isa = isas.find(cpu, "x86_64")
    cases = [node.layer for name, node in CASES.items() if name.startswith("float looked up")]
    ways = {float_lookup, float_tables} if isa.adds_from_tables else {float_lookup}
    assert {float_conv.way(layer, isa) for layer in cases} == ways
    assert {layer.bits_out for layer in cases} == {True, False}
    assert len({layer.stride for layer in cases}) > 1
    assert {layer.in_shape[0] for layer in cases} == {1, 2}
    assert {stage for layer in cases for stage in layer.stages} >= {"affine", "prelu", "add"}


def test_the_cases_cover_every_family() -> None:
    assert {node.op for node in CASES.values()} == {
        "binary_conv",
        "constant",
        "conv",
        "pool_max",
        "pool_avg",
        "pool_bits",
        "softmax",
        "elementwise",
        "concat",
        "concat_bits",
        "shuffle",
        "shuffle_bits",
        "slice",
    }
