/* Runs something in a loop and says what it cost: our side of every comparison.
 *
 * The function has the shape of `binas_run`, so that the library of an artifact is timed as it is.
 * A pool's first call wakes its workers. One of them may have to move to another core, and the
 * kernel counts that as a core lost: such a call can be made first, and is not counted.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

typedef int (*bench_function)(void *context, const void *const *inputs, void *const *outputs);

static int64_t ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
}

/* result: wall ns, CPU ns of the process, involuntary context switches; returns a status not 0. */
int bench_loop(bench_function run, void *context, const void *const *inputs, void *const *outputs,
               int64_t uncounted, int64_t runs, int64_t *result) {
    for (int64_t i = 0; i < uncounted; ++i) {
        int status = run(context, inputs, outputs);
        if (status != 0) return status;
    }
    int64_t switched = switches(), cpu = ns(CLOCK_PROCESS_CPUTIME_ID), wall = ns(CLOCK_MONOTONIC);
    for (int64_t i = 0; i < runs; ++i) {
        int status = run(context, inputs, outputs);
        if (status != 0) return status;
    }
    result[0] = ns(CLOCK_MONOTONIC) - wall;
    result[1] = ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    result[2] = switches() - switched;
    return 0;
}
