/* Several networks in one program, each in a thread of its own.
 *
 *     several FOLDER FOLDER...     each holds libmodel.so and weights.bin of one artifact
 *
 * All libraries export the same names, so they are loaded and not linked. Each network runs on a
 * constant input; what it answers is printed in the order of the arguments.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "weights.h"

enum { RUNS = 20 };

typedef struct {
    const char *folder;
    const char *fault; /* null: all went well */
    double sum;        /* of all outputs of one run */
    pthread_t thread;
} task;

/* The functions of one library that this program calls. */
typedef struct {
    int (*abi)(void);
    const char *(*status_text)(binas_status);
    size_t (*context_bytes)(void), (*arena_bytes)(void);
    size_t (*input_count)(void), (*output_count)(void);
    size_t (*input_bytes)(size_t), (*output_bytes)(size_t);
    binas_status (*create)(binas_context *, size_t, void *, size_t, const void *, size_t, int);
    binas_status (*run)(binas_context *, const void *const *, void *const *);
    void (*destroy)(binas_context *);
} network;

static const char *load(network *net, const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/libmodel.so", folder);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return dlerror();
    const struct {
        const char *name;
        void *place; /* of a pointer to a function */
    } wanted[] = {{"binas_abi", &net->abi},
                  {"binas_status_text", &net->status_text},
                  {"binas_context_bytes", &net->context_bytes},
                  {"binas_arena_bytes", &net->arena_bytes},
                  {"binas_input_count", &net->input_count},
                  {"binas_output_count", &net->output_count},
                  {"binas_input_bytes", &net->input_bytes},
                  {"binas_output_bytes", &net->output_bytes},
                  {"binas_create", &net->create},
                  {"binas_run", &net->run},
                  {"binas_destroy", &net->destroy}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; ++i) {
        void *found = dlsym(library, wanted[i].name);
        if (!found) return dlerror();
        memcpy(wanted[i].place, &found, sizeof found); /* ISO C has no such cast */
    }
    return net->abi() == BINAS_ABI ? NULL : "the library has another ABI than model.h";
}

static void *aligned(size_t bytes) {
    void *memory = aligned_alloc(BINAS_ALIGN, (bytes / BINAS_ALIGN + 1) * BINAS_ALIGN);
    if (!memory) exit(1);
    return memory;
}

static float **buffers(size_t count, size_t (*bytes)(size_t)) {
    float **found = aligned(count * sizeof *found);
    for (size_t i = 0; i < count; ++i) {
        found[i] = aligned(bytes(i));
        for (size_t j = 0; j < bytes(i) / sizeof(float); ++j) found[i][j] = 0.5f;
    }
    return found;
}

static void release(float **found, size_t count) {
    for (size_t i = 0; i < count; ++i) free(found[i]);
    free(found);
}

static void *work(void *argument) {
    task *t = argument;
    network net;
    char path[4096];
    size_t weights_bytes = 0;
    snprintf(path, sizeof path, "%s/weights.bin", t->folder);
    const void *weights = map_weights(path, &weights_bytes);
    if ((t->fault = load(&net, t->folder))) return NULL;
    binas_context *context = aligned(net.context_bytes());
    void *arena = aligned(net.arena_bytes());
    float **x = buffers(net.input_count(), net.input_bytes);
    float **y = buffers(net.output_count(), net.output_bytes);
    binas_status status = net.create(context, net.context_bytes(), arena, net.arena_bytes(),
                                     weights, weights_bytes, 2);
    for (int i = 0; i < RUNS && status == BINAS_OK; ++i)
        status = net.run(context, (const void *const *)x, (void *const *)y);
    net.destroy(context);
    if (status != BINAS_OK) t->fault = net.status_text(status);
    for (size_t i = 0; i < net.output_count(); ++i)
        for (size_t j = 0; j < net.output_bytes(i) / sizeof(float); ++j) t->sum += y[i][j];
    release(x, net.input_count());
    release(y, net.output_count());
    free(arena);
    free(context);
    return NULL;
}

int main(int count, char **words) {
    if (count < 2) return fprintf(stderr, "usage: several FOLDER FOLDER...\n"), 2;
    task *tasks = calloc((size_t)count, sizeof *tasks);
    if (!tasks) return 1;
    for (int i = 1; i < count; ++i) {
        tasks[i].folder = words[i];
        if (pthread_create(&tasks[i].thread, NULL, work, &tasks[i]) != 0) return 1;
    }
    int failed = 0;
    for (int i = 1; i < count; ++i) {
        pthread_join(tasks[i].thread, NULL);
        if (tasks[i].fault) fprintf(stderr, "%s: %s\n", words[i], tasks[i].fault);
        else printf("%s %.6g\n", words[i], tasks[i].sum);
        failed |= tasks[i].fault != NULL;
    }
    free(tasks);
    return failed;
}
