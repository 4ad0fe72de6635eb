"""What each nibble of an activation's byte mismatches with each nibble of a weight.

Row 2 b + h is of the lower (h = 0) or the upper nibble a of byte b: entry w is popcount(a xor w).
So a byte as it lies in memory says where its two rows are. (Rows by nibble take 512 bytes and not
8 KiB, and masks and shifts that keep the front end of a CPU busier than the shuffles do.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from binas.compile.kernels import vector as v

ENTRIES = 16  # of a row, bytes
SIZE = 256 * 2 * ENTRIES


def table() -> NDArray[np.uint8]:
    """All rows, uint8 [SIZE]."""
    octets, nibbles = np.arange(256), np.arange(ENTRIES)
    rows = np.stack((octets & 15, octets >> 4), axis=1)
    found: NDArray[np.uint8] = np.bitwise_count(rows[..., None] ^ nibbles).astype(np.uint8)
    return found.reshape(-1)


def row(buffer: Any, octet: Any, high: int, W: int) -> Any:
    """The row of a nibble of a byte, in each 16 bytes of a register of `W`."""
    place = tirx.Cast("int32", octet) * (2 * ENTRIES) + high * ENTRIES
    once = v.load(buffer, place, ENTRIES)
    if W == ENTRIES:
        return once
    pair = v.reinterpret("uint64x2", once)
    repeated = tirx.Shuffle([pair] * (W // ENTRIES), list(range(W // 8)))
    return v.reinterpret(f"uint8x{W}", repeated)


def both_rows(buffer: Any, octet: Any) -> Any:
    """The rows of the lower and the upper nibble of a byte, in a register of 32 bytes."""
    return v.load(buffer, tirx.Cast("int32", octet) * (2 * ENTRIES), 2 * ENTRIES)
