/* clip.c - tries a grid of both ends; the error of each comes from the histogram's bins. */
#include "clip.h"

#include <math.h>

#define N_STEPS 64 /* of the grid, from 1/64 of the extreme to all of it */
#define LEVELS  255

void clip_count(struct clip *c, const float *values, size_t n)
{
    float scale = c->max > c->min ? (CLIP_BINS - 1) / (c->max - c->min) : 0;

    for (size_t i = 0; i < n; i++) {
        float at = (values[i] - c->min) * scale;
        c->bins[at < 0 ? 0 : at > CLIP_BINS - 1 ? CLIP_BINS - 1 : (size_t)at]++;
    }
}

/* Inside a step s the error of rounding is even, s^2 / 12 on average; outside it is the distance to the end. */
static double error_of(const struct clip *c, double low, double high)
{
    double width = ((double)c->max - (double)c->min) / (CLIP_BINS - 1), step = (high - low) / LEVELS, sum = 0;

    for (int i = 0; i < CLIP_BINS; i++) {
        double value = (double)c->min + (i + 0.5) * width;
        double off = value < low ? low - value : value > high ? value - high : 0;
        sum += (double)c->bins[i] * (off * off + step * step / 12);
    }
    return sum;
}

void clip_choose(const struct clip *c, float *low, float *high)
{
    double min = fmin((double)c->min, 0), max = fmax((double)c->max, 0), best = INFINITY;
    int n_low = min < 0 ? N_STEPS : 1, n_high = max > 0 ? N_STEPS : 1;

    *low = c->min;
    *high = c->max;
    for (int i = 1; i <= n_low; i++)
        for (int k = 1; k <= n_high; k++) {
            double a = min * i / n_low, b = max * k / n_high, error = error_of(c, a, b);
            if (error < best) {
                best = error;
                *low = fmaxf((float)a, c->min);
                *high = fminf((float)b, c->max);
            }
        }
    if (*low > *high) /* rounding of a single value */
        *low = *high;
}
