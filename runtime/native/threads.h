/* A small pool: workers sleep between networks, spin between steps, and keep off the caller's core. */
#ifndef BINAS_THREADS_H
#define BINAS_THREADS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define BINAS_MAX_THREADS 32

/* Does the share `index` of `threads`. */
typedef int32_t (*binas_task)(void *argument, int index, int threads);

typedef struct binas_pool {
    int threads; /* the caller's included */
    pid_t owner; /* the process that has the workers; a child of fork() does all shares itself */
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
    atomic_int cpu; /* on which the caller was when it last handed out work */
    binas_task task;
    void *argument;
} binas_pool;

/* Start threads - 1 workers; 0 on success. */
int binas_pool_start(binas_pool *pool, int threads);

/* Have each thread do its share; returns 0 if all of them returned 0. */
int32_t binas_pool_run(binas_pool *pool, binas_task task, void *argument);

void binas_pool_stop(binas_pool *pool);

#endif
