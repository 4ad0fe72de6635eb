"""What kernels that count by nibbles need of LLVM: the order that was measured, and registers."""

from __future__ import annotations

import re
from functools import cache

import pytest

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.kernels import family
from binas.core.layer import Layer
from tests.integration.innermost import innermost, spills

LAYERS = [(64, 56), (96, 28), (128, 28), (512, 7)]
FEW = [(16, 48), (32, 36), (48, 27)]  # outputs that are counted both nibbles of a byte at once


@pytest.mark.parametrize(("C", "size"), LAYERS + FEW)
def test_all_shuffles_of_a_pixel_come_before_its_sums(C: int, size: int) -> None:
    vectors = C // 16 if C < 64 else 3 if C == 96 else 2
    for loop in counting(C, size):
        order = "".join(
            "s" if op == "shufb" else "a" for op in re.findall(r"\tvp(shufb|addb)\t", loop)
        )
        assert re.fullmatch(f"(s{{{vectors}}}a{{{vectors}}})+", order)


@pytest.mark.parametrize(("C", "size"), LAYERS)
def test_a_byte_of_an_activation_takes_four_instructions_beside_shuffles_and_sums(
    C: int, size: int
) -> None:
    vectors = 3 if C == 96 else 2
    for loop in counting(C, size):
        lines = re.findall(r"^\t[a-z].*$", loop, re.MULTILINE)
        octets = sum("shufb" in line for line in lines) // (2 * vectors)
        # A load, a shift and two rows; weights twice; the loop itself.
        assert len(lines) <= octets * (4 * vectors + 4) + 2 * vectors + 4


@pytest.mark.parametrize(("C", "size"), FEW)
def test_a_byte_takes_three_instructions_beside_shuffles_and_sums_where_outputs_are_few(
    C: int, size: int
) -> None:
    vectors = C // 16
    for loop in counting(C, size):
        lines = re.findall(r"^\t[a-z].*$", loop, re.MULTILINE)
        octets = sum("shufb" in line for line in lines) // vectors
        # A load, a shift and both rows; weights, of 16 channels' two bytes; the loops themselves.
        assert len(lines) <= octets * (2 * vectors + 3) + 2 * vectors + 9


@pytest.mark.parametrize(("C", "size"), LAYERS + FEW)
def test_sums_stay_in_registers_while_they_are_counted(C: int, size: int) -> None:
    assert not spills("".join(counting(C, size)))


@cache
def counting(C: int, size: int) -> list[str]:
    """The innermost loops of a 3x3 layer that count, on AVX2."""
    isa = isas.find("x86-64-v3", "x86_64")
    layer = Layer(
        op="binary_conv",
        in_shape=(1, size, size, C),
        out_channels=C,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        in_bits=1,
        weight_bits=1,
        stages=("affine",),
        float_out=False,
        bits_out=True,
    )
    kernel = family.generate(layer, isa, "conv")
    code = codegen.assembly(codegen.build({"conv": kernel.function}, isa))
    loops = [loop for loop in innermost(code) if "vpshufb" in loop]
    assert loops
    return loops
