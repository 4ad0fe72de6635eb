"""The text of kernels: TVM reads it back, whatever the CPU they are for."""

from __future__ import annotations

import pytest
import tvm

from binas.compile import isa as isas
from binas.compile import script
from binas.compile.graph import Node
from binas.compile.kernels import family
from tests.integration.kernel_nodes import depthwise, moved

CPUS = [
    ("x86-64-v2", "x86_64"),
    ("x86-64-v3", "x86_64"),
    ("x86-64-v4", "x86_64"),
    ("cortex-a72", "aarch64"),
    ("cortex-a53", "armv7"),
]
PACK = moved("elementwise", 33, 33, bits_out="b")
IN_SLICES = depthwise(2, floats=False, packed=True)


@pytest.mark.parametrize("node", [PACK, IN_SLICES], ids=["masks of signs", "bit slices"])
@pytest.mark.parametrize(("cpu", "arch"), CPUS)
def test_tvm_reads_the_text_of_a_kernel_as_that_kernel(node: Node, cpu: str, arch: str) -> None:
    function = family.generate(node.layer, isas.find(cpu, arch), "kernel").function
    tvm.ir.assert_structural_equal(tvm.script.from_source(script.text(function)), function)


def test_without_its_repairs_the_text_is_refused() -> None:
    """Should a new TVM read its own text, `script.py` can go."""
    for node in (PACK, IN_SLICES):
        kernel = family.generate(node.layer, isas.find("x86-64-v3", "x86_64"), "kernel")
        with pytest.raises(tvm.error.DiagnosticError):
            tvm.script.from_source(kernel.function.script())
