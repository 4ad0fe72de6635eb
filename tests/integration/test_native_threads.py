"""The pool of threads: where its workers run, how a caller waits, and what fork() leaves of it.

threads.c is included with the system's calls replaced by ones that take notes, so that what a test
sees does not depend on what else the machine does.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from binas import runtime
from binas.compile import link
from tests.integration.sanitizers import FAKE_PLAN

NATIVE = Path(runtime.__path__[0]) / "native"
FLAGS = ("-target", "x86_64-linux-gnu.2.28", "-shared", "-fPIC", "-O2", "-std=gnu11")

OPENED = """
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static int everybody_is_on; /* the core that each thread is told to be on */
static _Thread_local int moves, went_to, is_caller;
static atomic_int yields, naps, yields_before_naps;

static int told_core(void) { return everybody_is_on; }

static int noted_move(pid_t thread, size_t bytes, const cpu_set_t *mask) {
    int status = sched_setaffinity(thread, bytes, mask);
    if (++moves == 1) went_to = sched_getcpu();
    return status;
}

static int noted_yield(void) {
    if (is_caller) atomic_fetch_add(&yields, 1);
    return sched_yield();
}

static int noted_nap(const struct timespec *length, struct timespec *left) {
    if (is_caller && atomic_fetch_add(&naps, 1) == 0)
        atomic_store(&yields_before_naps, atomic_load(&yields));
    return nanosleep(length, left);
}

#define sched_getcpu told_core
#define sched_setaffinity noted_move
#define sched_yield noted_yield
#define nanosleep noted_nap
#include "threads.c"
#undef sched_yield
#undef nanosleep

typedef struct { int moves, went_to, mask_is_the_callers; } place;
static cpu_set_t callers;

static int32_t note_place(void *argument, int index, int threads) {
    cpu_set_t mask;
    (void)threads;
    int known = sched_getaffinity(0, sizeof mask, &mask) == 0;
    ((place *)argument)[index] = (place){moves, went_to, known && CPU_EQUAL(&mask, &callers)};
    return 0;
}

/* Where each worker went when it and the caller woke on the same core. */
int places(int threads, int core, place *out) {
    static binas_pool pool;
    everybody_is_on = core;
    moves = 0;
    if (sched_getaffinity(0, sizeof callers, &callers) != 0) return 1;
    if (binas_pool_start(&pool, threads) != 0) return 1;
    binas_pool_run(&pool, note_place, out);
    binas_pool_stop(&pool);
    return 0;
}

/* The worker is done once the caller has done what is waited for, or after 5 s without it. */
static int32_t wait_for(void *argument, int index, int threads) {
    struct timespec begin, now;
    (void)threads;
    if (index == 0) return 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    while (atomic_load((atomic_int *)argument) < 2) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - begin.tv_sec > 5) return 1;
        usleep(100);
    }
    return 0;
}

static int seen(atomic_int *what) {
    static binas_pool pool;
    is_caller = 1;
    if (binas_pool_start(&pool, 2) != 0) return 0;
    atomic_store(&yields, 0);
    atomic_store(&naps, 0);
    int failed = binas_pool_run(&pool, wait_for, what);
    binas_pool_stop(&pool);
    return !failed;
}

int a_caller_yields(void) { return seen(&yields); }
int a_caller_naps(void) { return seen(&naps); }
int yields_before_the_first_nap(void) { return atomic_load(&yields_before_naps); }
"""

FORKING = """
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "model.h"

static _Alignas(64) unsigned char context[1 << 16], arena[1 << 14], weights[64];

/* One inference in the parent, one in a child of fork(), one in the parent; the wait status. */
int parent_child_parent(int threads, const float *x, float *y, size_t floats) {
    size_t bytes = 3 * floats * sizeof *y;
    int status = -1;
    float *shared = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return -1;
    if (binas_create((binas_context *)context, sizeof context, arena, sizeof arena, weights,
                     sizeof weights, threads) != BINAS_OK) return -1;
    const void *inputs[] = {x};
    for (int i = 0; i < 3; ++i) {
        void *outputs[] = {shared + i * floats};
        pid_t child = i == 1 ? fork() : 0;
        if (child == 0) {
            if (i == 1) { /* a child that waits for threads it does not have is killed */
                signal(SIGALRM, SIG_DFL); /* pytest's own time limit handles it */
                alarm(5);
            }
            int failed = binas_run((binas_context *)context, inputs, outputs) != BINAS_OK;
            if (i == 1) {
                binas_destroy((binas_context *)context);
                _exit(failed);
            }
            if (failed) return -1;
        } else if (child < 0 || waitpid(child, &status, 0) != child) {
            return -1;
        }
    }
    binas_destroy((binas_context *)context);
    memcpy(y, shared, bytes);
    munmap(shared, bytes);
    return status;
}
"""


def shared_library(folder: Path, sources: dict[str, str], *native: str) -> ctypes.CDLL:
    """Sources of a test, and files of the runtime's."""
    for name, text in sources.items():
        (folder / name).write_text(text)
    files = [str(folder / name) for name in sources] + [str(NATIVE / name) for name in native]
    link.zig([*FLAGS, f"-I{NATIVE}", *files, "-o", str(folder / "lib.so")])
    return ctypes.CDLL(str(folder / "lib.so"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """threads.c, opened."""
    return shared_library(tmp_path_factory.mktemp("pool"), {"opened.c": OPENED})


class Place(ctypes.Structure):
    """Of a thread: how often it set its mask, where that took it, and its mask at last."""

    _fields_ = (
        ("moves", ctypes.c_int),
        ("went_to", ctypes.c_int),
        ("mask_is_the_callers", ctypes.c_int),
    )


def places(pool: ctypes.CDLL, threads: int, core: int) -> list[Place]:
    found = (Place * threads)()
    assert pool.places(threads, core, found) == 0
    return list(found)


@pytest.fixture
def one_core() -> Iterator[int]:
    """The only core of this process, meanwhile."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield min(allowed)
    os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_a_worker_on_the_callers_core_leaves_it_and_may_then_run_where_it_could(
    pool: ctypes.CDLL, threads: int
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    for at, core in enumerate(cores):
        for i, place in enumerate(places(pool, threads, core)):
            assert place.mask_is_the_callers
            if i % len(cores) == 0:  # the caller, and workers that have no core of their own
                assert place.moves == 0
            else:
                assert place.moves == 2  # there, and its mask back
                assert place.went_to == cores[(at + i) % len(cores)] != core


def test_on_one_core_no_thread_is_moved(pool: ctypes.CDLL, one_core: int) -> None:
    found = places(pool, 3, one_core)
    assert all(place.moves == 0 and place.mask_is_the_callers for place in found)


def test_a_caller_that_waits_gives_way(pool: ctypes.CDLL) -> None:
    assert pool.a_caller_yields()


def test_a_caller_that_waits_long_sleeps_as_a_real_time_one_gives_way_only_so(
    pool: ctypes.CDLL,
) -> None:
    assert pool.a_caller_naps()
    assert pool.yields_before_the_first_nap() > 100


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_child_of_fork_computes_the_same_bytes_alone(tmp_path: Path, threads: int) -> None:
    sources = {"forking.c": FORKING, "plan.c": FAKE_PLAN}
    library = shared_library(tmp_path, sources, "model.c", "layout.c", "threads.c")
    x, y = np.arange(1024, dtype=np.float32), np.zeros((3, 1024), np.float32)
    status = library.parent_child_parent(
        *(threads, x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p)),
        ctypes.c_size_t(1024),
    )
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
    before, child, after = (row.tobytes() for row in y)
    assert before == child == after == (x + 2).reshape(64, 16).T.tobytes()
