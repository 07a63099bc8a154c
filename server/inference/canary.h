/* canary.h - the judge of a candidate: what routed calls found on it and on production over the same time, and whether
 * it is worse. It is, when over the window
 *
 *   - its share of failed calls is over production's by more than 2 points, from 20 calls on it on,
 *   - or its mean time is over 1.2 times production's, from 100 calls on each on,
 *   - or more than 5 % of its calls take over 1.2 times production's 95th percentile, from 100 calls on each on,
 *
 * and in each case the difference is over 4 standard errors, since the question is asked again and again. The window is
 * the last 60 s, and longer while the candidate has too few calls. Thread-safe. */
#ifndef INFERENCE_CANARY_H
#define INFERENCE_CANARY_H

#include "base/base.h"

#include <stdbool.h>

#define CANARY_MIN_CALLS    20  /* for failures */
#define CANARY_MIN_TIMED    100 /* for times */
#define CANARY_MARGIN       0.02
#define CANARY_SLOWER       1.2
#define CANARY_ERRORS       4.0 /* standard errors */
#define CANARY_SLOTS        6
#define CANARY_SLOT_SECONDS 10

enum canary_arm { CANARY_PRODUCTION, CANARY_CANDIDATE };

struct canary_figures {
    uint64_t calls, failures; /* in the window; times are of those that did not fail */
    double mean_s, p95_s;     /* 0 without calls */
};

struct canary_report {
    struct canary_figures arms[2];
    bool worse;
    char why[80]; /* "" while it is not */
};

struct canary;

struct canary *canary_new(void);
void canary_free(struct canary *c); /* NULL is fine */

/* Forgets what it knows of one arm: there is another version. */
void canary_reset(struct canary *c, enum canary_arm arm);

/* A call has ended. now: clock_now(). */
void canary_observe(struct canary *c, enum canary_arm arm, bool failed, double seconds, int64_t now);

struct canary_report canary_judge(struct canary *c);

#endif
