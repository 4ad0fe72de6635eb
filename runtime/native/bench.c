/* The harness on the device: run, verify step by step, measure. See docs/architecture.md. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "model.h"
#include "plan.h"
#include "sampling.h"
#include "threads.h"

enum { BAD_USE = 2, BAD_KERNEL = 3 };
#define LARGE_PAGE ((size_t)2 << 20)
static const char WRONG_WEIGHTS[] = "weights of another network, or damaged";

typedef struct {
    const char *mode, *weights, *input, *output, *only;
    long threads, core, seed;
    sampling how;
} options;

typedef struct {
    binas_context *context;
    uint8_t *arena, *in_data, *out_data;
    size_t in_bytes, out_bytes;
    const void **inputs;
    void **outputs;
} session;

static int refuse(const char *what, const char *which) {
    fprintf(stderr, "bench: %s%s%s\n", what, which ? ": " : "", which ? which : "");
    return BAD_USE;
}

/* In large pages where there are any: a core keeps too few addresses of small ones at hand. */
static void *aligned(size_t bytes) {
    size_t align = bytes < LARGE_PAGE ? BINAS_ALIGN : LARGE_PAGE;
    void *memory = aligned_alloc(align, (bytes + align) / align * align);
    if (!memory) exit(refuse("out of memory", NULL));
#ifdef MADV_HUGEPAGE
    if (bytes >= LARGE_PAGE) madvise(memory, bytes / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    return memory;
}

/* Numbers that are sane as floats (-0.5 to 0.5) and mixed as bits, so no kernel meets denormals. */
static void fill(uint8_t *memory, size_t bytes) {
    uint32_t state = 1;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        state = state * 1664525u + 1013904223u;
        uint32_t word = state >> 9 | 0x3f800000u;
        float value;
        memcpy(&value, &word, 4);
        value -= 1.5f;
        memcpy(memory + i, &value, 4);
    }
}

static int read_whole(const char *path, void *to, size_t bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return refuse("cannot open", path);
    size_t got = fread(to, 1, bytes, file);
    int more = fgetc(file) != EOF;
    fclose(file);
    return got == bytes && !more ? 0 : refuse("wrong size", path);
}

static int start(session *s, const options *o) {
    struct stat info;
    if (stat(o->weights, &info) != 0) return refuse("cannot open", o->weights);
    size_t bytes = (size_t)info.st_size;
    if (bytes != binas_weights_bytes()) return refuse(WRONG_WEIGHTS, o->weights);
    void *weights = aligned(bytes);
    int failed = read_whole(o->weights, weights, bytes);
    if (failed) return failed;
    s->arena = aligned(binas_arena_bytes());
    fill(s->arena, binas_arena_bytes());
    s->context = aligned(binas_context_bytes());
    binas_status status = binas_create(s->context, binas_context_bytes(), s->arena,
                                       binas_arena_bytes(), weights, bytes, (int)o->threads);
    if (status == BINAS_WEIGHTS) return refuse(WRONG_WEIGHTS, o->weights);
    if (status != BINAS_OK) return refuse("cannot create the context", NULL);
    s->inputs = aligned(binas_input_count() * sizeof *s->inputs);
    s->outputs = aligned(binas_output_count() * sizeof *s->outputs);
    for (size_t i = 0; i < binas_input_count(); ++i) s->in_bytes += binas_input_bytes(i);
    for (size_t i = 0; i < binas_output_count(); ++i) s->out_bytes += binas_output_bytes(i);
    s->in_data = aligned(s->in_bytes);
    s->out_data = aligned(s->out_bytes);
    fill(s->in_data, s->in_bytes);
    size_t in = 0, out = 0;
    for (size_t i = 0; i < binas_input_count(); in += binas_input_bytes(i++))
        s->inputs[i] = s->in_data + in;
    for (size_t i = 0; i < binas_output_count(); out += binas_output_bytes(i++))
        s->outputs[i] = s->out_data + out;
    return o->input && strcmp(o->mode, "steps") != 0 ? read_whole(o->input, s->in_data, s->in_bytes)
                                                     : 0;
}

static int write_out(FILE *file, const void *data, size_t bytes, const char *path) {
    return fwrite(data, 1, bytes, file) == bytes ? 0 : refuse("cannot write", path);
}

static int do_run(session *s, const options *o) {
    if (binas_run(s->context, s->inputs, s->outputs) != BINAS_OK) return BAD_KERNEL;
    FILE *file = fopen(o->output, "wb");
    if (!file) return refuse("cannot write", o->output);
    int failed = write_out(file, s->out_data, s->out_bytes, o->output);
    return fclose(file) == 0 ? failed : refuse("cannot write", o->output);
}

static int do_steps(session *s, const options *o) {
    const binas_plan *plan = &binas_the_plan;
    FILE *in = fopen(o->input, "rb"), *out = in ? fopen(o->output, "wb") : NULL;
    if (!in) return refuse("cannot open", o->input);
    if (!out) return refuse("cannot write", o->output);
    for (size_t i = 0; i < plan->step_count; ++i) {
        const binas_plan_step *step = &plan->steps[i];
        for (uint32_t r = 0; r < step->read_count; ++r)
            if (fread(s->arena + step->reads[r].offset, 1, step->reads[r].bytes, in) !=
                step->reads[r].bytes)
                return refuse("too short", o->input);
        if (binas_step(s->context, i) != BINAS_OK) return BAD_KERNEL;
        for (uint32_t w = 0; w < step->write_count; ++w)
            if (write_out(out, s->arena + step->writes[w].offset, step->writes[w].bytes, o->output))
                return BAD_USE;
    }
    fclose(in);
    return fclose(out) == 0 ? 0 : refuse("cannot write", o->output);
}

typedef struct {
    session *session;
    long step; /* negative: the whole network */
} target;

static double batch(void *argument, long runs) {
    const target *t = argument;
    session *s = t->session;
    double begin = binas_now_ns();
    for (long i = 0; i < runs; ++i) {
        binas_status status = t->step < 0 ? binas_run(s->context, s->inputs, s->outputs)
                                          : binas_step(s->context, (size_t)t->step);
        if (status != BINAS_OK) exit(BAD_KERNEL);
    }
    return binas_now_ns() - begin;
}

static void sample(session *s, sampling *how, long step) {
    target t = {s, step};
    if (binas_sample(how, batch, &t) != 0) exit(refuse("out of memory", NULL));
}

static int do_time(session *s, const options *o, double load_ns) {
    target whole = {s, -1};
    sampling how = o->how;
    double first = batch(&whole, 1);
    printf("{\"load_ns\":%.0f,\"first_ns\":%.0f,\"threads\":%ld,", load_ns, first, o->threads);
    sample(s, &how, -1);
    printf("}\n");
    return 0;
}

/* The steps that `--only 3,1,7` names, or all; returns how many, or -1 where the list is wrong. */
static long chosen_steps(const char *only, size_t *steps) {
    size_t all = binas_step_count(), count = 0;
    if (!only)
        while (count < all) steps[count] = count, ++count;
    for (const char *at = only; at && *at;) {
        char *end;
        unsigned long step = strtoul(at, &end, 10);
        if (end == at || step >= all || count == all || (*end && *end != ',')) return -1;
        steps[count++] = step;
        at = *end ? end + 1 : end;
    }
    return (long)count;
}

static int do_layers(session *s, const options *o) {
    size_t *order = aligned(sizeof(size_t) * (binas_step_count() + 1));
    long chosen = chosen_steps(o->only, order);
    if (chosen < 0) return refuse("--only names no steps of this network", o->only);
    size_t count = (size_t)chosen;
    uint64_t state = (uint64_t)o->seed * 2 + 1;
    for (size_t i = count; i > 1; --i) { /* Fisher-Yates */
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t j = (size_t)((state >> 33) % i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
    sampling how = o->how;
    printf("{\"threads\":%ld,\"steps\":[", o->threads);
    for (size_t i = 0; i < count; ++i) {
        fill(s->arena, binas_arena_bytes());
        printf("%s{\"index\":%zu,", i ? "," : "", order[i]);
        sample(s, &how, (long)order[i]);
        printf("}");
    }
    printf("]}\n");
    return 0;
}

static int number(options *o, const char *key, const char *value) {
    const struct {
        const char *key;
        long *whole;
        double *real;
    } known[] = {{"--repeats", &o->how.repeats, NULL},
                 {"--warmup", &o->how.warmup, NULL},
                 {"--threads", &o->threads, NULL},
                 {"--core", &o->core, NULL},
                 {"--seed", &o->seed, NULL},
                 {"--waits", &o->how.waits, NULL},
                 {"--min-batch-ns", NULL, &o->how.min_batch_ns},
                 {"--max-ns", NULL, &o->how.max_ns},
                 {"--quiet-ns", NULL, &o->how.quiet_ns}};
    for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
        if (strcmp(key, known[i].key) != 0) continue;
        char *end;
        if (known[i].whole) *known[i].whole = strtol(value, &end, 10);
        else *known[i].real = strtod(value, &end);
        return end != value && !*end ? 0 : refuse("not a number", value);
    }
    return refuse("unknown option", key);
}

static int parse(options *o, int count, char **words) {
    int failed;
    if (count < 2) return refuse("usage: bench info|run|steps|time|layers [--option value]...", NULL);
    o->mode = words[1];
    for (int i = 2; i + 1 < count; i += 2) {
        const char *key = words[i], *value = words[i + 1];
        if (!strcmp(key, "--weights")) o->weights = value;
        else if (!strcmp(key, "--input")) o->input = value;
        else if (!strcmp(key, "--output")) o->output = value;
        else if (!strcmp(key, "--only")) o->only = value;
        else if ((failed = number(o, key, value))) return failed;
    }
    if (count % 2) return refuse("an option without a value", words[count - 1]);
    if (o->how.repeats < 1 || o->how.repeats > 1000000 || o->how.warmup < 0)
        return refuse("--repeats and --warmup must be positive", NULL);
    if (o->threads < 1 || o->threads > BINAS_MAX_THREADS)
        return refuse("--threads must be 1 to 32", NULL);
    o->how.roams = o->how.waits && o->threads == 1 && o->core < 0;
    return 0;
}

static int pin(long core) {
#ifdef __linux__
    if (core < 0) return 0;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) return refuse("cannot pin to that core", NULL);
#endif
    return 0;
}

int main(int count, char **words) {
    options o = {.threads = 1, .core = -1,
                 .how = {.repeats = 20, .warmup = 3, .min_batch_ns = 5e6, .max_ns = 60e9, .waits = 1}};
    int failed = parse(&o, count, words);
    if (failed) return failed;
    if (!strcmp(o.mode, "info")) {
        printf("{\"abi\":%d,\"steps\":%zu,\"arena_bytes\":%zu,\"weights_bytes\":%zu}\n", BINAS_ABI,
               binas_step_count(), binas_arena_bytes(), binas_weights_bytes());
        return 0;
    }
    if (!o.weights) return refuse("--weights is missing", NULL);
    int is_run = !strcmp(o.mode, "run"), is_steps = !strcmp(o.mode, "steps");
    int is_time = !strcmp(o.mode, "time"), is_layers = !strcmp(o.mode, "layers");
    if (!is_run && !is_steps && !is_time && !is_layers) return refuse("unknown mode", o.mode);
    if ((is_run || is_steps) && (!o.input || !o.output))
        return refuse("--input and --output are needed", NULL);
    if ((failed = pin(o.core))) return failed;
    session s = {0};
    double begin = binas_now_ns();
    if ((failed = start(&s, &o))) return failed;
    double load_ns = binas_now_ns() - begin;
    if (is_run) failed = do_run(&s, &o);
    else if (is_steps) failed = do_steps(&s, &o);
    else if (is_time) failed = do_time(&s, &o, load_ns);
    else failed = do_layers(&s, &o);
    binas_destroy(s.context);
    return failed;
}
