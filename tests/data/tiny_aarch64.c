/* A network of two steps behind the C ABI of artifacts, for tests of the in-process emulator.
 *
 * tiny_aarch64.elf is this file, built with
 *   python -m ziglang cc -target aarch64-linux-musl -nostdlib -static -ffreestanding -O2 \
 *     -fno-sanitize=all -fno-unwind-tables -fno-asynchronous-unwind-tables -o tiny_aarch64.elf tiny_aarch64.c
 *
 * Arena, in floats: x 0..3, m 4..7, y 8..11, b 12 (one word of bits).
 * Step 0: m = x * w. Step 1: y = m + 1, b = signs of y.
 */
#include <stddef.h>
#include <stdint.h>

typedef struct {
  float* arena;
  const float* weights;
} binas_context;

enum { ARENA_BYTES = 64, WEIGHTS_BYTES = 16 };

size_t binas_context_bytes(void) { return sizeof(binas_context); }
size_t binas_arena_bytes(void) { return ARENA_BYTES; }

int binas_create(binas_context* ctx, size_t ctx_bytes, void* arena, size_t arena_bytes,
                 const void* weights, size_t weights_bytes, int threads) {
  if (ctx_bytes < sizeof *ctx || arena_bytes < ARENA_BYTES || weights_bytes != WEIGHTS_BYTES || threads != 1)
    return 1;
  ctx->arena = arena;
  ctx->weights = weights;
  return 0;
}

int binas_step(binas_context* ctx, size_t step) {
  float* a = ctx->arena;
  if (step == 0) {
    for (int i = 0; i < 4; ++i) a[4 + i] = a[i] * ctx->weights[i];
    return 0;
  }
  if (step == 1) {
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) {
      a[8 + i] = a[4 + i] + 1.0f;
      bits |= (uint32_t)(a[8 + i] >= 0.0f) << i;
    }
    ((uint32_t*)a)[12] = bits;
    return 0;
  }
  return 2;
}

int binas_run(binas_context* ctx, const void* const* inputs, void* const* outputs) {
  for (int i = 0; i < 4; ++i) ctx->arena[i] = ((const float*)inputs[0])[i];
  int status = binas_step(ctx, 0);
  if (!status) status = binas_step(ctx, 1);
  for (int i = 0; i < 4; ++i) ((float*)outputs[0])[i] = ctx->arena[8 + i];
  return status;
}

void binas_destroy(binas_context* ctx) { (void)ctx; }

void _start(void) {}
