/* canary.c - see canary.h. Each arm has a ring of slots of ten seconds: counts, sums and a histogram of times in bins of
 * a ratio of 2^(1/8); the window is their sum. */
#include "canary.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINS              168 /* 10 us to 21 s */
#define BIN_LEAST         1e-5
#define BINS_PER_DOUBLING 8
#define TAIL              0.05

struct slot {
    uint32_t calls, failures;
    double sum, squares; /* of the seconds of those that did not fail */
    uint32_t bins[BINS];
};

struct canary {
    pthread_mutex_t mu; /* guards all below */
    struct slot slots[2][CANARY_SLOTS];
    size_t at;       /* the slot of now, of both arms */
    int64_t rotated; /* when it became that; 0: nothing was observed yet */
};

/* ---- the window ---- */

static size_t bin_of(double seconds)
{
    double bin = seconds > BIN_LEAST ? BINS_PER_DOUBLING * log2(seconds / BIN_LEAST) : 0;

    return bin < BINS - 1 ? (size_t)bin : BINS - 1;
}

static double bin_floor(size_t bin)
{
    return BIN_LEAST * exp2((double)bin / BINS_PER_DOUBLING);
}

static void window_sum(const struct canary *c, enum canary_arm arm, struct slot *sum)
{
    memset(sum, 0, sizeof *sum);
    for (size_t i = 0; i < CANARY_SLOTS; i++) {
        const struct slot *s = &c->slots[arm][i];
        sum->calls += s->calls;
        sum->failures += s->failures;
        sum->sum += s->sum;
        sum->squares += s->squares;
        for (size_t k = 0; k < BINS; k++)
            sum->bins[k] += s->bins[k];
    }
}

/* Drops the oldest slots that have had their time, unless the candidate would be left with too few calls to judge. */
static void rotate_locked(struct canary *c, int64_t now)
{
    if (!c->rotated)
        c->rotated = now;
    for (int i = 0; i < CANARY_SLOTS && now - c->rotated >= CANARY_SLOT_SECONDS * CLOCK_SECOND; i++) {
        size_t oldest = (c->at + 1) % CANARY_SLOTS;
        uint32_t left = 0;
        for (size_t k = 0; k < CANARY_SLOTS; k++)
            left += k == oldest ? 0 : c->slots[CANARY_CANDIDATE][k].calls;
        if (left < CANARY_MIN_TIMED && c->slots[CANARY_CANDIDATE][oldest].calls)
            return;
        memset(&c->slots[CANARY_PRODUCTION][oldest], 0, sizeof(struct slot));
        memset(&c->slots[CANARY_CANDIDATE][oldest], 0, sizeof(struct slot));
        c->at = oldest;
        c->rotated += CANARY_SLOT_SECONDS * CLOCK_SECOND;
    }
    if (now - c->rotated >= CANARY_SLOT_SECONDS * CLOCK_SECOND)
        c->rotated = now; /* after a long silence */
}

void canary_observe(struct canary *c, enum canary_arm arm, bool failed, double seconds, int64_t now)
{
    pthread_mutex_lock(&c->mu);
    rotate_locked(c, now);
    struct slot *s = &c->slots[arm][c->at];
    s->calls++;
    if (failed) {
        s->failures++;
    } else {
        s->sum += seconds;
        s->squares += seconds * seconds;
        s->bins[bin_of(seconds)]++;
    }
    pthread_mutex_unlock(&c->mu);
}

void canary_reset(struct canary *c, enum canary_arm arm)
{
    pthread_mutex_lock(&c->mu);
    memset(c->slots[arm], 0, sizeof c->slots[arm]);
    pthread_mutex_unlock(&c->mu);
}

/* ---- figures ---- */

/* Calls that did not fail. */
static double timed(const struct slot *s)
{
    return (double)(s->calls - s->failures);
}

static double mean(const struct slot *s)
{
    return timed(s) > 0 ? s->sum / timed(s) : 0;
}

/* Of the mean, squared. */
static double mean_error2(const struct slot *s)
{
    double n = timed(s), m = mean(s);

    return n > 1 ? fmax(0, s->squares / n - m * m) / (n - 1) : 0;
}

/* The time that a share of the calls is over, within its bin by a straight line. */
static double time_over(const struct slot *s, double share)
{
    double above = share * timed(s), seen = 0;

    for (size_t i = BINS; i-- > 0;) {
        if (s->bins[i] && seen + s->bins[i] >= above) {
            double within = 1 - (above - seen) / s->bins[i];
            return bin_floor(i) + within * (bin_floor(i + 1) - bin_floor(i));
        }
        seen += s->bins[i];
    }
    return 0;
}

/* The share of calls over a time; the bin that holds it counts by a straight line. */
static double share_over(const struct slot *s, double seconds)
{
    size_t bin = bin_of(seconds);
    double part = (bin_floor(bin + 1) - seconds) / (bin_floor(bin + 1) - bin_floor(bin));
    double over = s->bins[bin] * fmin(1, fmax(0, part));

    for (size_t i = bin + 1; i < BINS; i++)
        over += s->bins[i];
    return timed(s) > 0 ? over / timed(s) : 0;
}

static struct canary_figures figures(const struct slot *s)
{
    return (struct canary_figures){s->calls, s->failures, mean(s), time_over(s, TAIL)};
}

/* ---- judgement; p: production, c: candidate ---- */

static bool fails_more(const struct slot *p, const struct slot *c)
{
    double n_p = p->calls, n_c = c->calls;

    if (n_c < CANARY_MIN_CALLS)
        return false;
    double difference = c->failures / n_c - (n_p > 0 ? p->failures / n_p : 0);
    double pooled = (p->failures + c->failures) / (n_p + n_c);
    double error = sqrt(pooled * (1 - pooled) * (1 / n_c + (n_p > 0 ? 1 / n_p : 0)));
    return difference > CANARY_MARGIN && difference > CANARY_ERRORS * error;
}

static bool mean_is_slower(const struct slot *p, const struct slot *c)
{
    double error = sqrt(mean_error2(p) + mean_error2(c));

    return mean(c) > CANARY_SLOWER * mean(p) && mean(c) - mean(p) > CANARY_ERRORS * error;
}

static bool tail_is_slower(const struct slot *p, const struct slot *c)
{
    double over = share_over(c, CANARY_SLOWER * time_over(p, TAIL));

    return over > TAIL + CANARY_ERRORS * sqrt(TAIL * (1 - TAIL) / timed(c));
}

static const char *verdict(const struct slot *p, const struct slot *c)
{
    if (fails_more(p, c))
        return "it fails more often than production";
    if (timed(p) < CANARY_MIN_TIMED || timed(c) < CANARY_MIN_TIMED)
        return "";
    if (mean_is_slower(p, c))
        return "its mean time is over 1.2 times production's";
    if (tail_is_slower(p, c))
        return "over 5 % of its calls take 1.2 times production's 95th percentile";
    return "";
}

struct canary_report canary_judge(struct canary *c)
{
    struct slot sums[2];
    struct canary_report report;

    pthread_mutex_lock(&c->mu);
    window_sum(c, CANARY_PRODUCTION, &sums[CANARY_PRODUCTION]);
    window_sum(c, CANARY_CANDIDATE, &sums[CANARY_CANDIDATE]);
    pthread_mutex_unlock(&c->mu);
    for (int i = 0; i < 2; i++)
        report.arms[i] = figures(&sums[i]);
    snprintf(report.why, sizeof report.why, "%s", verdict(&sums[CANARY_PRODUCTION], &sums[CANARY_CANDIDATE]));
    report.worse = report.why[0] != '\0';
    return report;
}

struct canary *canary_new(void)
{
    struct canary *c = xcalloc(1, sizeof *c);

    pthread_mutex_init(&c->mu, NULL);
    return c;
}

void canary_free(struct canary *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->mu);
    free(c);
}
