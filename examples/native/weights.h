#ifndef WEIGHTS_H
#define WEIGHTS_H

#include <stddef.h>

/* Map weights.bin: pages are read when first needed, and shared by all processes that map it.
 * Null where the file cannot be mapped; errno says why. */
const void *map_weights(const char *path, size_t *bytes);

#endif
