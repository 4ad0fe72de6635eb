/* What this CPU can do at most: loops that touch registers only.
 *
 * Each function has the shape of `binas_run` and does a fixed amount of work, PEAK_STEPS times what
 * `bench_peak_work` says. The instruction set is chosen per function, not per file: compiled for the
 * host, the AVX2 loop would get AVX-512's 32 registers and be no peak of an AVX2 build.
 */
#include <immintrin.h>
#include <stdint.h>

#define PEAK_STEPS 4096
#define SHAPE void *context, const void *const *inputs, void *const *outputs
#define UNUSED (void)context, (void)inputs, (void)outputs
/* A value that the compiler must keep in a register and cannot know. */
#define OPAQUE(value) __asm__ volatile("" : "+v"(value))

/* Work of one step in MACs; of the clock: in cycles. In the order of PEAKS in ceiling.py. */
static const int64_t work[] = {8 * 1024, 16 * 512, 4 * 4096, 8 * 128, 12 * 16, 12 * 8, 12 * 64, 3};

int64_t bench_peak_work(int which) { return work[which] * PEAK_STEPS; }

/* Two words of 32 channels for five instructions: sums and carries in three-input logic, then a
 * popcount of the carries, which count twice. 8 accumulators of 16 lanes, 2 x 32 bits each. */
__attribute__((target("avx512f,avx512vpopcntdq"))) int bench_peak_full_adder(SHAPE) {
    UNUSED;
    __m512i a = _mm512_set1_epi32(0x1234567), b = _mm512_set1_epi32(0x2345671);
    __m512i v = _mm512_set1_epi32(0x7654321), w = _mm512_set1_epi32(0x6543217);
    __m512i twos[8], ones[8];
    for (int i = 0; i < 8; ++i) twos[i] = ones[i] = _mm512_setzero_si512();
    for (int step = 0; step < PEAK_STEPS; ++step) {
        OPAQUE(a);
        OPAQUE(b);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            __m512i half = _mm512_ternarylogic_epi32(ones[i], a, v, 0x96);
            __m512i sum = _mm512_ternarylogic_epi32(half, b, w, 0x96);
            __m512i carry = _mm512_ternarylogic_epi32(half, sum, ones[i], 0x3A);
            ones[i] = sum;
            twos[i] = _mm512_add_epi32(twos[i], _mm512_popcnt_epi32(carry));
            OPAQUE(twos[i]);
            OPAQUE(ones[i]);
        }
    }
    return 0;
}

/* One word of 32 channels for three instructions: xor, popcount, add. 16 accumulators of 16 lanes.
 * Hidden from the compiler each time, or one xor would do for all. */
__attribute__((target("avx512f,avx512vpopcntdq"))) int bench_peak_popcount(SHAPE) {
    UNUSED;
    __m512i a = _mm512_set1_epi32(0x1234567), w = _mm512_set1_epi32(0x6543217), sums[16];
    for (int i = 0; i < 16; ++i) sums[i] = _mm512_setzero_si512();
    for (int step = 0; step < PEAK_STEPS; ++step) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            OPAQUE(a);
            sums[i] = _mm512_add_epi32(sums[i], _mm512_popcnt_epi32(_mm512_xor_si512(a, w)));
            OPAQUE(sums[i]);
        }
    }
    return 0;
}

#define XOR3(s, x, y) _mm512_ternarylogic_epi32(s, x, y, 0x96)
#define MAJORITY(s, x, y) _mm512_ternarylogic_epi32(s, x, y, 0xE8)

/* Two words of activations x weights into a sum and a carry. */
#define ADD2(s, carry)                                                 \
    {                                                                  \
        __m512i half = XOR3(s, a, v), sum = XOR3(half, b, w);          \
        OPAQUE(a);                                                     \
        carry = _mm512_ternarylogic_epi32(half, sum, s, 0x3A), s = sum; \
    }
#define ADD(s, x, y, carry)                               \
    {                                                     \
        __m512i sum = XOR3(s, x, y);                      \
        carry = MAJORITY(s, x, y), s = sum;               \
    }

/* Without a popcount instruction: a tree of adders over eight words, nibbles of the rest looked up. */
__attribute__((target("avx512f,avx512bw"))) int bench_peak_adder_tree(SHAPE) {
    UNUSED;
    __m512i a = _mm512_set1_epi32(0x1234567), b = _mm512_set1_epi32(0x2345671);
    __m512i v = _mm512_set1_epi32(0x7654321), w = _mm512_set1_epi32(0x6543217);
    const __m512i table = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i low = _mm512_set1_epi8(15);
    __m512i ones[4], twos[4], fours[4], eights[4];
    for (int i = 0; i < 4; ++i) ones[i] = twos[i] = fours[i] = eights[i] = _mm512_setzero_si512();
    for (int step = 0; step < PEAK_STEPS; ++step) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            __m512i c, d, e, f, g;
            ADD2(ones[i], c)
            ADD2(ones[i], d)
            ADD(twos[i], c, d, e)
            ADD2(ones[i], c)
            ADD2(ones[i], d)
            ADD(twos[i], c, d, f)
            ADD(fours[i], e, f, g)
            __m512i few = _mm512_shuffle_epi8(table, _mm512_and_si512(g, low));
            __m512i more = _mm512_and_si512(_mm512_srli_epi32(g, 4), low);
            few = _mm512_add_epi8(few, _mm512_shuffle_epi8(table, more));
            eights[i] = _mm512_add_epi8(eights[i], few);
            OPAQUE(eights[i]);
            OPAQUE(ones[i]);
            OPAQUE(twos[i]);
            OPAQUE(fours[i]);
        }
    }
    return 0;
}

/* AVX2: four weights of 32 output channels index a table of what they and the activations share. */
__attribute__((target("avx2"))) int bench_peak_nibbles(SHAPE) {
    UNUSED;
    __m256i table = _mm256_set1_epi32(0x03020100), nibbles = _mm256_set1_epi8(5), sums[8];
    for (int i = 0; i < 8; ++i) sums[i] = _mm256_setzero_si256();
    for (int step = 0; step < PEAK_STEPS; ++step) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            OPAQUE(table);
            sums[i] = _mm256_add_epi8(sums[i], _mm256_shuffle_epi8(table, nibbles));
            OPAQUE(sums[i]);
        }
    }
    return 0;
}

/* One multiply-add per accumulator and step, twelve of them: enough to hide the latency. */
#define MULTIPLY_ADD(name, isa, type, zero, value, op)                      \
    __attribute__((target(isa))) int name(SHAPE) {                          \
        UNUSED;                                                             \
        type a = value, b = value, sums[12];                                \
        for (int i = 0; i < 12; ++i) sums[i] = zero;                        \
        for (int step = 0; step < PEAK_STEPS; ++step) {                     \
            _Pragma("GCC unroll 12") for (int i = 0; i < 12; ++i) {         \
                sums[i] = op;                                               \
                OPAQUE(sums[i]);                                            \
            }                                                               \
        }                                                                   \
        return 0;                                                           \
    }

MULTIPLY_ADD(bench_peak_fma512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(1e-5f),
             _mm512_fmadd_ps(a, b, sums[i]))
MULTIPLY_ADD(bench_peak_fma256, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(1e-5f),
             _mm256_fmadd_ps(a, b, sums[i]))
MULTIPLY_ADD(bench_peak_int8, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(),
             _mm512_set1_epi8(1), _mm512_dpbusd_epi32(sums[i], a, b))

/* A chain of multiplications takes three cycles each; chains of additions are folded by some CPUs. */
int bench_peak_clock(SHAPE) {
    UNUSED;
    uint64_t x = 1;
    for (int step = 0; step < PEAK_STEPS; ++step) __asm__ volatile("imul %0, %0" : "+r"(x));
    return 0;
}
