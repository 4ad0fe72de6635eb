"""What kernels that look sums up need of LLVM: where lines of cache begin, and which units add."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as builder

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.kernels import float_lookup, float_tables, sum_tables, table_nest
from binas.compile.kernels import vector as v
from binas.core.layer import Layer
from binas.devices import zig
from tests.integration.innermost import innermost, spills

COUNT = 40
LAYERS = [(108, 112, 28), (432, 240, 28), (1728, 432, 7)]  # outputs that fill vectors


def test_a_line_begins_at_the_next_multiple_of_64_bytes(tmp_path: Path) -> None:
    with IRBuilder() as ir, builder.prim_func(s_tir=True):
        builder.func_name("lines")
        x = builder.arg("x", builder.buffer((COUNT,), "float32"))
        y = builder.arg("y", builder.buffer((COUNT,), "int32"))
        builder.func_attr({"tirx.noalias": True, "global_symbol": "lines"})
        with sum_tables.imported(isas.find("x86-64-v3", "x86_64")):
            for i in range(COUNT):
                v.store(y, i, sum_tables.to_line(x, i))
    isa = isas.find("x86-64-v2", "x86_64")  # runs wherever this is tested
    codegen.write_object(codegen.build({"lines": ir.get()}, isa), tmp_path / "lines.o")
    library = tmp_path / "lines.so"
    zig.cc([*zig.library("x86_64"), str(tmp_path / "lines.o"), "-o", str(library)])
    array, found = np.zeros(COUNT, np.float32), np.full(COUNT, -1, np.int32)
    ctypes.CDLL(str(library)).lines(*(ctypes.c_void_p(a.ctypes.data) for a in (array, found)))
    addresses = array.ctypes.data + 4 * np.arange(COUNT)
    np.testing.assert_array_equal(found, -addresses % 64 // 4)


@pytest.mark.parametrize(("C", "K", "size"), LAYERS)
def test_half_of_what_is_found_is_added_by_units_that_multiply(C: int, K: int, size: int) -> None:
    code = assembly(C, K, size)
    found = len(re.findall(r"\tvperm(?:d|ps)\t.*%zmm", code))
    added = len(re.findall(r"\tvaddps\t.*%zmm", code))
    multiplied = len(re.findall(r"\tvfmadd\w+\t.*%zmm", code))
    assert added + multiplied == found > 0
    assert 0.45 < multiplied / found < 0.55


@pytest.mark.parametrize(("C", "K", "size"), LAYERS)
def test_indices_are_shifted_where_they_are(C: int, K: int, size: int) -> None:
    # Shifted by 8, 12 and so on, the first ones would be kept: registers that sums need.
    shifts = re.findall(r"\tvpsr\w+\t\$(\d+), %zmm", assembly(C, K, size))
    assert set(shifts) == {"4"}


@pytest.mark.parametrize(("C", "K", "size"), LAYERS)
def test_half_tables_are_loaded_before_they_are_looked_into(C: int, K: int, size: int) -> None:
    found = re.findall(r"\tvperm(?:d|ps)\t(.*)", assembly(C, K, size, "x86-64-v3"))
    assert found
    assert not [operands for operands in found if "(" in operands]


@pytest.mark.parametrize(("C", "K", "size"), LAYERS)
def test_sums_of_half_tables_stay_in_registers(C: int, K: int, size: int) -> None:
    code = assembly(C, K, size, "x86-64-v3")
    loops = [loop for loop in innermost(code) if re.search(r"\tvperm(d|ps)\t", loop)]
    assert loops
    assert not spills("".join(loops))


@pytest.mark.parametrize(("C", "K", "size"), LAYERS)
def test_sums_over_tables_in_memory_stay_in_registers(C: int, K: int, size: int) -> None:
    layer = Layer(op="conv", in_shape=(1, size, size, C), out_channels=K, weight_bits=1)
    isa = isas.find("x86-64-v3", "x86_64")
    kernel = float_tables.generate(layer, isa, "conv")
    code = codegen.assembly(codegen.build({"conv": kernel.function}, isa))
    loops = [loop for loop in innermost(code) if "\tmovzbl\t" in loop]
    assert loops
    for loop in loops:
        indices = len(re.findall(r"\tmovzbl\t", loop))
        assert indices % table_nest.CHANNELS == 0
        assert len(re.findall(r"\tvaddps\t.*\(", loop)) in (indices, 2 * indices)
        assert not spills(loop)


@cache
def assembly(C: int, K: int, size: int, cpu: str = "icelake-server") -> str:
    """Of a looked-up 1x1 convolution without stages."""
    isa = isas.find(cpu, "x86_64")
    layer = Layer(op="conv", in_shape=(1, size, size, C), out_channels=K, weight_bits=1)
    kernel = float_lookup.generate(layer, isa, "conv")
    return codegen.assembly(codegen.build({"conv": kernel.function}, isa))
