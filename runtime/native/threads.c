#define _GNU_SOURCE /* where a thread runs, and may run */
#include "threads.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

/* Waits are counted in looks, and how long a look takes is the processor's: 4000 of them take 80 us or
 * more on an Intel server (measured), and some 10 us where a pause is a short hint (an estimate). */
#define SPINS 4000 /* looks of a worker before it sleeps; meant to outlast the handing out of a small step */
#define YIELD_EVERY 64
#define LONG_WAIT 32000 /* looks of a caller before it naps; 0.65 ms on that server */
#define NAP_NS 20000

static inline void pause_a_moment(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

/* Look away for the `i`-th time; now and then let another thread have this core, which may be the one
 * waited for. A real-time thread gives way to none of a lower priority unless it sleeps. */
static inline void relax(unsigned i) {
    static const struct timespec nap = {0, NAP_NS};
    if (i >= LONG_WAIT) nanosleep(&nap, NULL);
    else if (i % YIELD_EVERY == YIELD_EVERY - 1) sched_yield();
    else pause_a_moment();
}

/* Leave the caller's core if there is another. The kernel need not do so: in a virtual machine it takes
 * a halted core for one that somebody else has (vcpu_is_preempted) and wakes a worker where its waker
 * runs, so that one of the two waits for the other, call after call. The worker does not stay pinned:
 * the mask that it read is written back. It is the worker's own from then on: what somebody else sets
 * in between is lost, and processors that its cpuset gains later are not added. */
static void keep_off(const binas_pool *pool, int index) {
    int caller = atomic_load(&pool->cpu), passed = 0;
    cpu_set_t allowed, one;
    if (sched_getcpu() != caller || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    int away = index % CPU_COUNT(&allowed);
    if (away == 0) return;
    for (int cpu = caller; passed < away;) { /* the next allowed ones, round and round */
        cpu = (cpu + 1) % CPU_SETSIZE;
        if (CPU_ISSET(cpu, &allowed) && ++passed == away) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
        }
    }
    if (sched_setaffinity(0, sizeof one, &one) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
}

/* In a child of fork() there are no workers, and one of them may have held the lock. */
static int has_workers(const binas_pool *pool) {
    return pool->threads > 1 && getpid() == pool->owner;
}

static void do_share(binas_pool *pool, int index) {
    if (pool->task(pool->argument, index, pool->threads) != 0) atomic_store(&pool->failed, 1);
}

static void *work(void *argument) {
    struct binas_worker *seat = argument;
    binas_pool *pool = seat->pool;
    unsigned seen = 0;
    for (;;) {
        for (unsigned i = 0; i < SPINS && atomic_load(&pool->generation) == seen; ++i) relax(i);
        if (atomic_load(&pool->generation) == seen) {
            pthread_mutex_lock(&pool->lock);
            while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        seen = atomic_load(&pool->generation);
        if (atomic_load(&pool->stop)) return NULL;
        keep_off(pool, seat->index);
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
    atomic_store(&pool->cpu, -1);
    if (threads == 1) return 0;
    pool->owner = getpid();
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

int32_t binas_pool_run(binas_pool *pool, binas_task task, void *argument) {
    if (pool->threads == 1) return task(argument, 0, 1);
    pool->task = task;
    pool->argument = argument;
    atomic_store(&pool->failed, 0);
    if (!has_workers(pool)) {
        for (int i = 0; i < pool->threads; ++i) do_share(pool, i);
        return atomic_load(&pool->failed);
    }
    atomic_store(&pool->pending, pool->threads - 1);
    atomic_store(&pool->cpu, sched_getcpu());
    announce(pool);
    do_share(pool, 0);
    for (unsigned i = 0; atomic_load(&pool->pending) != 0; ++i) relax(i);
    return atomic_load(&pool->failed);
}

void binas_pool_stop(binas_pool *pool) {
    if (has_workers(pool)) halt(pool);
    pool->threads = 1;
}
