"""The pool of threads: where its workers run, and what waiting costs where there is one core."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from binas import runtime
from binas.compile import link

NATIVE = Path(runtime.__path__[0]) / "native"
ROUNDS = 60

OPENED = """
#define _GNU_SOURCE
#include <sched.h>
#include <time.h>
#include <unistd.h>
#include "threads.c"

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int32_t note_core(void *argument, int index, int threads) {
    (void)threads;
    ((int *)argument)[index] = sched_getcpu();
    for (double end = now_us() + 100; now_us() < end;) {}
    return 0;
}

/* On which core each thread was, where the workers sleep before each round. */
int cores(int threads, int rounds, int *out) {
    static binas_pool pool;
    if (binas_pool_start(&pool, threads) != 0) return 1;
    for (int round = 0; round < rounds; ++round) {
        usleep(2000);
        binas_pool_run(&pool, note_core, out + round * threads);
    }
    binas_pool_stop(&pool);
    return 0;
}

static int32_t nothing(void *argument, int index, int threads) {
    (void)argument; (void)index; (void)threads;
    return 0;
}

/* The shortest time in which so many empty tasks follow each other. */
double empty_us(int threads, int tasks, int rounds) {
    static binas_pool pool;
    double best = 1e12;
    if (binas_pool_start(&pool, threads) != 0) return -1;
    for (int round = 0; round < rounds; ++round) {
        double begin = now_us();
        for (int i = 0; i < tasks; ++i) binas_pool_run(&pool, nothing, 0);
        double took = now_us() - begin;
        if (took < best) best = took;
    }
    binas_pool_stop(&pool);
    return best;
}
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """threads.c, opened."""
    folder = tmp_path_factory.mktemp("pool")
    (folder / "opened.c").write_text(OPENED)
    flags = ["-target", "x86_64-linux-gnu.2.28", "-shared", "-fPIC", "-O2", "-std=gnu11"]
    link.zig([*flags, f"-I{NATIVE}", str(folder / "opened.c"), "-o", str(folder / "libpool.so")])
    library = ctypes.CDLL(str(folder / "libpool.so"))
    library.empty_us.restype = ctypes.c_double
    return library


def test_a_worker_that_wakes_on_the_callers_core_leaves_it_for_a_free_one(
    pool: ctypes.CDLL,
) -> None:
    found = (ctypes.c_int * (2 * ROUNDS))()
    assert pool.cores(2, ROUNDS, found) == 0
    apart = sum(found[2 * i] != found[2 * i + 1] for i in range(ROUNDS))
    assert apart > ROUNDS / 2 or len(os.sched_getaffinity(0)) == 1


def test_where_a_worker_may_run_is_what_it_was(pool: ctypes.CDLL) -> None:
    before = os.sched_getaffinity(0)
    found = (ctypes.c_int * (3 * ROUNDS))()
    assert pool.cores(3, ROUNDS, found) == 0
    assert os.sched_getaffinity(0) == before
    assert set(found) <= before


def test_two_threads_on_one_core_do_not_spin_against_each_other(pool: ctypes.CDLL) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        # A worker spins for tens of microseconds before it sleeps; a switch takes one or two.
        assert pool.empty_us(2, 100, 10) / 100 < 20
    finally:
        os.sched_setaffinity(0, allowed)
