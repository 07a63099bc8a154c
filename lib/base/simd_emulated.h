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

#endif
