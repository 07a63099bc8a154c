/* dropout.h - which elements a seed drops. Nothing is stored: the backward pass asks the same question again, and gets
 * the same answer, whatever the order of the rows and on every machine. Private to lib/nn. */
#ifndef NN_DROPOUT_H
#define NN_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

enum dropout_stream { DROPOUT_TOKEN, DROPOUT_EMBED, DROPOUT_OUTPUT, DROPOUT_NGRAM };

static inline uint64_t dropout_mix(uint64_t z) /* the finaliser of splitmix64 */
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* A key for the element `index` (below 2^24) of row `row` (below 2^24) of the caller's batch. */
static inline uint32_t dropout_key(uint64_t seed, enum dropout_stream stream, size_t row, size_t index)
{
    uint64_t place = (uint64_t)stream << 48 | (uint64_t)row << 24 | index;
    return (uint32_t)(dropout_mix(dropout_mix(seed) + (place + 1) * 0x9E3779B97F4A7C15u) >> 32);
}

/* Keys below this are dropped. */
static inline uint32_t dropout_limit(float probability)
{
    double limit = probability * 0x1p32;
    return limit < 0 ? 0 : limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX;
}

#endif
