/* vector.h - the vectors in which the kernels of one instruction set compute, and how floats become the other types of
 * tensor.h and back. For files that are compiled once for each instruction set (bi_variants in the build). The compiler
 * cuts vectors that the CPU does not have: so the tests run the tiles of AVX-512 on any. */
#ifndef DETECTOR_VECTOR_H
#define DETECTOR_VECTOR_H

#include "base/simd.h"
#include "executor/conv.h"

#include <string.h>

#define VEC_LANES (SIMD_BYTES / 4)

typedef float vec __attribute__((vector_size(4 * VEC_LANES)));
typedef int32_t vec_int __attribute__((vector_size(4 * VEC_LANES)));
typedef int16_t vec_s16 __attribute__((vector_size(2 * VEC_LANES)));
typedef uint16_t vec_u16 __attribute__((vector_size(2 * VEC_LANES)));
typedef uint8_t vec_u8 __attribute__((vector_size(VEC_LANES)));
typedef float vec_float_any __attribute__((vector_size(4 * VEC_LANES), aligned(4), may_alias));

static inline vec vec_load(const float *p)
{
    return *(const vec_float_any *)p;
}

static inline void vec_store(float *p, vec v)
{
    *(vec_float_any *)p = v;
}

static inline vec vec_set(float x)
{
    return x - (vec){0}; /* a broadcast; "+" would lose the sign of -0 */
}

/* b where either is NaN, as x86 does it. */
static inline vec vec_max(vec a, vec b)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX__)
    return _mm256_max_ps(a, b);
#else
    vec_int greater = a > b;
    return (vec)((greater & (vec_int)a) | (~greater & (vec_int)b));
#endif
}

static inline vec vec_min(vec a, vec b)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX__)
    return _mm256_min_ps(a, b);
#else
    vec_int less = a < b;
    return (vec)((less & (vec_int)a) | (~less & (vec_int)b));
#endif
}

/* max(v, slope v): linear with 1, leaky with 0.1, ReLU with 0. */
static inline vec vec_slope(vec v, float slope)
{
    return vec_max(v, v * slope);
}

/* To the nearest, ties to even; |v| < 2^22. */
static inline vec_int vec_round(vec v)
{
    vec magic = vec_set(12582912.0f); /* 1.5 * 2^23: its last mantissa bit is worth 1 */
    return (vec_int)(v + magic) - (vec_int)magic;
}

/* How to write, or read, floats in a tensor's type. */
struct vec_format {
    enum tensor_type type;
    float scale, inverse; /* of tensor.h, and 1 / scale */
    float low, high;      /* of v / scale, before zero is added */
    int32_t zero;
};

static inline struct vec_format vec_format(const struct tensor *t)
{
    if (t->type == TENSOR_S16)
        return (struct vec_format){t->type, t->scale, 1 / t->scale, -TENSOR_S16_MAX, TENSOR_S16_MAX, 0};
    if (t->type == TENSOR_U8)
        return (struct vec_format){t->type, t->scale, 1 / t->scale, (float)-t->zero, (float)(255 - t->zero), t->zero};
    return (struct vec_format){t->type, 1, 1, 0, 0, 0};
}

/* In range already. GCC makes one element after the other of the AVX2 ones. */
static inline void vec_store_s16(void *to, vec_int q)
{
#if defined(__AVX2__) && !defined(__AVX512F__)
    __m256i pairs = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)q, (__m256i)q), 0x08);
    _mm_storeu_si128(to, _mm256_castsi256_si128(pairs));
#else
    vec_s16 s = __builtin_convertvector(q, vec_s16);
    memcpy(to, &s, sizeof s);
#endif
}

static inline void vec_store_u8(void *to, vec_int q)
{
#if defined(__AVX2__) && !defined(__AVX512F__)
    __m256i pairs = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)q, (__m256i)q), 0x08);
    __m128i words = _mm256_castsi256_si128(pairs);
    _mm_storel_epi64(to, _mm_packus_epi16(words, words));
#else
    vec_u8 u = __builtin_convertvector(q, vec_u8);
    memcpy(to, &u, sizeof u);
#endif
}

static inline void vec_store_bf16(void *to, vec v)
{
#ifdef SIMD_BF16
    __m256bh upper = _mm512_cvtneps_pbh((__m512)v);
#else
    vec_int bits = (vec_int)v;
    vec_u16 upper = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, vec_u16);
#endif
    memcpy(to, &upper, sizeof upper);
}

/* VEC_LANES elements. */
static inline void vec_store_as(void *to, vec v, const struct vec_format *f)
{
    if (f->type == TENSOR_F32) {
        vec_store(to, v);
    } else if (f->type == TENSOR_BF16) {
        vec_store_bf16(to, v);
    } else {
        vec_int q = vec_round(vec_min(vec_max(v * f->inverse, vec_set(f->low)), vec_set(f->high))) + f->zero;
        if (f->type == TENSOR_S16)
            vec_store_s16(to, q);
        else
            vec_store_u8(to, q);
    }
}

static inline vec vec_load_as(const void *from, const struct vec_format *f)
{
    if (f->type == TENSOR_F32)
        return vec_load(from);
    if (f->type == TENSOR_U8) {
        vec_u8 u;
        memcpy(&u, from, sizeof u);
        return __builtin_convertvector(__builtin_convertvector(u, vec_int) - f->zero, vec) * f->scale;
    }
    vec_s16 s;
    memcpy(&s, from, sizeof s);
    if (f->type == TENSOR_S16)
        return __builtin_convertvector(__builtin_convertvector(s, vec_int), vec) * f->scale;
    return (vec)(__builtin_convertvector(s, vec_int) << 16);
}

/* What every convolution does with its sums (conv.h). */
struct vec_epilogue {
    float slope, add_slope;
    bool has_add;
    bool plain;      /* no residual, and floats: worth loops of its own */
    bool plain_bf16; /* no residual, and BF16: the same for kernels that compute in BF16 */
    struct vec_format add, out;
};

static inline struct vec_epilogue vec_epilogue(const struct conv_spec *spec)
{
    return (struct vec_epilogue){.slope = spec->slope,
                                 .add_slope = spec->add_slope,
                                 .has_add = spec->has_add,
                                 .plain = !spec->has_add && spec->out.type == TENSOR_F32,
                                 .plain_bf16 = !spec->has_add && spec->out.type == TENSOR_BF16,
                                 .add = vec_format(&spec->add),
                                 .out = vec_format(&spec->out)};
}

static inline void vec_finish(void *out, const void *add, vec sum, const struct vec_epilogue *e)
{
    sum = vec_slope(sum, e->slope);
    if (e->has_add)
        sum = vec_slope(sum + vec_load_as(add, &e->add), e->add_slope);
    vec_store_as(out, sum, &e->out);
}

/* A tile's sums (n_pixels, n_vectors) to the output: from memory, for what is not plain. */
__attribute__((noinline, unused)) static void vec_finish_tile(char *out, size_t out_stride, const char *add,
                                                              size_t add_stride, const vec *sums, size_t n_pixels,
                                                              size_t n_vectors, const struct vec_epilogue *e)
{
    size_t out_size = VEC_LANES * tensor_type_size(e->out.type), add_size = VEC_LANES * tensor_type_size(e->add.type);

    for (size_t r = 0; r < n_pixels; r++)
        for (size_t v = 0; v < n_vectors; v++)
            vec_finish(out + r * out_stride + v * out_size, add + r * add_stride + v * add_size,
                       sums[r * n_vectors + v], e);
}

#endif
