/* histogram.c - see histogram.h. The slots of a power of two 2^e (e from 8) hold 2^(e-7) microseconds each. */
#include "histogram.h"

#include <assert.h>
#include <math.h>

static int slot_of(int64_t us)
{
    if (us < 256)
        return (int)us;
    int e = 63 - __builtin_clzll((unsigned long long)us);
    return 256 + (e - 8) * 128 + (int)((us >> (e - 7)) - 128);
}

/* The greatest value that falls into the slot. */
static int64_t slot_end(int slot)
{
    if (slot < 256)
        return slot;
    int e = 8 + (slot - 256) / 128, part = (slot - 256) % 128;
    return ((int64_t)(128 + part + 1) << (e - 7)) - 1;
}

void histogram_add(struct histogram *h, int64_t us)
{
    us = us < 0 ? 0 : us > HISTOGRAM_MAX_US ? HISTOGRAM_MAX_US : us;
    int slot = slot_of(us);

    assert(slot < HISTOGRAM_SLOTS);
    h->counts[slot]++;
    h->min_us = h->n && h->min_us < us ? h->min_us : us;
    h->max_us = h->max_us > us ? h->max_us : us;
    h->sum_us += us;
    h->n++;
}

int64_t histogram_quantile(const struct histogram *h, double q)
{
    double wanted = ceil(q * (double)h->n);
    uint64_t rank = wanted < 1 ? 1 : (uint64_t)wanted, seen = 0;

    if (!h->n)
        return 0;
    for (int slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
        seen += h->counts[slot];
        if (seen >= rank)
            return slot_end(slot) < h->max_us ? slot_end(slot) : h->max_us;
    }
    return h->max_us;
}

double histogram_mean(const struct histogram *h)
{
    return h->n ? (double)h->sum_us / (double)h->n : 0;
}
