#include "layout.h"

#include <string.h>

typedef float quad __attribute__((vector_size(16)));

static quad quad_at(const float *from) {
    quad q;
    memcpy(&q, from, sizeof q); /* any alignment */
    return q;
}

/* Four rows of four columns, in registers. */
static void transpose_tile(const float *from, float *to, size_t rows, size_t columns) {
    quad a = quad_at(from), b = quad_at(from + columns);
    quad c = quad_at(from + 2 * columns), d = quad_at(from + 3 * columns);
    quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    quad AB = __builtin_shufflevector(a, b, 2, 6, 3, 7), CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    quad turned[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
                      __builtin_shufflevector(AB, CD, 0, 1, 4, 5), __builtin_shufflevector(AB, CD, 2, 3, 6, 7)};
    for (size_t i = 0; i < 4; ++i) memcpy(to + i * rows, &turned[i], sizeof *turned);
}

/* Of a matrix [rows][columns] turned into [columns][rows], the columns [begin, end). Sixteen at a time: their lines
 * of `to` stay in the first-level cache even where they are a power of two apart and meet in a few of its sets. */
static void transpose(const float *restrict from, float *restrict to, size_t rows, size_t columns, size_t begin,
                      size_t end) {
    enum { BLOCK = 16 };
    if (rows == 3) { /* red, green, blue: compilers have instructions for that */
        const float *red = from, *green = from + columns, *blue = from + 2 * columns;
        to += 3 * begin;
        for (size_t c = begin; c < end; ++c, to += 3) to[0] = red[c], to[1] = green[c], to[2] = blue[c];
        return;
    }
    for (size_t first = begin; first < end; first += BLOCK) {
        size_t last = first + BLOCK < end ? first + BLOCK : end, r = 0;
        for (; r + 4 <= rows; r += 4) {
            size_t c = first;
            for (; c + 4 <= last; c += 4) transpose_tile(from + r * columns + c, to + c * rows + r, rows, columns);
            for (; c < last; ++c)
                for (size_t i = r; i < r + 4; ++i) to[c * rows + i] = from[i * columns + c];
        }
        for (; r < rows; ++r)
            for (size_t c = first; c < last; ++c) to[c * rows + r] = from[r * columns + c];
    }
}

/* Each byte becomes what it means in its channel. */
static inline void look_up(size_t pixels, size_t channels, const float *restrict levels,
                           const uint8_t *restrict from, float *restrict to) {
    for (size_t p = 0; p < pixels; ++p, from += channels, to += channels)
        for (size_t c = 0; c < channels; ++c) to[c] = levels[c * 256 + from[c]];
}

/* N H W C outside and inside. */
static void enter_bytes(const binas_port *port, const uint8_t *from, float *to, size_t pixels) {
    if (port->channels == 3) /* a colour image: no loop over channels is left */
        look_up(pixels, 3, port->levels, from, to);
    else if (port->channels == 1)
        look_up(pixels, 1, port->levels, from, to);
    else
        look_up(pixels, port->channels, port->levels, from, to);
}

void binas_enter(const binas_port *port, const void *from, float *to, int index, int threads) {
    size_t pixels = (size_t)port->rows * port->columns, image = pixels * port->channels;
    size_t begin = pixels * (size_t)index / (size_t)threads, end = pixels * ((size_t)index + 1) / (size_t)threads;
    for (size_t n = 0; n < port->batch; ++n, to += image) {
        size_t first = n * image + begin * port->channels;
        if (port->levels)
            enter_bytes(port, (const uint8_t *)from + first, to + begin * port->channels, end - begin);
        else transpose((const float *)from + n * image, to, port->channels, pixels, begin, end);
    }
}

void binas_leave(const binas_port *port, const float *from, float *to) {
    size_t pixels = (size_t)port->rows * port->columns, image = pixels * port->channels;
    for (size_t n = 0; n < port->batch; ++n, from += image, to += image)
        transpose(from, to, pixels, port->channels, 0, port->channels);
}
