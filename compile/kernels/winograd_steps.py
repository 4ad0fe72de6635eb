"""Steps that filtering along rows and filtering in two dimensions share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from binas.compile.isa import Isa
from binas.compile.kernels import vector as v
from binas.compile.kernels.float_sums import outer
from binas.compile.kernels.minimal_filtering import Madd

_INDEX = (1 << 20) - 1  # no index of what is on the stack is larger


class Inputs(NamedTuple):
    """Where the transformed inputs of tiles lie: the first's, and how far apart they are."""

    source: Any
    first: Any
    apart: int


class Products(NamedTuple):
    """Where the products of tiles go, [tile][vector] from vector `to` on."""

    sums: Any
    to: Any
    tiles: int
    vectors: int


@contextmanager
def repeat(count: int) -> Iterator[Any]:
    """A loop of the kernel, or none for a single time."""
    with v.loop(0, count) if count > 1 else nullcontext(v.const(0)) as number:
        yield number


def madd(isa: Isa, width: int) -> Madd[v.Register]:
    """Multiplies a vector by a constant and adds one: x * c + y."""

    def made(x: v.Register, c: Fraction, y: v.Register) -> v.Register:
        if abs(c) == 1:
            total = y.get() + x.get() if c == 1 else y.get() - x.get()
        else:
            by = v.splat(float(c), width, "float32")
            total = v.fma(x.get(), by, y.get(), width, fused=isa.fused)
        return v.Register("float32", width, total)

    return made


def index(x: Any) -> Any:
    """The same index, from which LLVM sees that no sum overflows: only such fold in addresses.

    Without, every tile has an address of its own, and they do not fit the registers.
    """
    return v.Register("int32", 1, x & v.const(_INDEX)).get()


def multiply(
    inputs: Inputs, weights: tuple[Any, Any], made: Products, steps: Any, unroll: int, isa: Isa
) -> None:
    """One product of each tile: sums over `steps` times `unroll` inputs.

    Args:
        inputs: Of which tiles.
        weights: A buffer, and where in it [input][vector] of weights begin.
        made: Where the sums go, and of how many tiles and vectors they are.
        steps: How many, at run time.
        unroll: Inputs of a step.
        isa: For which CPU.
    """
    V, Q, (w, weight) = isa.lanes, made.vectors, weights
    zero = v.splat(0.0, V, "float32")
    sums = [[v.Register("float32", V, zero) for _ in range(Q)] for _ in range(made.tiles)]

    def splat(at: Any) -> Any:
        return v.splat(v.load(inputs.source, at), V, "float32")

    with v.loop(0, index(steps)) as step:
        for part in range(unroll):
            k = step * unroll + part
            ws = [partial(v.load, w, weight + (k * Q + j) * V, V) for j in range(Q)]
            at = inputs.first + k
            xs = [partial(splat, at + tile * inputs.apart) for tile in range(made.tiles)]
            if made.tiles < Q:
                outer(xs, ws, [list(column) for column in zip(*sums, strict=True)], isa)
            else:
                outer(ws, xs, sums, isa)
    for tile, row in enumerate(sums):
        for j, total in enumerate(row):
            v.store(made.sums, (made.to + (tile * Q + j)) * V, total.get(), V)
