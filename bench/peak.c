/* peak.c - see peak.h. */
#include "peak.h"

#include "base/base.h"

#include <cblas.h>
#include <string.h>

#define ROUNDS 40
#define LOOPS  200000
#define CHAINS 12 /* independent sums, enough to hide the latency of any of the instructions */

static double best_gops(void (*loop)(void), double operations)
{
    double best = 1e9;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t start = clock_thread();
        loop();
        double spent = clock_thread_seconds(start);
        best = spent < best ? spent : best;
    }
    return operations / best * 1e-9;
}

#ifdef __x86_64__
/* Numbers from before could be denormal, which are slow. */
#define ZEROED                                                                                                         \
    "vpxor %%xmm12, %%xmm12, %%xmm12\nvpxor %%xmm14, %%xmm14, %%xmm14\nvpxor %%xmm15, %%xmm15, %%xmm15\n"              \
    "vpxor %%xmm0, %%xmm0, %%xmm0\nvpxor %%xmm1, %%xmm1, %%xmm1\nvpxor %%xmm2, %%xmm2, %%xmm2\n"                       \
    "vpxor %%xmm3, %%xmm3, %%xmm3\nvpxor %%xmm4, %%xmm4, %%xmm4\nvpxor %%xmm5, %%xmm5, %%xmm5\n"                       \
    "vpxor %%xmm6, %%xmm6, %%xmm6\nvpxor %%xmm7, %%xmm7, %%xmm7\nvpxor %%xmm8, %%xmm8, %%xmm8\n"                       \
    "vpxor %%xmm9, %%xmm9, %%xmm9\nvpxor %%xmm10, %%xmm10, %%xmm10\nvpxor %%xmm11, %%xmm11, %%xmm11\n"

/* One loop: CHAINS sums in registers, each updated LOOPS times. In assembly, since a compiler keeps such sums in memory
 * or drops them. step(n): instructions that add to register n. */
#define PEAK_LOOP(name, step)                                                                                          \
    static void name(void)                                                                                             \
    {                                                                                                                  \
        long n = LOOPS;                                                                                                \
        __asm__ volatile(ZEROED "1:\n" step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) \
                             step(10) step(11) "dec %0\njnz 1b\nvzeroupper\n"                                          \
                         : "+r"(n)                                                                                     \
                         :                                                                                             \
                         : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",       \
                           "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                      \
    }

#define FMA_Y(n)  "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n"
#define PAIR_Y(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\nvpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"
#define QUAD_Y(n)                                                                                                      \
    "vpmaddubsw %%ymm14, %%ymm15, %%ymm13\nvpmaddwd %%ymm12, %%ymm13, %%ymm13\nvpaddd %%ymm13, %%ymm" #n ", %%ymm" #n  \
    "\n"
#define FMA_Z(n)  "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #n "\n"
#define QUAD_Z(n) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #n "\n"
#define BF16_Z(n) "vdpbf16ps %%zmm14, %%zmm15, %%zmm" #n "\n"
PEAK_LOOP(fp32_avx2, FMA_Y)
PEAK_LOOP(int16_avx2, PAIR_Y)
PEAK_LOOP(int8_avx2, QUAD_Y)
PEAK_LOOP(fp32_avx512, FMA_Z)
PEAK_LOOP(int8_avx512, QUAD_Z)
PEAK_LOOP(bf16_avx512, BF16_Z)

static const struct {
    const char *kind, *isa;
    void (*loop)(void);
    double lanes; /* multiply-adds of a step */
} kinds[] = {
    {"fp32", "avx2", fp32_avx2, 8},          {"int16", "avx2", int16_avx2, 16},
    {"int8", "avx2", int8_avx2, 32},         {"fp32", "avx512", fp32_avx512, 16},
    {"int8", "avx512vnni", int8_avx512, 64}, {"bf16", "avx512bf16", bf16_avx512, 32},
};

static bool has(const char *isa)
{
    if (strcmp(isa, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (strcmp(isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f");
    return strcmp(isa, "avx512vnni") == 0 ? __builtin_cpu_supports("avx512vnni") : __builtin_cpu_supports("avx512bf16");
}

size_t peak_registers(struct peak *out)
{
    size_t n = 0;

    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (has(kinds[i].isa))
            out[n++] = (struct peak){kinds[i].kind, kinds[i].isa,
                                     best_gops(kinds[i].loop, 2.0 * kinds[i].lanes * CHAINS * LOOPS)};
    return n;
}
#else
size_t peak_registers(struct peak *out)
{
    (void)out;
    return 0;
}
#endif

double peak_fp32(void)
{
    struct peak all[PEAK_MAX];
    double best = 0;

    for (size_t n = peak_registers(all); n-- > 0;)
        if (strcmp(all[n].kind, "fp32") == 0 && all[n].gops > best)
            best = all[n].gops;
    return best > 0 ? best : peak_sgemm();
}

static float matrices[3][PEAK_SGEMM * PEAK_SGEMM];

static void sgemm(void)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, PEAK_SGEMM, PEAK_SGEMM, PEAK_SGEMM, 1, matrices[0],
                PEAK_SGEMM, matrices[1], PEAK_SGEMM, 0, matrices[2], PEAK_SGEMM);
}

double peak_sgemm(void)
{
    return best_gops(sgemm, 2.0 * PEAK_SGEMM * PEAK_SGEMM * PEAK_SGEMM);
}
