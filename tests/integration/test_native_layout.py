"""Channels first outside, channels last inside: the C that turns one into the other."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from binas import runtime
from binas.compile import link

NATIVE = Path(runtime.__path__[0]) / "native"
SIZES = (1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 63, 65, 127, 129)

OPENED = """
#include "layout.c"
void turn(const float *from, float *to, size_t rows, size_t columns) {
    transpose(from, to, rows, columns, 0, columns);
}
"""


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> ctypes._NamedFuncPointer:
    """`transpose` of layout.c."""
    folder = tmp_path_factory.mktemp("turn")
    (folder / "opened.c").write_text(OPENED)
    flags = ["-target", "x86_64-linux-gnu.2.28", "-shared", "-fPIC", "-O2", "-std=gnu11"]
    link.zig([*flags, f"-I{NATIVE}", str(folder / "opened.c"), "-o", str(folder / "libturn.so")])
    function = ctypes.CDLL(str(folder / "libturn.so")).turn
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    return function


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("offset", [0, 1])
def test_every_size_is_turned_and_nothing_else_is_touched(
    turn: ctypes._NamedFuncPointer, rows: int, offset: int
) -> None:
    for columns in SIZES:
        x = np.random.default_rng([rows, columns]).random(rows * columns + 1, np.float32)
        y = np.full(rows * columns + 2, -1, np.float32)
        turn(x[offset:].ctypes.data, y[1:].ctypes.data, rows, columns)
        expected = x[offset : offset + rows * columns].reshape(rows, columns).T
        np.testing.assert_array_equal(y[1:-1].reshape(columns, rows), expected)
        assert (y[0], y[-1]) == (-1, -1)
