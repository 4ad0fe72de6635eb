"""Saved products cost few digits: rounding of filtered convolutions beside that of direct ones."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from binas.compile import codegen
from binas.compile import isa as isas
from binas.compile.kernels import float_conv, float_direct, float_winograd, float_winograd_2d
from binas.devices import zig
from binas.devices.device import CPUS
from tests.integration.kernel_nodes import conv

pytestmark = [pytest.mark.slow, pytest.mark.isa(*CPUS["x86_64"]["x86-64-v3"])]

LAYERS = {
    "3x3 of 3": conv(3, 64, binary=False, image=(16, 32), stages=()),
    "3x3 of 64": conv(64, 32, binary=False, image=(6, 32), stages=()),
    "5x5 of 16": conv(16, 32, binary=False, kernel=(5, 5), image=(6, 33), stages=()),
    "7x7 of 3 at stride 2": conv(
        3, 64, binary=False, kernel=(7, 7), stride=(2, 2), image=(24, 64), stages=()
    ),
    "3x3 of 24": conv(24, 32, binary=False, image=(16, 32), stages=()),
    "3x3 of 54 at stride 2": conv(54, 108, binary=False, stride=(2, 2), image=(16, 64), stages=()),
    "4x4 of 24": conv(24, 32, binary=False, kernel=(4, 4), image=(16, 32), stages=()),
    "2x2 of 40": conv(40, 32, binary=False, kernel=(2, 2), image=(16, 32), stages=()),
    "7x7 of 24 at stride 2": conv(
        24, 32, binary=False, kernel=(7, 7), stride=(2, 2), image=(24, 64), stages=()
    ),
}
WAYS = {"direct": float_direct, "along": float_winograd, "doubly": float_winograd_2d}
CASES = [
    *((name, "along") for name in LAYERS if "54" not in name),
    *((name, "doubly") for name in LAYERS if name not in ("5x5 of 16", "4x4 of 24")),
]
INPUTS = ("normal", "positive", "offset")
LARGEST, RMS = 4.0, 3.0  # times the direct way's


def test_what_would_round_worse_is_not_filtered_in_two_dimensions() -> None:
    isa = isas.find("x86-64-v3", "x86_64")
    assert float_winograd_2d.share(LAYERS["4x4 of 24"].layer, isa) is None  # 7.6 times
    assert float_winograd_2d.shape_of(LAYERS["3x3 of 3"].layer, isa).down.outputs == 2  # 5.5 of 4


def values(kind: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    generator = np.random.default_rng(1)
    if kind == "positive":
        return generator.uniform(0, 1, shape).astype(np.float32)
    normal = generator.standard_normal(shape)
    return (normal + (100 if kind == "offset" else 0)).astype(np.float32)


def aligned(array: NDArray[np.float32]) -> NDArray[np.float32]:
    memory = np.zeros(array.nbytes + 64 + 64, np.uint8)  # and the slack of the arena
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(np.float32).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every layer in all its ways, as `direct0`, `doubly0` and so on."""
    isa, functions = isas.find("x86-64-v3", "x86_64"), {}
    for name, way in (*((name, "direct") for name in LAYERS), *CASES):
        symbol = f"{way}{list(LAYERS).index(name)}"
        functions[symbol] = WAYS[way].generate(LAYERS[name].layer, isa, symbol).function
    folder: Path = tmp_path_factory.mktemp("rounding")
    codegen.write_object(codegen.build(functions, isa), folder / "kernels.o")
    zig.cc([*zig.library("x86_64"), str(folder / "kernels.o"), "-o", str(folder / "kernels.so")])
    return ctypes.CDLL(str(folder / "kernels.so"))


def errors(library: ctypes.CDLL, name: str, way: str, kind: str) -> NDArray[Any]:
    node, isa, module = LAYERS[name], isas.find("x86-64-v3", "x86_64"), WAYS[way]
    symbol = f"{way}{list(LAYERS).index(name)}"
    x = aligned(values(kind, node.in_shape))
    y = aligned(np.full(node.layer.out_shape, np.nan, np.float32))
    arrays = [x, *map(aligned, module.arrays(node, isa)), y]
    units = module.generate(node.layer, isa, symbol).units
    library[symbol](*(ctypes.c_void_p(array.ctypes.data) for array in arrays), 0, units)
    error: NDArray[Any] = np.abs(y - float_conv.meaning(node, x))
    return error


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize(("name", "way"), CASES)
def test_rounding_stays_within_a_few_times_that_of_every_tap(
    library: ctypes.CDLL, name: str, way: str, kind: str
) -> None:
    direct = errors(library, name, "direct", kind)
    filtered = errors(library, name, way, kind)
    assert filtered.max() <= LARGEST * direct.max()
    assert np.sqrt((filtered**2).mean()) <= RMS * np.sqrt((direct**2).mean())
