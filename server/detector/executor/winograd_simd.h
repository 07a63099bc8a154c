/* winograd_simd.h - what the Winograd kernels of one instruction set share beside vector.h. Private to winograd_*.c. */
#ifndef DETECTOR_WINOGRAD_SIMD_H
#define DETECTOR_WINOGRAD_SIMD_H

#include "vector.h"
#include "winograd.h"

/* WINOGRAD_ROWS times two vectors of sums stay in registers; a panel of packed weights is as wide as two vectors. */
#define WINOGRAD_ROWS (VEC_LANES == 16 ? 12 : 6)
#define WINOGRAD_COLS (2 * VEC_LANES)

/* 2 * VEC_LANES integers, two in each lane */
static inline vec_int load_pairs(const int16_t *p)
{
    vec_int v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Rounds the lanes' lower and upper halves, |x| < 2^15: the last bits of x + 1.5 * 2^23 are those of the integer. */
static inline void store_pairs(int16_t *p, vec lower, vec upper)
{
    vec_int v = ((vec_int)(lower + 12582912.0f) & 0xffff) | (vec_int)(upper + 12582912.0f) << 16;
    memcpy(p, &v, sizeof v);
}

/* sums + the products of each lane's two integers */
static inline vec_int multiply_add_pairs(vec_int sums, vec_int a, vec_int b)
{
#if defined(__AVX512BW__)
    return sums + (vec_int)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sums + (vec_int)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && VEC_LANES == 4
    return sums + (vec_int)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return sums + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

#endif
