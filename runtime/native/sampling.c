#define _GNU_SOURCE
#include "sampling.h"

#include <math.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum {
    LOOKS = 64,         /* yardsticks looked at before the first sample, and at a core before it is left */
    CORES = 4,          /* looked at before the first sample, where nobody told what is quiet */
    FLUKES = 5,         /* so many may be quicker than a machine left alone; runtime/measure.py */
    PATIENCE = 16,      /* samples taken at most for one that is to be undisturbed */
    MAX_RUNS = 100000000,
    PAGE = 4096,
    DEPTH_STEP = 25 * 64 /* odd in cache lines: 64 samples see 64 depths, the first few far apart */
};
static const double TOLERANCE = 1.04; /* of the yardstick; MAX_DISTURBANCE of runtime/measure.py */
static const double QUICKER = 0.97;   /* than this share of what was told: told of a slower clock */

double binas_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static long preemptions(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
}

/* Four independent chains of loads and additions: as many instructions per cycle as a core can do,
 * so a neighbour on the same core (another hardware thread) and a lower clock rate both show. */
double binas_yardstick_ns(void) {
    static volatile uint32_t words[64], kept;
    uint32_t a = kept, b = a ^ 1, c = a ^ 2, d = a ^ 3;
    double begin = binas_now_ns();
    for (uint32_t i = 0; i < 10000; ++i) {
        volatile uint32_t *at = words + (i * 4 & 60);
        a += at[0] ^ b;
        b += at[1] ^ c;
        c += at[2] ^ d;
        d += at[3] ^ a;
    }
    kept = a + b + c + d;
    return binas_now_ns() - begin;
}

/* What the yardstick takes on a machine left alone: as told, or the quickest looks so far. */
typedef struct {
    double told, quickest[FLUKES]; /* ascending */
} gauge;

static double quiet_ns(const gauge *g) {
    double seen = g->quickest[FLUKES - 1];
    return g->told > 0 && seen > QUICKER * g->told ? g->told : seen;
}

static double look_at(gauge *g) {
    double ns = binas_yardstick_ns(), rest = ns;
    for (int i = 0; i < FLUKES; ++i)
        if (rest < g->quickest[i]) {
            double slower = g->quickest[i];
            g->quickest[i] = rest;
            rest = slower;
        }
    return ns;
}

/* The next of the cores that we may use; 0: there is no other. */
static int change_core(void) {
#ifdef __linux__
    static cpu_set_t allowed; /* as it was before we chose one */
    static int known = 0;
    if (!known) {
        CPU_ZERO(&allowed);
        known = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? 1 : -1;
    }
    int here = sched_getcpu();
    for (int step = 1; known == 1 && here >= 0 && step < CPU_SETSIZE; ++step) {
        size_t core = (size_t)(here + step) % CPU_SETSIZE;
        if (!CPU_ISSET(core, &allowed)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        return sched_setaffinity(0, sizeof one, &one) == 0;
    }
#endif
    return 0;
}

static gauge gauge_of(double told, int roams) {
    gauge g = {told, {0}};
    for (int i = 0; i < FLUKES; ++i) g.quickest[i] = INFINITY;
    for (int core = 0; told <= 0 && core < (roams ? CORES : 1); ++core) {
        for (int i = 0; i < LOOKS; ++i) look_at(&g);
        if (roams && !change_core()) break;
    }
    return g;
}

/* The batch at another depth of the stack. Processors compare the low 12 bits of addresses first, so
 * a kernel's temporaries that lie like its data in that respect can make it several times slower.
 * Where the stack begins is chance (ASLR, the environment), one for a whole process; here it is
 * another for each sample, and the median is what a user can expect. */
static double at_depth(binas_batch batch, void *argument, long runs, size_t bytes) {
    volatile char unused[bytes + 1];
    unused[0] = unused[bytes] = 0;
    double ns = batch(argument, runs);
    return ns + unused[0]; /* the stack is held until here */
}

static void print_all(const char *name, const double *values, long count, int digits) {
    printf(",\"%s\":[", name);
    for (long i = 0; i < count; ++i) printf("%s%.*f", i ? "," : "", digits, values[i]);
    printf("]");
}

static long undisturbed_of(long count, const double *switches, const double *yardsticks, double quiet) {
    long found = 0;
    for (long i = 0; i < count; ++i) found += switches[i] == 0 && yardsticks[i] <= TOLERANCE * quiet;
    return found;
}

int binas_sample(sampling *how, binas_batch batch, void *argument) {
    long runs = 1, count = 0, undisturbed = 0, room = how->repeats * (how->waits ? PATIENCE : 1);
    double *memory = malloc(sizeof(double) * 3 * (size_t)room);
    if (!memory) return -1;
    double *times = memory, *switches = memory + room, *yardsticks = memory + 2 * room;
    double begin = binas_now_ns();
    while (batch(argument, runs) < how->min_batch_ns && runs < MAX_RUNS) runs *= 2;
    for (long i = 0; i < how->warmup; ++i) batch(argument, runs);
    gauge g = gauge_of(how->quiet_ns, how->roams);
    double quiet = quiet_ns(&g), look = look_at(&g);
    while (undisturbed < how->repeats && count < (how->in_vain ? how->repeats : room) &&
           (count < 3 || binas_now_ns() - begin < how->max_ns)) {
        /* A look is shorter than a batch, so it finds the quiet moments that a batch would miss. */
        int moved = 0;
        for (long looks = 1; how->waits && !how->in_vain && look > TOLERANCE * quiet_ns(&g) &&
                             binas_now_ns() - begin < how->max_ns / 2;
             ++looks) {
            if (how->roams && looks % LOOKS == 0) moved |= change_core();
            look = look_at(&g);
        }
        how->in_vain = look > TOLERANCE * quiet_ns(&g);
        if (moved) { /* the caches of this core know nothing yet */
            batch(argument, runs);
            look = look_at(&g);
        }
        long switched = preemptions();
        size_t depth = (size_t)count * DEPTH_STEP % PAGE;
        times[count] = at_depth(batch, argument, runs, depth) / (double)runs;
        switched = preemptions() - switched;
        double next = look_at(&g);
        yardsticks[count] = look > next ? look : next;
        switches[count] = (double)switched;
        look = next;
        ++count;
        int quicker = quiet_ns(&g) < quiet; /* what seemed undisturbed may not have been */
        quiet = quiet_ns(&g);
        undisturbed = quicker
                          ? undisturbed_of(count, switches, yardsticks, quiet)
                          : undisturbed + (!switched && yardsticks[count - 1] <= TOLERANCE * quiet);
    }
    how->quiet_ns = quiet;
    printf("\"runs_per_batch\":%ld,\"quiet_ns\":%.0f", runs, quiet);
    print_all("samples_ns", times, count, 3);
    print_all("preemptions", switches, count, 0);
    print_all("yardsticks_ns", yardsticks, count, 0);
    free(memory);
    return 0;
}
