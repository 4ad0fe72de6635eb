/* The caller's arrays and the arena's: N C H W outside, N H W C inside; with one channel or one pixel they are the
 * same. Bytes are N H W C on both sides. */
#ifndef BINAS_LAYOUT_H
#define BINAS_LAYOUT_H

#include "plan.h"

/* The share `index` of `threads` of an input. */
void binas_enter(const binas_port *port, const void *from, float *to, int index, int threads);

void binas_leave(const binas_port *port, const float *from, float *to);

#endif
