"""What is timed of several threads: an uncounted call wakes them, and each needs a core."""

from __future__ import annotations

import ctypes

import pytest

from benchmarks.native_code import NativeCall
from benchmarks.threads import Registers

RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


@pytest.mark.parametrize(("threads", "uncounted"), [(1, 0), (2, 1)])
def test_a_call_that_is_not_counted_wakes_several_threads(threads: int, uncounted: int) -> None:
    calls = 0

    def run(*_: object) -> int:
        nonlocal calls
        calls += 1
        return 0

    function = RUN(run)
    batch = NativeCall(function, threads=threads).batch(3)
    assert (calls, batch.runs, batch.threads) == (3 + uncounted, 3, threads)


def test_each_thread_runs_the_whole_loop() -> None:
    """By CPU time, which does not depend on how many cores are free.

    Linux adds up what another thread has taken when its tick comes, every few ms: a batch is long.
    """
    one, two = (Registers("clock", n).batch(100).cpu_ns for n in (1, 2))
    assert two / one > 1.5
