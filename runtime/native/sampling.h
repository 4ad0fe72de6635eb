/* Timing in batches, each with a look at how fast the machine is at that moment. */
#ifndef BINAS_SAMPLING_H
#define BINAS_SAMPLING_H

/* How to sample; docs/measuring.md says why. */
typedef struct {
    long repeats, warmup;
    double min_batch_ns, max_ns;
    double quiet_ns; /* the yardstick of a machine left alone; 0: what is seen must do */
    int in_vain;     /* waiting found no quiet moment: that is no burst but a state of the machine, such as
                        a lower clock; samples are taken as they come until it passes. 0 to begin with */
    int roams;       /* the thread may change its core: a neighbour may sit on one of them only */
    long waits;      /* for quiet moments; 0: the machine is kept busy, and samples are taken as they come */
} sampling;

double binas_now_ns(void);

/* A fixed amount of work that wants all of a core: slower when somebody else shares it. */
double binas_yardstick_ns(void);

/* `runs` runs in a row, timed; does not return where a run fails. */
typedef double (*binas_batch)(void *argument, long runs);

/* Take samples of `batch` and print them as members of a JSON object. Leaves in `how` what was
 * learned of the machine, for those that follow. Returns 0, or -1 without memory. */
int binas_sample(sampling *how, binas_batch batch, void *argument);

#endif
