/* conv_quant_finish.h - from 32-bit sums to the output's type, on AVX2: sixteen filters, or eight. Writes them all,
 * also those beyond the last channel (tensor.h). */
#ifndef DETECTOR_CONV_QUANT_FINISH_H
#define DETECTOR_CONV_QUANT_FINISH_H

#include "conv_quant.h"

struct finish_pair {
    __m256 a, b; /* quads: filters 0-3 8-11 and 4-7 12-15; else 0-7 and 8-15 */
};

static inline __attribute__((always_inline)) struct finish_pair finish_load_add(const char *add, enum tensor_type type,
                                                                                const bool quads)
{
    if (type == TENSOR_F32) {
        __m256 a = _mm256_loadu_ps((const float *)(const void *)add);
        __m256 b = _mm256_loadu_ps((const float *)(const void *)add + 8);
        if (quads)
            return (struct finish_pair){_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)};
        return (struct finish_pair){a, b};
    }
    __m256i q = type == TENSOR_S16 ? _mm256_loadu_si256((const __m256i *)(const void *)add)
                                   : _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)add));
    if (!quads)
        q = _mm256_permute4x64_epi64(q, 0xd8);
    return (struct finish_pair){_mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_unpacklo_epi16(q, q), 16)),
                                _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_unpackhi_epi16(q, q), 16))};
}

static inline __m256 finish_value(__m256i sums, const struct quant_finish *f, size_t filter)
{
    __m256 v = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(f->factors + filter),
                               _mm256_loadu_ps(f->biases + filter));
    return _mm256_max_ps(v, _mm256_mul_ps(v, _mm256_set1_ps(f->slope)));
}

static inline __m256 finish_add(__m256 v, __m256 add, const struct quant_finish *f)
{
    v = _mm256_add_ps(v, _mm256_fmadd_ps(add, _mm256_set1_ps(f->add_factor), _mm256_set1_ps(f->add_shift)));
    return _mm256_max_ps(v, _mm256_mul_ps(v, _mm256_set1_ps(f->add_slope)));
}

static inline __attribute__((always_inline)) void finish_store(char *out, struct finish_pair v,
                                                               const struct quant_finish *f, enum tensor_type type,
                                                               const bool quads)
{
    if (type == TENSOR_F32) {
        float *to = (float *)(void *)out;
        _mm256_storeu_ps(to, quads ? _mm256_permute2f128_ps(v.a, v.b, 0x20) : v.a);
        _mm256_storeu_ps(to + 8, quads ? _mm256_permute2f128_ps(v.a, v.b, 0x31) : v.b);
        return;
    }
    if (type == TENSOR_U8) {
        v.a = _mm256_add_ps(v.a, _mm256_set1_ps(f->out_zero));
        v.b = _mm256_add_ps(v.b, _mm256_set1_ps(f->out_zero));
    }
    __m256i q = _mm256_packs_epi32(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b));
    if (!quads)
        q = _mm256_permute4x64_epi64(q, 0xd8);
    if (type == TENSOR_S16) {
        q = _mm256_max_epi16(_mm256_min_epi16(q, _mm256_set1_epi16(TENSOR_S16_MAX)),
                             _mm256_set1_epi16(-TENSOR_S16_MAX));
        _mm256_storeu_si256((__m256i *)(void *)out, q);
    } else {
        q = _mm256_permute4x64_epi64(_mm256_packus_epi16(q, q), 0x08);
        _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(q));
    }
}

/* Sixteen filters. */
static inline __attribute__((always_inline)) void finish_16(char *out, const char *add, __m256i a, __m256i b,
                                                            const struct quant_finish *f, size_t filter,
                                                            enum tensor_type out_type, enum tensor_type add_type,
                                                            const bool quads)
{
    struct finish_pair v = {finish_value(a, f, filter), finish_value(b, f, filter + 8)};

    if (add) {
        struct finish_pair r = finish_load_add(add, add_type, quads);
        v = (struct finish_pair){finish_add(v.a, r.a, f), finish_add(v.b, r.b, f)};
    }
    finish_store(out, v, f, out_type, quads);
}

/* Eight filters, in their plain order. The other half is left as it is. */
static inline void finish_8(char *out, const char *add, __m256i sums, const struct quant_finish *f, size_t filter)
{
    char whole[64], part[64];
    size_t n = 8 * tensor_type_size(f->out_type);

    if (add)
        memcpy(part, add, 8 * tensor_type_size(f->add_type));
    __m256 v = finish_value(sums, f, filter);
    struct finish_pair pair = {v, v};
    if (add)
        pair.a = finish_add(v, finish_load_add(part, f->add_type, false).a, f);
    finish_store(whole, pair, f, f->out_type, false);
    memcpy(out, whole, n);
}

#endif
