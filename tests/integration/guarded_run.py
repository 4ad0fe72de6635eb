"""Run kernels of a shared library between guard pages; a program of its own, as it may crash.

    python guarded_run.py FOLDER

FOLDER holds `kernels.so`, `job.json` (a list of {"symbol", "reads", "parameters", "writes",
"units"}) and the arrays that it names as .npy files. Every buffer lies between unreadable pages and
touches one of them: in one split of the work the one before it, else the one behind it. Operands
have the slack that the arena promises behind them, parameters and outputs none; operands and
parameters cannot be written. The name of each kernel is printed before it runs; outputs go to
`SYMBOL.splitN.outM.npy`, canaries that were overwritten are printed as lines "overwritten SYMBOL".
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np

ALIGN, SLACK, PAGE = 64, 64, mmap.PAGESIZE
CANARY = 0xA5
LIBC = ctypes.CDLL(None, use_errno=True)
KEPT: list[mmap.mmap] = []  # memory lives as long as the program


def say(line: str) -> None:
    """Tell the parent at once: the next thing may be a crash."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def protect(address: int, size: int, allowed: int) -> None:
    """mprotect whole pages."""
    if LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), allowed) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


def place(size: int, slack: int, *, at_start: bool, align: int = ALIGN) -> tuple[int, int]:
    """How many pages `size` bytes take between two guard pages, and where in them they begin.

    The bytes, rounded up to `align`, and the slack end at the page behind; `at_start`: the bytes
    begin at the page before.
    """
    room = -(-size // align) * align + slack
    pages = max(1, -(-room // PAGE))
    return pages, 0 if at_start else pages * PAGE - room


def guarded(
    size: int, slack: int, *, at_start: bool = False, align: int = ALIGN
) -> tuple[int, np.ndarray]:
    """Address of `size` bytes between guard pages, with everything behind it up to the second."""
    pages, offset = place(size, slack, at_start=at_start, align=align)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    KEPT.append(memory)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + PAGE
    protect(first - PAGE, PAGE, 0)
    protect(first + pages * PAGE, PAGE, 0)
    view = np.frombuffer(memory, np.uint8, count=(pages + 1) * PAGE)[PAGE + offset :]
    view[:] = CANARY
    return first + offset, view


def held(array: np.ndarray, slack: int, *, at_start: bool = False, align: int = ALIGN) -> int:
    """Address of a copy of an array that cannot be written."""
    address, view = guarded(array.nbytes, slack, at_start=at_start, align=align)
    view[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
    page = address // PAGE * PAGE
    protect(page, max(1, address + view.nbytes - page), mmap.PROT_READ)
    return address


def splits(units: int) -> list[list[tuple[int, int]]]:
    """All at once; two calls, the later part first; three calls, one of them empty or tiny."""
    third, late = units // 3, units - units // 4
    return [
        [(0, units)],
        [(third, units), (0, third)],
        [(0, min(1, units)), (late, units), (min(1, units), late)],
    ]


def run(job: dict[str, Any], library: ctypes.CDLL, folder: Path) -> None:
    """One kernel, every split."""
    symbol = job["symbol"]
    say(symbol)
    arrays = [(np.load(folder / name), SLACK) for name in job["reads"]]
    arrays += [(np.load(folder / name), 0) for name in job["parameters"]]
    function = getattr(library, symbol)
    for number, calls in enumerate(splits(job["units"])):
        at_start = number == 1
        given = [held(array, slack, at_start=at_start) for array, slack in arrays]
        outputs = [guarded(size, 0, at_start=at_start) for size in job["writes"]]
        pointers = [ctypes.c_void_p(at) for at in (*given, *(at for at, _ in outputs))]
        for begin, end in calls:
            if function(*pointers, ctypes.c_int32(begin), ctypes.c_int32(end)) != 0:
                say(f"failed {symbol}")
        for i, (size, (_, view)) in enumerate(zip(job["writes"], outputs, strict=True)):
            np.save(folder / f"{symbol}.split{number}.out{i}.npy", view[:size])
            if (view[size:] != CANARY).any():
                say(f"overwritten {symbol}")


if __name__ == "__main__":
    where = Path(sys.argv[1])
    kernels = ctypes.CDLL(str(where / "kernels.so"))
    for entry in json.loads((where / "job.json").read_text()):
        run(entry, kernels, where)
