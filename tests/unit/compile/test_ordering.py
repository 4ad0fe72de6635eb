"""The order of instructions: rounds one behind the other, and gates that cost nothing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as builder

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.kernels import vector as v
from binas.compile.kernels.ordering import gated, hidden, imported, in_turn

A53 = isas.find("cortex-a53", "aarch64")


def rounds(count: int, stages: int, said: list[tuple[int, int]]) -> list[Iterator[None]]:
    def one(name: int) -> Iterator[None]:
        for stage in range(stages):
            said.append((name, stage))
            yield

    return [one(name) for name in range(count)]


def test_every_round_goes_through_its_stages_in_order() -> None:
    for count in range(5):
        for stages in range(1, 7):
            said: list[tuple[int, int]] = []
            in_turn(rounds(count, stages, said))
            for name in range(count):
                assert [stage for one, stage in said if one == name] == list(range(stages))


def test_between_two_stages_of_a_round_there_is_one_of_another() -> None:
    said: list[tuple[int, int]] = []
    in_turn(rounds(8, 6, said))
    full = [(a, b) for (a, _), (b, _) in itertools.pairwise(said) if a in range(2, 6)]
    assert len(full) == 4 * 6
    assert all(a != b for a, b in full)


def squares_and_sums(*, gate: bool) -> list[str]:
    """The instructions of y[i] = x[i]² + x[i] for four vectors, where squares may come first."""
    with IRBuilder() as ir, builder.prim_func(s_tir=True):
        builder.func_name("f")
        x = builder.arg("x", builder.buffer((16,), "int32"))
        y = builder.arg("y", builder.buffer((16,), "int32"))
        builder.func_attr({"tirx.noalias": True, "global_symbol": "f"})
        with imported():
            values = [v.Register("int32", 4, v.load(x, 4 * i, 4)) for i in range(4)]
            squares = [v.Register("int32", 4, one.get() * one.get()) for one in values]
            if gate:
                gated(squares, squares)
            for i, (one, square) in enumerate(zip(values, squares, strict=True)):
                v.store(y, 4 * i, (one.get() ^ square.get()), 4)
    return instructions(ir.get())


def instructions(function: Any) -> list[str]:
    text = codegen.assembly(codegen.build({"f": function}, A53))
    body = text[text.index("\nf:") : text.index(".Lfunc_end0")]
    return re.findall(r"^\t([a-z]\w*)\t?", body, re.MULTILINE)


def test_behind_a_gate_nothing_is_used_before_all_is_computed() -> None:
    found = squares_and_sums(gate=True)
    kinds = [name for name in found if name in ("mul", "eor")]
    assert kinds == ["mul"] * 4 + ["eor"] * 4


def test_a_gate_costs_no_instruction() -> None:
    assert sorted(squares_and_sums(gate=True)) == sorted(squares_and_sums(gate=False))


def test_a_hidden_index_is_added_to_once_and_not_folded() -> None:
    with IRBuilder() as ir, builder.prim_func(s_tir=True):
        builder.func_name("f")
        y = builder.arg("y", builder.buffer((4096,), "int32"))
        builder.func_attr({"tirx.noalias": True, "global_symbol": "f"})
        with imported():
            start = v.Register("int32", 1, hidden(v.const(1024)))
            for i in range(4):
                v.store(y, start.get() + 4 * i, v.splat(i, 4), 4)
    found = instructions(ir.get())
    assert found.count("stp") == 2
    assert found.count("add") == 1
