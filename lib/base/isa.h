/* isa.h - the instruction sets that kernels are compiled for, and which of them this CPU has. Each stands for a set of
 * objects (bi_variants in cmake/Bloginfer.cmake); what to write into them says simd.h.
 *
 * Where BI_SIMDE is defined, for tests, the kernels are emulated, so that every CPU has all of them. */
#ifndef BASE_ISA_H
#define BASE_ISA_H

#include <stdbool.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

/* The best last. AVX2 goes with FMA, AVX-512 is F, BW, DQ and VL, and VNNI dot products of bytes. */
enum isa { ISA_PORTABLE, ISA_AVX2, ISA_AVX2VNNI, ISA_AVX512, ISA_AVX512VNNI };
#define ISA_N 5

/* "portable", "avx2", "avx2vnni", "avx512", "avx512vnni": as in the names of variants. */
static inline const char *isa_name(enum isa isa)
{
    static const char *const names[ISA_N] = {"portable", "avx2", "avx2vnni", "avx512", "avx512vnni"};
    return names[isa];
}

static inline bool isa_supported(enum isa isa)
{
#if defined(BI_SIMDE)
    (void)isa;
    return true;
#elif defined(__x86_64__)
    unsigned a = 0, b, c, d;
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");

    switch (isa) {
    case ISA_PORTABLE:
        return true;
    case ISA_AVX2:
        return avx2;
    case ISA_AVX2VNNI: /* newer than the compiler's names */
        return avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & 1u << 4;
    case ISA_AVX512:
        return avx512;
    case ISA_AVX512VNNI:
        return avx512 && __builtin_cpu_supports("avx512vnni");
    }
    return false;
#else
    return isa == ISA_PORTABLE;
#endif
}

/* AVX512-BF16, on top of ISA_AVX512: dot products of pairs of BF16, the variants "avx512bf16". No step of the ladder
 * above: what gains from it chooses it for itself, since on some CPUs it is slower than floats. */
static inline bool isa_has_bf16(void)
{
#if defined(BI_SIMDE)
    return true;
#elif defined(__x86_64__)
    unsigned a = 0, b, c, d;
    return isa_supported(ISA_AVX512) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & 1u << 5;
#else
    return false;
#endif
}

#endif
