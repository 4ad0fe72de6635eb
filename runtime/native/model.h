/* The C interface of a binas artifact: one network, compiled for one kind of CPU.
 *
 * An artifact (NAME.binas, a zip) holds this header, libmodel.so and weights.bin. The library needs
 * the C library and nothing else. It exports the functions below and keeps no state of its own.
 *
 *     void *arena = aligned_alloc(BINAS_ALIGN, binas_arena_bytes());
 *     binas_context *context = aligned_alloc(BINAS_ALIGN, binas_context_bytes());
 *     binas_status status = binas_create(context, binas_context_bytes(), arena,
 *                                        binas_arena_bytes(), weights, weights_bytes, 1);
 *     const void *inputs[] = {x};
 *     void *outputs[] = {y};
 *     if (status == BINAS_OK) status = binas_run(context, inputs, outputs);
 *     if (status != BINAS_OK) fprintf(stderr, "%s\n", binas_status_text(status));
 *     binas_destroy(context);
 *
 * Memory. The caller owns all of it, for as long as the context lives: the context, the arena (what
 * the network writes between its layers) and the weights, which are only read. Each starts at a
 * multiple of BINAS_ALIGN; aligned_alloc and mmap give such memory. All sizes are fixed when the
 * network is compiled, and functions tell them. Contexts of one network may share the weights but
 * not the arena.
 *
 * Data. A port is a dense array of float32, row-major, of the shape that the model declares (images
 * are N C H W), aligned for float (4 bytes). Outputs must not overlap inputs. Values must be finite:
 * a NaN has no sign, and what a network makes of one is not specified. An input that was compiled
 * for pixels (binas-compile --uint8) is an array of bytes instead, N H W C as cameras give them, at
 * any address; its channels come in the network's order, and the network normalises them itself.
 *
 * Threads. A context may be used by one thread at a time. Several contexts run at once, of one
 * network or of several. With threads == 1 nothing here allocates, locks or makes a system call
 * (binas_profile reads the clock), so it may be called where these are forbidden. Results do not
 * depend on the number of threads. Threads inherit where they may run from who calls binas_create; one
 * that wakes on the caller's core moves off it (sched_setaffinity on itself) and sets its mask back, so
 * change masks before. Threads do not survive fork(): in the child a context goes on with
 * one thread, with the same results, and binas_destroy leaves the parent's threads alone. Fork while
 * no call is running.
 *
 * Several networks in one program. All libraries export the same names: load each with
 * dlopen(path, RTLD_NOW | RTLD_LOCAL) and look the functions up with dlsym.
 *
 * Errors. Every call checks what it is given, in release builds, too, and answers with a status.
 * After anything but BINAS_OK outputs hold nothing of use, and no memory but that given was touched.
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
    BINAS_NULL = 1,      /* a pointer is null */
    BINAS_SIZE = 2,      /* a buffer is too small */
    BINAS_UNALIGNED = 3, /* a buffer starts at an address that this interface does not take */
    BINAS_WEIGHTS = 4,   /* the weights are not this network's, or are damaged */
    BINAS_THREADS = 5,   /* more threads than supported, or they could not be started */
    BINAS_RANGE = 6,     /* no such step or port */
    BINAS_KERNEL = 7,    /* a kernel reported an error */
    BINAS_STATE = 8      /* the context was not created, or is destroyed */
} binas_status;

typedef struct binas_context binas_context;

/* BINAS_ABI of the library; one that was loaded at run time may be older than this header. */
int binas_abi(void);

/* A status in words; never null. */
const char *binas_status_text(binas_status status);

/* Sizes of what the caller provides. */
size_t binas_context_bytes(void);
size_t binas_arena_bytes(void);
size_t binas_weights_bytes(void);
size_t binas_input_count(void);
size_t binas_output_count(void);
size_t binas_input_bytes(size_t port); /* 0: no such port */
size_t binas_output_bytes(size_t port);

/* What an input is an array of; outputs are float32. */
typedef enum { BINAS_FLOAT32 = 0, BINAS_UINT8 = 1 } binas_type;
binas_type binas_input_type(size_t port);

/* The network's steps in order; the name is null where there is no such step. */
size_t binas_step_count(void);
const char *binas_step_name(size_t step);

/* Prepare a context in the memory given. `weights` is the artifact's weights.bin; its sum is checked,
 * which takes about as long as reading it. threads: 1 to 32, the caller's included; the others sleep
 * between calls. BINAS_NULL, _SIZE, _UNALIGNED, _WEIGHTS, _THREADS: no context was made. */
binas_status binas_create(binas_context *context, size_t context_bytes, void *arena,
                          size_t arena_bytes, const void *weights, size_t weights_bytes,
                          int threads);

/* One inference. inputs[i] points to binas_input_bytes(i) bytes, outputs[i] to
 * binas_output_bytes(i). BINAS_NULL, _UNALIGNED, _STATE: nothing was computed. */
binas_status binas_run(binas_context *context, const void *const *inputs, void *const *outputs);

/* The same for buffers whose sizes come from elsewhere: counts and bytes are compared with the
 * network's. BINAS_RANGE: too many or too few ports; BINAS_SIZE: bytes are not exactly the port's. */
binas_status binas_run_sized(binas_context *context, const void *const *inputs,
                             const size_t *input_bytes, size_t input_count, void *const *outputs,
                             const size_t *output_bytes, size_t output_count);

/* One inference with the time of each step in ns; `count` is binas_step_count() or more. */
binas_status binas_profile(binas_context *context, const void *const *inputs,
                           void *const *outputs, uint64_t *step_ns, size_t count);

/* One step alone, on what the arena holds: for verification. */
binas_status binas_step(binas_context *context, size_t step);

/* Ends the context's threads; its memory may be freed afterwards. Null and a second call are fine. */
void binas_destroy(binas_context *context);

#ifdef __cplusplus
}
#endif
#endif
