"""What the harness does at the borders of a network (`runtime/native/layout.c`), as TIR.

Inside, images are float32 [N, H, W, C]; a caller has [N, C, H, W], or bytes [N, H, W, C].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as builder

from binas.compile.graph import Shape
from binas.compile.kernels import vector as v
from binas.runtime.artifact import Normalisation


def turned(symbol: str, batch: int, rows: int, columns: int) -> Any:
    """Every matrix of a batch turned: float32 [batch, rows, columns] → [batch, columns, rows]."""
    size = batch * rows * columns
    with (
        _function(symbol, size, "float32") as (made, x, y),
        v.loop(0, batch) as n,
        v.loop(0, columns) as c,
        v.loop(0, rows) as r,
    ):
        v.store(y, (n * columns + c) * rows + r, v.load(x, (n * rows + r) * columns + c))
    return made.get()


def normalised(symbol: str, shape: Shape, normalisation: Normalisation) -> Any:
    """Bytes [N, H, W, C] as the numbers that they mean, as `runtime/images.py` computes them."""
    N, H, W, C = shape
    mean, std = (
        [v.const(value, "float32") for value in (values * C if len(values) == 1 else values)]
        for values in (normalisation.mean, normalisation.std)
    )
    with (
        _function(symbol, N * H * W * C, "uint8") as (made, x, y),
        v.loop(0, N * H * W) as pixel,
    ):
        for c in range(C):
            at = pixel * C + c
            v.store(y, at, (tirx.Cast("float32", v.load(x, at)) - mean[c]) / std[c])
    return made.get()


@contextmanager
def _function(symbol: str, size: int, dtype: str) -> Iterator[tuple[IRBuilder, Any, Any]]:
    """A function from so many elements to as many floats: its builder and both buffers."""
    with IRBuilder() as made, builder.prim_func(s_tir=True):
        builder.func_name(symbol)
        x = builder.arg("x", builder.buffer((size,), dtype))
        y = builder.arg("y", builder.buffer((size,), "float32"))
        builder.func_attr({"tirx.noalias": True, "global_symbol": symbol})
        yield made, x, y
