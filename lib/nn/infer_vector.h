/* infer_vector.h - what infer.c needs of an instruction set beyond the compiler's own vector arithmetic: minimum,
 * maximum, and the dot products of bytes. Private to lib/nn. */
#ifndef NN_INFER_VECTOR_H
#define NN_INFER_VECTOR_H

#include "base/simd.h"
#include "nn/infer.h"

#include <string.h>

#define LANES (SIMD_BYTES / 4)

typedef float vf __attribute__((vector_size(SIMD_BYTES)));
typedef int32_t vi __attribute__((vector_size(SIMD_BYTES)));

static inline vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vi load_int(const int32_t *p)
{
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

static inline vf to_float(vi v)
{
    return __builtin_convertvector(v, vf);
}

static inline vf all(float x)
{
    return (vf){0} + x;
}

#if SIMD_BYTES == 64

static inline vf least(vf a, vf b)
{
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
}

static inline vf most(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}

static inline vi load_short(const int16_t *p)
{
    return (vi)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

static inline vi load_byte(const int8_t *p)
{
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}

static inline void store_bytes(uint8_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32((__m512)v)));
}

/* sum + the products of eight bytes of h with LANES columns of eight weights. */
static inline vi dot_bytes(vi sum, const uint8_t *h, const int8_t *w)
{
    int32_t low, high;

    memcpy(&low, h, sizeof low);
    memcpy(&high, h + 4, sizeof high);
    __m512i w_low = _mm512_loadu_si512(w), w_high = _mm512_loadu_si512(w + 64);
#ifdef SIMD_VNNI
    __m512i s = _mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(low), w_low);
    return (vi)_mm512_dpbusd_epi32(s, _mm512_set1_epi32(high), w_high);
#else
    __m512i s = _mm512_add_epi16(_mm512_maddubs_epi16(_mm512_set1_epi32(low), w_low),
                                 _mm512_maddubs_epi16(_mm512_set1_epi32(high), w_high));
    return sum + (vi)_mm512_madd_epi16(s, _mm512_set1_epi16(1));
#endif
}

#elif SIMD_BYTES == 32

static inline vf least(vf a, vf b)
{
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
}

static inline vf most(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}

static inline vi load_short(const int16_t *p)
{
    return (vi)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p));
}

static inline vi load_byte(const int8_t *p)
{
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

static inline void store_bytes(uint8_t *p, vf v)
{
    __m256i x = _mm256_cvtps_epi32((__m256)v);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));

    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}

static inline vi dot_bytes(vi sum, const uint8_t *h, const int8_t *w)
{
    int32_t low, high;

    memcpy(&low, h, sizeof low);
    memcpy(&high, h + 4, sizeof high);
    __m256i w_low = _mm256_loadu_si256((const __m256i *)w), w_high = _mm256_loadu_si256((const __m256i *)(w + 32));
#ifdef SIMD_VNNI
    __m256i s = _mm256_dpbusd_avx_epi32((__m256i)sum, _mm256_set1_epi32(low), w_low);
    return (vi)_mm256_dpbusd_avx_epi32(s, _mm256_set1_epi32(high), w_high);
#else
    __m256i s = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_set1_epi32(low), w_low),
                                 _mm256_maddubs_epi16(_mm256_set1_epi32(high), w_high));
    return sum + (vi)_mm256_madd_epi16(s, _mm256_set1_epi16(1));
#endif
}

#else

static inline vf least(vf a, vf b)
{
    for (int i = 0; i < LANES; i++)
        a[i] = a[i] < b[i] ? a[i] : b[i];
    return a;
}

static inline vf most(vf a, vf b)
{
    for (int i = 0; i < LANES; i++)
        a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}

static inline vi load_short(const int16_t *p)
{
    vi v;
    for (int i = 0; i < LANES; i++)
        v[i] = p[i];
    return v;
}

static inline vi load_byte(const int8_t *p)
{
    vi v;
    for (int i = 0; i < LANES; i++)
        v[i] = p[i];    // NOLINT(bugprone-signed-char-misuse): a number, not a character
    return v;
}

static inline void store_bytes(uint8_t *p, vf v)
{
    for (int i = 0; i < LANES; i++)
        p[i] = (uint8_t)(v[i] + 0.5f); /* never negative here */
}

static inline vi dot_bytes(vi sum, const uint8_t *h, const int8_t *w)
{
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < LANES; i++)
            for (int k = 0; k < 4; k++)
                sum[i] += h[half * 4 + k] * w[(half * LANES + i) * 4 + k];
    return sum;
}

#endif

#endif
