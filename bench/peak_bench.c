/* peak_bench.c - what one core can do at most: multiply-adds from register to register, for each kind of number that
 * this CPU has instructions for, and cblas_sgemm. The limits beside which bench detection and bench text stand.
 *
 *     peak_bench        lines of key=value: peak kind=fp32 isa=avx2 gops=105.3
 *
 * Two operations a multiply-add. Each line is the best of several short rounds. */
#include "base/base.h"
#include "nn/nn.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 40
#define LOOPS  200000
#define CHAINS 12 /* independent sums, enough to hide the latency of any of the instructions */

static void show(const char *kind, const char *isa, double gops)
{
    printf("peak kind=%s isa=%s gops=%.1f\n", kind, isa, gops);
}

static double best_gops(void (*loop)(void), double operations)
{
    double best = 1e9;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t start = clock_now();
        loop();
        double spent = clock_seconds(start);
        best = spent < best ? spent : best;
    }
    return operations / best * 1e-9;
}

#ifdef __x86_64__
/* One loop: CHAINS sums in registers, each updated LOOPS times. In assembly, since a compiler keeps such sums in memory
 * or drops them. step(n): instructions that add to register n. */
#define PEAK_LOOP(name, step)                                                                                          \
    static void name(void)                                                                                             \
    {                                                                                                                  \
        long n = LOOPS;                                                                                                \
        __asm__ volatile("1:\n" step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9)        \
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

#define LANE_OPS(per_step) (2.0 * (per_step)*CHAINS * LOOPS)

static void measure_registers(void)
{
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        show("fp32", "avx2", best_gops(fp32_avx2, LANE_OPS(8)));
        show("int16", "avx2", best_gops(int16_avx2, LANE_OPS(16)));
        show("int8", "avx2", best_gops(int8_avx2, LANE_OPS(32)));
    }
    if (__builtin_cpu_supports("avx512f"))
        show("fp32", "avx512", best_gops(fp32_avx512, LANE_OPS(16)));
    if (__builtin_cpu_supports("avx512vnni"))
        show("int8", "avx512vnni", best_gops(int8_avx512, LANE_OPS(64)));
    if (__builtin_cpu_supports("avx512bf16"))
        show("bf16", "avx512bf16", best_gops(bf16_avx512, LANE_OPS(32)));
}
#else
static void measure_registers(void)
{
}
#endif

#define SGEMM_SIZE 512

static float matrices[3][SGEMM_SIZE * SGEMM_SIZE];

static void sgemm(void)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SGEMM_SIZE, SGEMM_SIZE, SGEMM_SIZE, 1, matrices[0],
                SGEMM_SIZE, matrices[1], SGEMM_SIZE, 0, matrices[2], SGEMM_SIZE);
}

int main(int argc, char **argv)
{
    (void)argc;
    nn_setup_blas(argv);
    measure_registers();
    show("sgemm", nn_blas_core(), best_gops(sgemm, 2.0 * SGEMM_SIZE * SGEMM_SIZE * SGEMM_SIZE));
    return 0;
}
