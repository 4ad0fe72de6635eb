#include "model.h"

#include <time.h>

#include "layout.h"
#include "plan.h"
#include "threads.h"

#define ALIVE 0x62696e61u

struct binas_context {
    uint32_t state;
    uint8_t *arena;
    const uint8_t *weights;
    binas_pool pool;
};

static const binas_plan *const plan = &binas_the_plan;

static size_t port_bytes(const binas_port *port) {
    size_t item = port->levels ? sizeof(uint8_t) : sizeof(float);
    return item * port->batch * port->channels * port->rows * port->columns;
}

int binas_abi(void) { return BINAS_ABI; }

const char *binas_status_text(binas_status status) {
    static const char *const texts[] = {
        "done",
        "a pointer is null",
        "a buffer is too small, or not of the port's size",
        "a buffer is not aligned",
        "the weights are not this network's, or are damaged",
        "more threads than supported, or they could not be started",
        "no such step or port",
        "a kernel reported an error",
        "the context was not created, or is destroyed",
    };
    size_t index = (size_t)status;
    return index < sizeof texts / sizeof *texts ? texts[index] : "not a status of this interface";
}

size_t binas_context_bytes(void) { return (sizeof(binas_context) + 63) & ~(size_t)63; }
size_t binas_arena_bytes(void) { return plan->arena_bytes; }
size_t binas_weights_bytes(void) { return plan->weights_bytes; }
size_t binas_input_count(void) { return plan->input_count; }
size_t binas_output_count(void) { return plan->output_count; }
size_t binas_step_count(void) { return plan->step_count; }

size_t binas_input_bytes(size_t port) {
    return port < plan->input_count ? port_bytes(&plan->inputs[port]) : 0;
}

size_t binas_output_bytes(size_t port) {
    return port < plan->output_count ? port_bytes(&plan->outputs[port]) : 0;
}

binas_type binas_input_type(size_t port) {
    return port < plan->input_count && plan->inputs[port].levels ? BINAS_UINT8 : BINAS_FLOAT32;
}

const char *binas_step_name(size_t step) {
    return step < plan->step_count ? plan->steps[step].name : NULL;
}

/* The compiler computes the same sum: of all 64-bit words, and of each times its place. */
static uint64_t sum_of(const void *data, size_t bytes) {
    const uint64_t *words = data;
    uint64_t plain = 0, placed = 0;
    for (size_t i = 0; i < bytes / 8; ++i) {
        plain += words[i];
        placed += words[i] * (uint64_t)(i + 1);
    }
    return plain ^ (placed << 1 | placed >> 63);
}

static int unaligned(const void *pointer) { return ((uintptr_t)pointer & (BINAS_ALIGN - 1)) != 0; }

binas_status binas_create(binas_context *context, size_t context_bytes, void *arena,
                          size_t arena_bytes, const void *weights, size_t weights_bytes,
                          int threads) {
    if (!context) return BINAS_NULL;
    if (unaligned(context)) return BINAS_UNALIGNED;
    if (context_bytes < sizeof(binas_context)) return BINAS_SIZE;
    context->state = 0; /* not what this memory was before, so that destroy may follow a failure */
    if (!arena || !weights) return BINAS_NULL;
    if (unaligned(arena) || unaligned(weights)) return BINAS_UNALIGNED;
    if (arena_bytes < plan->arena_bytes) return BINAS_SIZE;
    if (weights_bytes != plan->weights_bytes) return BINAS_WEIGHTS;
    if (sum_of(weights, weights_bytes) != plan->weights_sum) return BINAS_WEIGHTS;
    if (threads < 1 || threads > BINAS_MAX_THREADS) return BINAS_THREADS;
    context->arena = arena;
    context->weights = weights;
    if (binas_pool_start(&context->pool, threads) != 0) return BINAS_THREADS;
    context->state = ALIVE;
    return BINAS_OK;
}

static binas_status living(const binas_context *context) {
    if (!context) return BINAS_NULL;
    if (unaligned(context)) return BINAS_UNALIGNED;
    return context->state == ALIVE ? BINAS_OK : BINAS_STATE;
}

void binas_destroy(binas_context *context) {
    if (living(context) != BINAS_OK) return;
    binas_pool_stop(&context->pool);
    context->state = 0;
}

typedef struct {
    const binas_context *context;
    const binas_plan_step *step;
} job;

static int32_t run(const job *j, int32_t begin, int32_t end) {
    return begin < end ? j->step->run(j->context->arena, j->context->weights, begin, end) : 0;
}

/* A part of each sweep; whose part is longer, where they are not equal, alternates. */
static int32_t share(void *argument, int index, int threads) {
    const job *j = argument;
    int64_t length = j->step->units / j->step->sweeps;
    int32_t status = 0;
    for (int32_t sweep = 0; sweep < j->step->sweeps && status == 0; ++sweep) {
        int64_t start = sweep * length, ahead = sweep % threads;
        int64_t begin = (length * index + ahead) / threads;
        int64_t end = (length * (index + 1) + ahead) / threads;
        status = run(j, (int32_t)(start + begin), (int32_t)(start + end));
    }
    return status;
}

static binas_status do_step(binas_context *context, size_t step) {
    job j = {context, &plan->steps[step]};
    int alone = context->pool.threads == 1 || j.step->units == 1;
    int32_t status = alone ? run(&j, 0, j.step->units) : binas_pool_run(&context->pool, share, &j);
    return status == 0 ? BINAS_OK : BINAS_KERNEL;
}

binas_status binas_step(binas_context *context, size_t step) {
    binas_status status = living(context);
    if (status != BINAS_OK) return status;
    return step < plan->step_count ? do_step(context, step) : BINAS_RANGE;
}

static binas_status check_pointer(const void *pointer, const binas_port *port) {
    if (!pointer) return BINAS_NULL;
    return !port->levels && (uintptr_t)pointer % _Alignof(float) ? BINAS_UNALIGNED : BINAS_OK;
}

static binas_status check(const binas_context *context, const void *const *inputs,
                          void *const *outputs) {
    binas_status status = living(context);
    if (status != BINAS_OK) return status;
    if ((plan->input_count && !inputs) || (plan->output_count && !outputs)) return BINAS_NULL;
    for (uint32_t i = 0; i < plan->input_count; ++i)
        if ((status = check_pointer(inputs[i], &plan->inputs[i])) != BINAS_OK) return status;
    for (uint32_t i = 0; i < plan->output_count; ++i)
        if ((status = check_pointer(outputs[i], &plan->outputs[i])) != BINAS_OK) return status;
    return BINAS_OK;
}

typedef struct {
    uint8_t *arena;
    const void *const *inputs;
} entry;

static int32_t enter_share(void *argument, int index, int threads) {
    const entry *e = argument;
    for (uint32_t i = 0; i < plan->input_count; ++i) {
        const binas_port *port = &plan->inputs[i];
        binas_enter(port, e->inputs[i], (float *)(e->arena + port->offset), index, threads);
    }
    return 0;
}

static void enter_all(binas_context *context, const void *const *inputs) {
    entry e = {context->arena, inputs};
    binas_pool_run(&context->pool, enter_share, &e);
}

static void leave_all(binas_context *context, void *const *outputs) {
    for (uint32_t i = 0; i < plan->output_count; ++i)
        binas_leave(&plan->outputs[i], (const float *)(context->arena + plan->outputs[i].offset),
                    outputs[i]);
}

binas_status binas_run(binas_context *context, const void *const *inputs, void *const *outputs) {
    binas_status status = check(context, inputs, outputs);
    if (status != BINAS_OK) return status;
    enter_all(context, inputs);
    for (uint32_t i = 0; i < plan->step_count; ++i)
        if ((status = do_step(context, i)) != BINAS_OK) return status;
    leave_all(context, outputs);
    return BINAS_OK;
}

binas_status binas_run_sized(binas_context *context, const void *const *inputs,
                             const size_t *input_bytes, size_t input_count, void *const *outputs,
                             const size_t *output_bytes, size_t output_count) {
    if (input_count != plan->input_count || output_count != plan->output_count) return BINAS_RANGE;
    if ((input_count && !input_bytes) || (output_count && !output_bytes)) return BINAS_NULL;
    for (size_t i = 0; i < input_count; ++i)
        if (input_bytes[i] != binas_input_bytes(i)) return BINAS_SIZE;
    for (size_t i = 0; i < output_count; ++i)
        if (output_bytes[i] != binas_output_bytes(i)) return BINAS_SIZE;
    return binas_run(context, inputs, outputs);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

binas_status binas_profile(binas_context *context, const void *const *inputs,
                           void *const *outputs, uint64_t *step_ns, size_t count) {
    binas_status status = check(context, inputs, outputs);
    if (status != BINAS_OK) return status;
    if (!step_ns) return BINAS_NULL;
    if (count < plan->step_count) return BINAS_SIZE;
    enter_all(context, inputs);
    for (uint32_t i = 0; i < plan->step_count; ++i) {
        uint64_t start = now_ns();
        if ((status = do_step(context, i)) != BINAS_OK) return status;
        step_ns[i] = now_ns() - start;
    }
    leave_all(context, outputs);
    return BINAS_OK;
}
