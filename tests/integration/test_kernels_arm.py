"""Every kernel family on aarch64 against its meaning in numpy, in an emulated CPU.

The cases are those of `test_kernels.py`, and more of binary convolutions: the way of counting is
another one there, and cuts kernel rows into units of 4, 2 and 1 words. Under emulation a page
without memory lies behind the arena; where in it a kernel may write is `test_kernels.py`'s to say.

All cases are computed as the generic CPU gets them, which may wait for every operand. A CPU that
reorders gets another function for some: those are computed as it gets them, too. Every 64-bit ARM
is told one of the two, and equal functions become equal code, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tvm_ffi import structural_equal

from binas.compile import isa as isas
from binas.compile import objects
from binas.compile.graph import Node
from binas.compile.isa import Isa
from binas.compile.kernels import family
from binas.compile.tile import Choice
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import CPUS
from tests.integration.kernel_cases import CASES
from tests.integration.kernel_meaning import must_mean
from tests.integration.kernel_nodes import affine, conv
from tests.integration.running import Ran, emulated

# A class compiles all its kernels before its first test: minutes on a busy core.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

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


GENERIC, REORDERS = isas.find("generic", "aarch64"), isas.find("cortex-a72", "aarch64")


def same_function(layer: Layer, one: Isa, other: Isa) -> bool:
    """Whether two CPUs get the same function for a layer."""
    first, second = (family.generate(layer, isa, "kernel").function for isa in (one, other))
    same: bool = structural_equal(first, second)
    return same


@pytest.fixture(scope="class")
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The cases of a class in an emulated CPU."""
    pytest.importorskip("unicorn")
    device = registry.find(request.cls.device)
    isa = isas.find(device.cpu, device.arch)
    cases = {
        name: ARM_CASES[name]
        for name in request.cls.cases
        if isa == GENERIC or not same_function(ARM_CASES[name].layer, isa, GENERIC)
    }
    return emulated(cases, device, isa, tmp_path_factory.mktemp("arm"))


def must_be_right(case: str, ran: Ran) -> None:
    (whole,) = ran.outputs[case]
    must_mean(ARM_CASES[case], ran.reads[case], whole)


BINARY, OTHERS = (
    [name for name, node in ARM_CASES.items() if (node.op == "binary_conv") == binary]
    for binary in (True, False)
)


class TestGenericBinary:
    """What every CPU can run, of binary convolutions."""

    device, cases = "aarch64", BINARY

    @pytest.mark.parametrize("case", BINARY)
    def test_an_arm_kernel_computes_its_meaning(self, ran: Ran, case: str) -> None:
        must_be_right(case, ran)


class TestGenericOthers:
    """What every CPU can run, of all else: a class of its own, so that two processes share them."""

    device, cases = "aarch64", OTHERS

    @pytest.mark.parametrize("case", OTHERS)
    def test_an_arm_kernel_computes_its_meaning(self, ran: Ran, case: str) -> None:
        must_be_right(case, ran)


class TestReordering:
    """What a CPU gets that need not wait for an operand."""

    device, cases = "rpi4", tuple(ARM_CASES)

    def test_where_its_kernel_is_another_it_computes_the_same(self, ran: Ran) -> None:
        assert len(ran.outputs) > 20
        for case in ran.outputs:
            must_be_right(case, ran)

    def test_where_its_kernel_is_no_other_its_code_is_not(self, ran: Ran) -> None:
        equal = [name for name in ARM_CASES if name not in ran.outputs]
        compared = {family.of(ARM_CASES[name].layer): name for name in reversed(equal)}
        assert len(compared) >= 6  # of all families, only counting ones is different
        choices = [Choice(ARM_CASES[name].layer) for name in (*compared.values(), *equal[::20])]
        first, second = (objects.compiled(choices, isa) for isa in (GENERIC, REORDERS))
        assert [str(choice) for choice in first if first[choice].code != second[choice].code] == []


@pytest.mark.parametrize("cpu", CPUS["aarch64"])
def test_generators_are_told_one_of_two_things_of_every_64_bit_arm(cpu: str) -> None:
    isa = isas.find(cpu, "aarch64")
    told = (GENERIC, replace(REORDERS, attributes=GENERIC.attributes))
    assert replace(isa, cpu="any", attributes=GENERIC.attributes) in (
        replace(known, cpu="any") for known in told
    )
