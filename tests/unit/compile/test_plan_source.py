"""plan.c: names of any kind, and a checksum that both sides compute alike."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas.compile.memory import plan_memory
from binas.compile.plan_source import Call, checksum, plan_source, symbols
from binas.compile.samples import sample_graph
from binas.compile.tile import Choice, Tile
from binas.core.errors import UsageError
from binas.core.layer import Layer

LAYER = Layer(op="elementwise", in_shape=(1, 2, 2, 8), out_channels=8)


def source(name: str) -> str:
    """plan.c of one step of this name."""
    graph = sample_graph([LAYER])
    graph.nodes[0] = replace(graph.nodes[0], name=name)
    calls = [Call(graph.nodes[0], "kernel", 2, 1, ())]
    return plan_source(graph, calls, plan_memory(graph), bytes(64))


@given(st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_a_name_of_any_kind_is_a_c_string_that_reads_back(name: str) -> None:
    text = source(name.encode("utf-8", "replace").decode())
    (literal,) = re.findall(r'^    \{"(.*)", step0,', text, re.MULTILINE)
    assert literal.isascii()
    assert "??" not in literal, "a trigraph"
    assert not re.search(r'(?<!\\)"', literal)
    decoded = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), literal)
    assert decoded.encode("latin-1").decode() == name.encode("utf-8", "replace").decode()


def sum_of(data: bytes) -> int:
    """`sum_of` of model.c, word by word."""
    plain = placed = 0
    for i in range(len(data) // 8):
        word = int.from_bytes(data[8 * i : 8 * i + 8], "little")
        plain = ctypes.c_uint64(plain + word).value
        placed = ctypes.c_uint64(placed + word * (i + 1)).value
    return plain ^ ctypes.c_uint64(placed << 1 | placed >> 63).value


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_checksum_is_the_one_of_the_c_library(seed: int, words: int) -> None:
    data = np.random.default_rng(seed).bytes(8 * words)
    assert checksum(data) == sum_of(data)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.data())
def test_any_single_bit_changes_the_checksum(seed: int, words: int, data: st.DataObject) -> None:
    weights = bytearray(np.random.default_rng(seed).bytes(8 * words))
    before = checksum(bytes(weights))
    bit = data.draw(st.integers(0, 64 * words - 1))
    weights[bit // 8] ^= 1 << bit % 8
    assert checksum(bytes(weights)) != before


def test_equal_layers_share_a_symbol_which_is_the_same_in_any_company() -> None:
    other = replace(LAYER, stages=("relu",))
    tiled = Choice(LAYER, Tile(2, 2, 16))
    names = symbols([Choice(LAYER), Choice(other), Choice(LAYER), tiled])
    assert list(names) == [Choice(LAYER), Choice(other), tiled]
    assert len(set(names.values())) == 3
    assert symbols([Choice(other)]) == {Choice(other): names[Choice(other)]}
    assert all(re.fullmatch("binas_kernel_[0-9a-f]{16}", name) for name in names.values())


def test_no_layers_are_nothing_to_compile() -> None:
    with pytest.raises(UsageError, match="no layers"):
        sample_graph([])
