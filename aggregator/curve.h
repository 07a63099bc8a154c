/* curve.h - a run's losses and accuracy by round as a picture that any browser shows. */
#ifndef AGGREGATOR_CURVE_H
#define AGGREGATOR_CURVE_H

#include "base/base.h"

struct curve_point {
    uint32_t round;
    double train_loss, eval_loss; /* nats */
    double accuracy;              /* 0..1 */
};

/* An SVG document, the caller's to free(). n at least 1. */
char *curve_svg(const char *title, const struct curve_point *points, size_t n);

#endif
