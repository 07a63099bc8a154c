/* accumulator.h - the weighted sum of updates: memory is O(model), whatever the number of workers.
 * Thread-safe: any thread may add; mean and reset are for the one that closes the exchange. */
#ifndef AGGREGATOR_ACCUMULATOR_H
#define AGGREGATOR_ACCUMULATOR_H

#include "base/base.h"
#include "spool.h"

struct accumulator;

struct accumulator *accumulator_new(size_t n_params);
void accumulator_free(struct accumulator *a);
void accumulator_reset(struct accumulator *a);

/* sum += weight * update, for a spool that is complete; weight: training rows behind it, at least 1. An update that
 * cannot be read back leaves the sum as it was. */
struct status accumulator_add(struct accumulator *a, struct spool *update, uint64_t weight);

/* mean (n_params,) = sum / total weight. Returns the total weight; 0 when nothing was added, and mean is untouched. */
uint64_t accumulator_mean(struct accumulator *a, float *mean);

#endif
