/* What the compiler writes for one network (plan.c of an artifact) and model.c reads. */
#ifndef BINAS_PLAN_H
#define BINAS_PLAN_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t offset, bytes; /* in the arena */
} binas_span;

typedef struct {
    const char *name;
    int32_t (*run)(uint8_t *arena, const uint8_t *weights, int32_t begin, int32_t end);
    int32_t units;  /* run() does any part [begin, end) of these, in any order */
    int32_t sweeps; /* the units are so many runs of equal length; threads share each of them */
    uint32_t read_count, write_count;
    const binas_span *reads, *writes;
} binas_plan_step;

typedef struct {
    size_t offset;                    /* in the arena, N H W C */
    uint32_t batch, channels, rows, columns; /* the caller's array is N C H W */
    const float *levels; /* null; or [channels][256]: the caller gives bytes, N H W C, that mean these */
} binas_port;

typedef struct {
    size_t arena_bytes, weights_bytes;
    uint64_t weights_sum;
    uint32_t step_count, input_count, output_count;
    const binas_plan_step *steps;
    const binas_port *inputs, *outputs;
} binas_plan;

extern const binas_plan binas_the_plan;

#endif
