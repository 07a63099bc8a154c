/* rng.h - seeded random numbers, the same on every machine: xoshiro256** by Blackman and Vigna
 * (https://prng.di.unimi.it/), seeded through splitmix64. Not for secrets. Not thread-safe. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);          /* uniform in 0..n-1, without bias; n at least 1 */
double rng_uniform(struct rng *r);                      /* [0, 1) */
double rng_normal(struct rng *r);                       /* mean 0, variance 1 (Box and Muller) */
double rng_gamma(struct rng *r, double shape);          /* scale 1 (Marsaglia and Tsang 2000) */
void rng_shuffle(struct rng *r, uint32_t *a, size_t n); /* Fisher and Yates */

#endif
