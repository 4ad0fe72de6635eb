"""Kernels of steps drawn at random: each is compiled for every CPU, and computes its meaning.

A few steps per CPU, more with `make fuzz`, until its time is over. Steps that were found to fail
are cases of `tests/integration/kernel_cases.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.graph import Node
from binas.compile.kernels import family
from binas.devices import registry
from binas.devices.device import CPUS
from tests.fuzz import steps
from tests.integration.kernel_meaning import must_mean
from tests.integration.running import Ran, emulated, on_x86

BATCH = 8
EVERY = [(cpu, arch) for arch, cpus in CPUS.items() for cpu in cpus]
X86 = [
    pytest.param(cpu, marks=pytest.mark.isa(*features, emulator="bochs"))
    for cpu, features in CPUS["x86_64"].items()
]


@pytest.fixture
def drawn(pytestconfig: pytest.Config) -> steps.Drawn:
    """Batches of the seed and for the time that were asked for."""
    option = pytestconfig.getoption
    return steps.Drawn(option("--fuzz-seconds"), option("--fuzz-seed"), BATCH)


@pytest.mark.parametrize(("cpu", "arch"), EVERY)
def test_random_steps_are_compiled(cpu: str, arch: str, drawn: steps.Drawn, tmp_path: Path) -> None:
    isa = isas.find(cpu, arch)
    for cases, tiles in drawn.batches(isa):
        for said, node in cases.items():
            with told(said):
                function = family.generate(node.layer, isa, "kernel", tiles.get(said)).function
                codegen.compile_objects({"kernel": function}, isa, tmp_path)


@pytest.mark.parametrize("cpu", X86)
def test_random_steps_compute_their_meaning(cpu: str, drawn: steps.Drawn, tmp_path: Path) -> None:
    isa = isas.find(cpu, "x86_64")
    for cases, tiles in drawn.batches(isa):
        with TemporaryDirectory(dir=tmp_path) as folder:
            ran = on_x86(cases, isa, Path(folder), tiles)
        ran.must_have_lived(cases)
        must_all_mean(cases, ran)


@pytest.mark.parametrize("name", ["aarch64", "rpi4"])
def test_random_steps_compute_their_meaning_on_arm(
    name: str, drawn: steps.Drawn, tmp_path: Path
) -> None:
    pytest.importorskip("unicorn")
    device = registry.find(name)
    isa = isas.find(device.cpu, device.arch)
    for cases, tiles in drawn.batches(isa):
        with TemporaryDirectory(dir=tmp_path) as folder:
            must_all_mean(cases, emulated(cases, device, isa, Path(folder), tiles))


def must_all_mean(cases: dict[str, Node], ran: Ran) -> None:
    """Every split of every case is right, and all are the same bytes."""
    for said, node in cases.items():
        whole, *others = ran.outputs[said]
        with told(said):
            must_mean(node, ran.reads[said], whole)
            for other in others:
                assert [y.tobytes() for y in other] == [y.tobytes() for y in whole]


@contextmanager
def told(said: str) -> Iterator[None]:
    """A failure inside names the step."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{said}:\n{error}") from error
