/* simd.h - for sources that are compiled once per instruction set (bi_variants in cmake/Bloginfer.cmake): the intrinsics,
 * which of them there are, and names for the variants. isa.h says which variants a CPU runs.
 *
 * Few machines have every instruction set, so for tests the same sources are compiled once more with BI_SIMDE: then SIMDe
 * computes in plain C what the instructions would. */
#ifndef BASE_SIMD_H
#define BASE_SIMD_H

/* SIMD_BYTES: a vector's, 16, 32 (AVX2 and FMA) or 64 (AVX-512 F, BW, DQ and VL).
 * SIMD_VNNI: _mm256_dpbusd_avx_epi32() with 32, _mm512_dpbusd_epi32() with 64.
 * SIMD_BF16: _mm512_dpbf16_ps() and _mm512_cvtneps_pbh(), with 64. */
#ifdef BI_SIMDE /* the build defines them for the variants; what else there is computes like the portable one */
#include "base/simd_emulated.h"
#ifndef SIMD_BYTES
#define SIMD_BYTES 16
#endif
#else
#ifdef __x86_64__
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define SIMD_BYTES 64
#elif defined(__AVX2__)
#define SIMD_BYTES 32
#else
#define SIMD_BYTES 16
#endif
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define SIMD_VNNI
#endif
#if defined(__AVX512BF16__)
#define SIMD_BF16
#endif
#endif

/* SIMD_VARIANT(kernels) is kernels_avx2 where the build says -DBI_ISA=avx2, and SIMD_ISA is "avx2". */
#define SIMD_PASTE_(a, b)  a##_##b
#define SIMD_PASTE(a, b)   SIMD_PASTE_(a, b)
#define SIMD_TEXT_(a)      #a
#define SIMD_TEXT(a)       SIMD_TEXT_(a)
#define SIMD_VARIANT(name) SIMD_PASTE(name, BI_ISA)
#define SIMD_ISA           SIMD_TEXT(BI_ISA)

#endif
