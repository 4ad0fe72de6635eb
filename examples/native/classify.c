/* Run a network on one input and print its largest output: all that a program needs of model.h.
 *
 *     classify weights.bin INPUT.raw      INPUT.raw: float32, row-major, as the model declares it;
 *                                         of a network compiled with --uint8 pixels, N H W C
 */
#include <stdio.h>
#include <stdlib.h>

#include "model.h"
#include "weights.h"

static void *aligned(size_t bytes) {
    size_t whole = (bytes + BINAS_ALIGN - 1) / BINAS_ALIGN * BINAS_ALIGN; /* as C11 asks for */
    return aligned_alloc(BINAS_ALIGN, whole ? whole : BINAS_ALIGN);
}

static int read_input(const char *path, void *to, size_t bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    size_t got = fread(to, 1, bytes, file);
    int more = fgetc(file) != EOF;
    fclose(file);
    return got == bytes && !more;
}

int main(int count, char **words) {
    if (count != 3) return fprintf(stderr, "usage: classify weights.bin INPUT.raw\n"), 2;
    if (binas_input_count() != 1 || binas_output_count() < 1)
        return fprintf(stderr, "this program is for networks with one input\n"), 2;
    size_t weights_bytes = 0;
    const void *weights = map_weights(words[1], &weights_bytes);
    void *x = aligned(binas_input_bytes(0)); /* floats, or bytes: binas_input_type(0) */
    void **outputs = calloc(binas_output_count(), sizeof *outputs);
    if (!x || !outputs) return fprintf(stderr, "out of memory\n"), 1;
    for (size_t i = 0; i < binas_output_count(); ++i) outputs[i] = aligned(binas_output_bytes(i));
    if (!read_input(words[2], x, binas_input_bytes(0)))
        return fprintf(stderr, "%s: expected %zu bytes\n", words[2], binas_input_bytes(0)), 2;

    void *arena = aligned(binas_arena_bytes());
    binas_context *context = aligned(binas_context_bytes());
    const void *inputs[] = {x};
    binas_status status = binas_create(context, binas_context_bytes(), arena, binas_arena_bytes(),
                                       weights, weights_bytes, 1);
    if (status == BINAS_OK) status = binas_run(context, inputs, outputs);
    binas_destroy(context);
    if (status != BINAS_OK) return fprintf(stderr, "%s\n", binas_status_text(status)), 1;

    const float *y = outputs[0];
    size_t best = 0, classes = binas_output_bytes(0) / sizeof *y;
    for (size_t i = 1; i < classes; ++i)
        if (y[i] > y[best]) best = i;
    printf("%zu %.6g\n", best, y[best]);

    for (size_t i = 0; i < binas_output_count(); ++i) free(outputs[i]);
    free(outputs);
    free(context);
    free(arena);
    free(x);
    return 0;
}
