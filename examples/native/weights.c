#include "weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const void *map_weights(const char *path, size_t *bytes) {
    int file = open(path, O_RDONLY);
    if (file < 0) return NULL;
    struct stat info;
    void *found = MAP_FAILED;
    if (fstat(file, &info) == 0 && info.st_size > 0) {
        *bytes = (size_t)info.st_size;
        found = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, file, 0);
    }
    close(file);
    return found == MAP_FAILED ? NULL : found;
}
