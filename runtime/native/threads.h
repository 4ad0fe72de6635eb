/* A small pool: workers sleep between networks, spin briefly between steps. */
#ifndef BINAS_THREADS_H
#define BINAS_THREADS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define BINAS_MAX_THREADS 32

typedef int32_t (*binas_task)(void *argument, int32_t begin, int32_t end);

typedef struct binas_pool {
    int threads; /* the caller's included */
    pthread_t workers[BINAS_MAX_THREADS];
    struct binas_worker {
        struct binas_pool *pool;
        int index;
    } seats[BINAS_MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint generation; /* a new value is new work */
    atomic_int pending;     /* workers not done yet */
    atomic_int failed;
    atomic_int stop;
    binas_task task;
    void *argument;
    int32_t units;
} binas_pool;

/* Start threads - 1 workers; 0 on success. */
int binas_pool_start(binas_pool *pool, int threads);

/* Split [0, units) over the threads; returns what a task returned if not 0. */
int32_t binas_pool_run(binas_pool *pool, binas_task task, void *argument, int32_t units);

void binas_pool_stop(binas_pool *pool);

#endif
