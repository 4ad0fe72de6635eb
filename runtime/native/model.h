/* The C interface of a binas artifact: one network, compiled for one kind of CPU.
 *
 * The caller owns all memory. A context may be used by one thread at a time; several contexts run at
 * once, share the weights, and know nothing of each other. With threads == 1 nothing here allocates,
 * makes a system call or keeps state outside the context.
 *
 *     void *arena = aligned_alloc(BINAS_ALIGN, binas_arena_bytes());
 *     binas_context *context = aligned_alloc(BINAS_ALIGN, binas_context_bytes());
 *     if (binas_create(context, binas_context_bytes(), arena, binas_arena_bytes(),
 *                      weights, weights_bytes, 1) != BINAS_OK) ...
 *     const void *inputs[] = {x};
 *     void *outputs[] = {y};
 *     if (binas_run(context, inputs, outputs) != BINAS_OK) ...
 *     binas_destroy(context);
 */
#ifndef BINAS_MODEL_H
#define BINAS_MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BINAS_ABI 1
#define BINAS_ALIGN 64 /* bytes: contexts, arenas and weights start at a multiple of this */

typedef enum {
    BINAS_OK = 0,
    BINAS_NULL = 1,    /* a pointer is null */
    BINAS_SIZE = 2,    /* a buffer is too small */
    BINAS_UNALIGNED = 3,
    BINAS_WEIGHTS = 4, /* the weights are not this network's, or are damaged */
    BINAS_THREADS = 5, /* more threads than supported, or they could not be started */
    BINAS_RANGE = 6,   /* no such step or port */
    BINAS_KERNEL = 7,  /* a kernel reported an error */
    BINAS_STATE = 8    /* the context was not created, or is destroyed */
} binas_status;

typedef struct binas_context binas_context;

/* Sizes of what the caller provides; fixed when the network was compiled. */
size_t binas_context_bytes(void);
size_t binas_arena_bytes(void);
size_t binas_weights_bytes(void);
size_t binas_input_count(void);
size_t binas_output_count(void);
size_t binas_input_bytes(size_t port); /* float32, row-major, as the model declares it; 0: no such */
size_t binas_output_bytes(size_t port);
size_t binas_step_count(void);
const char *binas_step_name(size_t step);

/* Prepare a context. `weights` is the artifact's weights.bin and must outlive the context. */
binas_status binas_create(binas_context *context, size_t context_bytes, void *arena,
                          size_t arena_bytes, const void *weights, size_t weights_bytes,
                          int threads);

/* One inference. Results do not depend on the number of threads. */
binas_status binas_run(binas_context *context, const void *const *inputs, void *const *outputs);

/* One inference with the time of each step in ns; `count` is binas_step_count(). */
binas_status binas_profile(binas_context *context, const void *const *inputs,
                           void *const *outputs, uint64_t *step_ns, size_t count);

/* One step alone, on what the arena holds. */
binas_status binas_step(binas_context *context, size_t step);

void binas_destroy(binas_context *context);

#ifdef __cplusplus
}
#endif
#endif
