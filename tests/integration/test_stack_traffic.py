"""Inner loops leave the stack alone: how fast a kernel is must not depend on where the stack lies.

Processors compare the low 12 bits of addresses first, so a load waits for a store to the stack that
lies like it in those bits; where the stack begins is chance.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.graph import Affine, Node, Relu
from binas.compile.kernels import family
from binas.core.layer import Layer

LABEL = re.compile(r"(\.L\w+):")
JUMP = re.compile(r"\s+j\w+\s+(\.L\w+)")
STORED = re.compile(r"\s+v?mov\w*\s+%\w+, -?\d*\(%rsp\)")


def inner_loops(assembly: str) -> list[list[str]]:
    """The lines of each loop that holds no other loop, of code for x86-64 in AT&T's syntax."""
    lines, labels, found = assembly.splitlines(), dict[str, int](), list[tuple[int, int]]()
    for i, line in enumerate(lines):
        if label := LABEL.match(line):
            labels[label[1]] = i
        elif (jump := JUMP.match(line)) and jump[1] in labels:
            found.append((labels[jump[1]], i))
    return [
        lines[start : stop + 1]
        for start, stop in found
        if not any((a, b) != (start, stop) and start <= a and b <= stop for a, b in found)
    ]


def stores(loop: list[str]) -> list[str]:
    """What a loop stores on the stack."""
    return [line.strip() for line in loop if STORED.match(line)]


def float_conv(C: int, K: int, taps: int, stride: int, *, packed: bool) -> Node:
    """A float convolution of 16x16 pixels with batch norm and an activation, as a stem is."""
    generator = np.random.default_rng(0)
    return Node(
        name="conv",
        sources=(),
        op="conv",
        inputs=("x",),
        in_shape=(1, 16, 16, C),
        out_channels=K,
        kernel=(taps, taps),
        stride=(stride, stride),
        padding=(taps // 2,) * 4,
        weights=generator.standard_normal((K, taps, taps, C)).astype(np.float32),
        weight_bits=32,
        stages=(Affine(np.ones(K), np.zeros(K)), Relu()),
        float_out="y",
        bits_out="b" if packed else None,
    )


def broadcasts(line: str) -> bool:
    """Whether a value is broadcast that is no constant of the program."""
    return "vbroadcastss" in line and ".LCPI" not in line


@pytest.mark.parametrize("packed", [False, True], ids=["floats", "floats and bits"])
@pytest.mark.parametrize(
    ("C", "K", "taps", "stride"),
    [(3, 32, 3, 1), (3, 16, 3, 1), (3, 24, 3, 1), (3, 64, 3, 2), (64, 64, 1, 2), (32, 32, 3, 1)],
)
def test_a_float_convolution_multiplies_without_storing_on_the_stack(
    C: int, K: int, taps: int, stride: int, packed: bool
) -> None:
    isa = isas.find("x86-64-v3", "x86_64")
    layer = float_conv(C, K, taps, stride, packed=packed).layer
    kernel = family.generate(layer, isa, "conv")
    loops = inner_loops(codegen.assembly(codegen.build({"conv": kernel.function}, isa)))
    # Activations are broadcast where they are multiplied. (Minimal filtering also multiplies by
    # constants, from and to the stack: that is where its transforms put what they make.)
    multiply = [loop for loop in loops if any(map(broadcasts, loop)) and "vfmadd" in str(loop)]
    assert multiply
    assert [stores(loop) for loop in multiply] == [[] for _ in multiply]


def binary_conv(*, packed: bool) -> str:
    """Assembly for AVX2 of a binary 1x1 convolution that leaves floats, and perhaps bits."""
    isa = isas.find("x86-64-v3", "x86_64")
    layer = Layer(
        op="binary_conv",
        in_shape=(1, 28, 28, 108),
        out_channels=108,
        in_bits=1,
        weight_bits=1,
        stages=("affine",),
        bits_out=packed,
    )
    kernel = family.generate(layer, isa, "conv")
    return codegen.assembly(codegen.build({"conv": kernel.function}, isa))


def test_floats_of_a_binary_convolution_go_to_their_place_without_a_stay_on_the_stack() -> None:
    lines = binary_conv(packed=False).splitlines()
    made = sum(bool(re.search(r"vpunpck[lh]wd", line)) for line in lines)
    # What is left are the scales and biases of the first pixel of a tile.
    assert 0 < sum(bool(STORED.match(line)) and "ymm" in line for line in lines) < made / 2


def test_a_word_of_comparisons_is_one_instruction_s_work_and_none_for_each_byte() -> None:
    code = binary_conv(packed=True)
    assert "vpmovmskb" in code
    assert "vmovmskps" not in code
    assert "vpinsrb" not in code


def reads(loop: list[str], register: str) -> list[str]:
    """What of a loop reads a vector from memory, by itself or as an operand."""
    return [line for line in loop if register in line and re.search(r"\s\S*\(%\w+.*\), %", line)]


@pytest.mark.parametrize(
    ("cpu", "register", "vectors", "pixels"),
    [("icelake-server", "zmm", 2, 7), ("x86-64-v3", "ymm", 1, 9)],
)
def test_a_real_depthwise_convolution_reads_an_activation_of_a_kernel_row_once(
    cpu: str, register: str, vectors: int, pixels: int
) -> None:
    isa = isas.find(cpu, "x86_64")
    layer = Layer(
        op="conv",
        in_shape=(1, 28, 28, 64),
        out_channels=64,
        kernel=(5, 5),
        padding=(2, 2, 2, 2),
        groups=64,
        weight_bits=32,
    )
    kernel = family.generate(layer, isa, "conv")
    loops = inner_loops(codegen.assembly(codegen.build({"conv": kernel.function}, isa)))
    found = [
        (str(loop).count("vfmadd"), len(reads(loop, register)), stores(loop)) for loop in loops
    ]
    # Of each vector of channels so many pixels times five taps, of their columns and five weights.
    assert (vectors * pixels * 5, vectors * (pixels + 4 + 5), []) in found


def test_a_store_to_the_stack_within_a_loop_is_seen() -> None:
    outer = "f:\n.LBB0_1:\n\tvmovups\t%ymm1, 64(%rsp)\n"
    inner = ".LBB0_2:\n\tvmovups\t%ymm0, -32(%rsp)\n\tvmovups\t32(%rsp), %ymm0\n\tjne\t.LBB0_2\n"
    (loop,) = inner_loops(outer + inner + "\tjb\t.LBB0_1\n")
    assert stores(loop) == ["vmovups\t%ymm0, -32(%rsp)"]
