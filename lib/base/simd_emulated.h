/* simd_emulated.h - SIMDe under the names of the intrinsics, and what Debian's SIMDe (0.7.4) lacks of those we use, by
 * their definition in Intel's manual. For simd.h alone; compiled without any -m flags, or both would define them. */
#ifndef BASE_SIMD_EMULATED_H
#define BASE_SIMD_EMULATED_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#undef _mm512_madd_epi16 /* takes four arguments there */
#define _mm512_madd_epi16(a, b)            simde_mm512_madd_epi16(a, b)
#define _mm256_dpbusd_avx_epi32(sum, a, b) simde_mm256_dpbusd_epi32(sum, a, b)

static inline __m512i simd_cvtepi16_epi32(__m256i a)
{
    simde__m256i_private from = simde__m256i_to_private(a);
    simde__m512i_private to;

    for (int i = 0; i < 16; i++)
        to.i32[i] = from.i16[i];
    return simde__m512i_from_private(to);
}
#define _mm512_cvtepi16_epi32(a) simd_cvtepi16_epi32(a)

static inline __m512i simd_cvtepi8_epi32(__m128i a)
{
    simde__m128i_private from = simde__m128i_to_private(a);
    simde__m512i_private to;

    for (int i = 0; i < 16; i++)
        to.i32[i] = (int32_t)from.i8[i];
    return simde__m512i_from_private(to);
}
#define _mm512_cvtepi8_epi32(a) simd_cvtepi8_epi32(a)

static inline __m128i simd_cvtepi32_epi8(__m512i a) /* the low bytes */
{
    simde__m512i_private from = simde__m512i_to_private(a);
    simde__m128i_private to;

    for (int i = 0; i < 16; i++)
        to.u8[i] = (uint8_t)from.u32[i];
    return simde__m128i_from_private(to);
}
#define _mm512_cvtepi32_epi8(a) simd_cvtepi32_epi8(a)

static inline __m512i simd_cvtps_epi32(__m512 a) /* to the nearest, halves to even; what does not fit: INT32_MIN */
{
    simde__m512_private from = simde__m512_to_private(a);
    simde__m512i_private to;

    for (int i = 0; i < 16; i++)
        to.i32[i] = from.f32[i] >= -0x1p31f && from.f32[i] < 0x1p31f ? (int32_t)lrintf(from.f32[i]) : INT32_MIN;
    return simde__m512i_from_private(to);
}
#define _mm512_cvtps_epi32(a) simd_cvtps_epi32(a)

/* A BF16, or denormals of a float, as the instructions on BF16 see them: 0. */
static inline uint32_t simd_flush(uint32_t bits)
{
    return bits & 0x7f800000 ? bits : bits & 0x80000000;
}

static inline float simd_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The upper product first, each sum rounded. */
static inline __m512 simd_dpbf16_ps(__m512 sums, __m512bh a, __m512bh b)
{
    simde__m512_private s = simde__m512_to_private(sums);
    simde__m512bh_private x = simde__m512bh_to_private(a), y = simde__m512bh_to_private(b);

    for (int i = 0; i < 16; i++) {
        float upper = simd_float(simd_flush(x.u32[i] & 0xffff0000)) * simd_float(simd_flush(y.u32[i] & 0xffff0000));
        float lower = simd_float(simd_flush(x.u32[i] << 16)) * simd_float(simd_flush(y.u32[i] << 16));
        s.f32[i] = (s.f32[i] + upper) + lower; /* the products are exact */
    }
    return simde__m512_from_private(s);
}
#undef _mm512_dpbf16_ps /* Debian's adds the lower product first */
#define _mm512_dpbf16_ps(sums, a, b) simd_dpbf16_ps(sums, a, b)

static inline __m256bh simd_cvtneps_pbh(__m512 a) /* to the nearest, halves to even; NaN stays NaN */
{
    simde__m512_private from = simde__m512_to_private(a);
    simde__m256bh_private to;

    for (int i = 0; i < 16; i++) {
        uint32_t bits = simd_flush(from.u32[i]), nan = (bits & 0x7fffffff) > 0x7f800000;
        to.u16[i] = (uint16_t)((nan ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    return simde__m256bh_from_private(to);
}
#define _mm512_cvtneps_pbh(a) simd_cvtneps_pbh(a)

#endif
