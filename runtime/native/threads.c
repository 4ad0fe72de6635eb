#include "threads.h"

#define SPINS 4000 /* some 10 us: longer than a step of a small network takes to hand out */

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

static void do_share(binas_pool *pool, int index) {
    int64_t units = pool->units;
    int32_t begin = (int32_t)(units * index / pool->threads);
    int32_t end = (int32_t)(units * (index + 1) / pool->threads);
    if (begin < end && pool->task(pool->argument, begin, end) != 0) atomic_store(&pool->failed, 1);
}

static void *work(void *argument) {
    struct binas_worker *seat = argument;
    binas_pool *pool = seat->pool;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&pool->generation) == seen; ++i) relax();
        if (atomic_load(&pool->generation) == seen) {
            pthread_mutex_lock(&pool->lock);
            while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        seen = atomic_load(&pool->generation);
        if (atomic_load(&pool->stop)) return NULL;
        do_share(pool, seat->index);
        atomic_fetch_sub(&pool->pending, 1);
    }
}

static void announce(binas_pool *pool) {
    pthread_mutex_lock(&pool->lock); /* so that no worker falls asleep between look and wait */
    atomic_fetch_add(&pool->generation, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

/* End the workers that were started, and what they wait on. */
static void halt(binas_pool *pool) {
    atomic_store(&pool->stop, 1);
    announce(pool);
    for (int i = 1; i < pool->threads; ++i) pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    pool->threads = 1;
}

int binas_pool_start(binas_pool *pool, int threads) {
    pool->threads = 1;
    atomic_store(&pool->generation, 0);
    atomic_store(&pool->pending, 0);
    atomic_store(&pool->failed, 0);
    atomic_store(&pool->stop, 0);
    if (threads == 1) return 0;
    if (pthread_mutex_init(&pool->lock, NULL) != 0) return 1;
    if (pthread_cond_init(&pool->wake, NULL) != 0) {
        pthread_mutex_destroy(&pool->lock);
        return 1;
    }
    for (int i = 1; i < threads; ++i) {
        pool->seats[i].pool = pool;
        pool->seats[i].index = i;
        if (pthread_create(&pool->workers[i], NULL, work, &pool->seats[i]) != 0) {
            halt(pool);
            return 1;
        }
        pool->threads = i + 1;
    }
    return 0;
}

int32_t binas_pool_run(binas_pool *pool, binas_task task, void *argument, int32_t units) {
    if (pool->threads == 1 || units == 1) return task(argument, 0, units);
    pool->task = task;
    pool->argument = argument;
    pool->units = units;
    atomic_store(&pool->failed, 0);
    atomic_store(&pool->pending, pool->threads - 1);
    announce(pool);
    do_share(pool, 0);
    while (atomic_load(&pool->pending) != 0) relax();
    return atomic_load(&pool->failed);
}

void binas_pool_stop(binas_pool *pool) {
    if (pool->threads > 1) halt(pool);
}
