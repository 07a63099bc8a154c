/* histogram.h - how often something took how long, in bounded memory and with a bounded error: below 256 us every
 * microsecond has a slot of its own, above it each power of two is cut into 128, so that a quantile is at most 0.8 % too
 * high. Mean, least and greatest are exact. Not thread-safe. */
#ifndef LOADTEST_HISTOGRAM_H
#define LOADTEST_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_MAX_US (INT64_C(1) << 40) /* 12 days; what is longer counts as this */
#define HISTOGRAM_SLOTS  (256 + (40 - 8) * 128 + 1)

struct histogram { /* all zero: empty */
    uint64_t counts[HISTOGRAM_SLOTS];
    uint64_t n;
    int64_t sum_us, min_us, max_us;
};

void histogram_add(struct histogram *h, int64_t us);

/* The least bound that a share q (0 to 1) of all values does not exceed; 0 when there are none. */
int64_t histogram_quantile(const struct histogram *h, double q);

double histogram_mean(const struct histogram *h); /* 0 when there are none */

#endif
