"""What is timed of several threads: an uncounted call wakes them, and each needs a core."""

from __future__ import annotations

import ctypes

import pytest

from benchmarks import threads as benchmark
from benchmarks.native_code import NativeCall
from benchmarks.threads import Registers, loop_contender
from benchmarks.works import SCALING
from binas.core.errors import MeasureError
from binas.devices.device import Device

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


def test_a_loop_that_gets_no_threads_is_a_row_and_does_not_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(name: str, threads: int) -> Registers:
        raise MeasureError(f"no {threads} threads to be had for {name}")

    monkeypatch.setattr(benchmark, "Registers", none_left)
    found = loop_contender("registers-2-threads", 2)
    assert (found.work, found.engine) == (SCALING.work, "registers-2-threads")
    assert not found.verdict.agrees
    assert "no 2 threads to be had" in found.verdict.words
    assert not found.subjects


def test_a_cpu_that_counts_as_none_of_the_loops_does_has_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Device, "lacks", lambda self, features: tuple(features))
    found = loop_contender("registers", 1)
    assert found.verdict.words == "not run: no loop counts as our kernels do on this CPU"
    assert (found.gmacs, tuple(found.subjects)) == (0.0, ())
