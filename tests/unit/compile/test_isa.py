"""Names of CPUs: LLVM takes an unknown one silently, so ours are checked."""

from __future__ import annotations

import pytest

from binas.compile import isa
from binas.core.errors import CompileError, UsageError
from binas.devices.device import CPUS


@pytest.mark.parametrize("arch", CPUS)
def test_every_cpu_that_a_device_may_have_has_kernels(arch: str) -> None:
    for cpu in CPUS[arch]:  # type: ignore[index]
        found = isa.find(cpu, arch)
        assert (found.cpu, found.arch) == (cpu, arch)
        assert found.lanes * 32 == found.vector_bits


def test_an_unknown_cpu_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="unknown CPU for x86_64 'icelake-sever'") as caught:
        isa.find("icelake-sever", "x86_64")
    assert "did you mean icelake-server?" in caught.value.hint


def test_a_cpu_of_another_architecture_is_unknown() -> None:
    with pytest.raises(UsageError, match="unknown CPU for x86_64 'cortex-a72'"):
        isa.find("cortex-a72", "x86_64")


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(CompileError, match="no kernels for architecture 'riscv64'"):
        isa.find("generic", "riscv64")
