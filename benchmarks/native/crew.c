/* A function on every thread of a pool at once: the pool that networks run on, so that what it costs
 * to hand out work is the same on both sides of a comparison.
 */
#include <stdint.h>
#include <stdlib.h>

#include "threads.h"

typedef int (*bench_function)(void *context, const void *const *inputs, void *const *outputs);

typedef struct {
    binas_pool pool;
    bench_function run; /* touches no memory */
    int64_t repeats;    /* on each thread */
} bench_crew;

static int32_t share(void *argument, int index, int threads) {
    const bench_crew *crew = argument;
    (void)index, (void)threads;
    for (int64_t i = 0; i < crew->repeats; ++i)
        if (crew->run(NULL, NULL, NULL) != 0) return 1;
    return 0;
}

/* NULL where there is no memory or no thread to be had. */
bench_crew *bench_crew_start(bench_function run, int threads, int64_t repeats) {
    bench_crew *crew = malloc(sizeof *crew);
    if (crew == NULL) return NULL;
    crew->run = run;
    crew->repeats = repeats;
    if (binas_pool_start(&crew->pool, threads) == 0) return crew;
    free(crew);
    return NULL;
}

void bench_crew_stop(bench_crew *crew) {
    binas_pool_stop(&crew->pool);
    free(crew);
}

/* In the shape of `binas_run`. */
int bench_crew_run(void *context, const void *const *inputs, void *const *outputs) {
    bench_crew *crew = context;
    (void)inputs, (void)outputs;
    return binas_pool_run(&crew->pool, share, crew);
}
