"""Comparison results as bits of an integer, on every CPU."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v

_IN_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # quads of packed registers, as channels follow each other


def word(masks: list[Any], isa: Isa) -> Any:
    """One int32 from up to 32 comparison results, lowest lane in the lowest bit."""
    V = isa.lanes
    if isa.arch == "x86_64":
        if isa.masked or len(masks) == 1:
            return _joined([mask_bits(mask, V) for mask in masks], V)
        fours = [masks[i : i + 4] for i in range(0, len(masks), 4)]
        return _joined([_four_masks(four, V) for four in fours], 4 * V)
    total = v.splat(0, V)
    for j, mask in enumerate(masks):
        ramp = tirx.Ramp(v.const(j * V), v.const(1), V)
        lane_bits = tirx.shift_left(v.splat(1, V), ramp)
        total = total | tirx.Select(mask, lane_bits, v.splat(0, V))
    # The lanes hold disjoint bits, so their sum is their union; NEON adds across in one step.
    return v.intrinsic("int32", f"llvm.vector.reduce.add.v{V}i32", total)


def _joined(parts: list[Any], width: int) -> Any:
    """Parts of so many bits each, the first one lowest."""
    found = v.const(0)
    for j, part in enumerate(parts):
        found = found | (part << v.const(j * width))
    return found


def _four_masks(masks: list[Any], V: int) -> Any:
    """The lanes of up to four comparisons as bits.

    Put together one by one, they would be vectorized by LLVM, badly, with those of the next word.
    """
    lanes = [tirx.Select(mask, v.splat(-1, V), v.splat(0, V)) for mask in masks]
    lanes += [v.splat(0, V)] * (4 - len(lanes))
    halve = {4: "llvm.x86.sse2.packssdw.128", 8: "llvm.x86.avx2.packssdw"}[V]
    pair = [v.intrinsic(f"int16x{2 * V}", halve, *lanes[i : i + 2]) for i in (0, 2)]
    octets = packed(pair, 2 * V)
    if V == 8:
        quads = tirx.Shuffle([v.reinterpret("int32x8", octets)], list(map(v.const, _IN_ORDER)))
        octets = v.reinterpret("int8x32", quads)
    return signs(octets, 4 * V)


def packed(pair: list[Any], n: int) -> Any:
    """Two vectors of `n` words of 16 bits, each 0 or -1, as bytes; within 128 bits side by side."""
    name = {8: "llvm.x86.sse2.packsswb.128", 16: "llvm.x86.avx2.packsswb"}[n]
    return v.intrinsic(f"int8x{2 * n}", name, *pair)


def signs(octets: Any, n: int) -> Any:
    """The signs of `n` bytes as the low bits of an int32."""
    name = {16: "llvm.x86.sse2.pmovmskb.128", 32: "llvm.x86.avx2.pmovmskb"}[n]
    return v.intrinsic("int32", name, octets)


def mask_bits(mask: Any, V: int) -> Any:
    """The lanes of a comparison as the low bits of an int32: kmovw, or movmskps."""
    if V == 4:  # there is no integer of four bits to reinterpret the comparison as
        lanes = tirx.Select(mask, v.splat(-1, V), v.splat(0, V))
        return v.intrinsic("int32", "llvm.x86.sse.movmsk.ps", v.reinterpret("float32x4", lanes))
    # `tirx.reinterpret` refuses booleans; the operation behind it is a plain LLVM bitcast.
    found = tirx.call_intrin(f"uint{V}", tvm.ir.Op.get("tirx.reinterpret"), mask)
    return tirx.Cast("int32", found)
