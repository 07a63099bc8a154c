/* sparse_adam.c - see sparse_adam.h.
 *
 * A row that was last stepped in step s and is touched again in step t missed k = t - 1 - s steps without a gradient, in
 * the j-th of which Adam would have moved it by
 *     rate_(s+j) beta1^j m / (sqrt(v_scale_(s+j) beta2^j v) + epsilon)
 * Without epsilon that is m / sqrt(v) times a number that depends on the steps alone, drift[s] = sum over j of
 * rate / sqrt(v_scale) * (beta1 / sqrt(beta2))^j. drift[s] is kept for every step s and added to while the power is not
 * negligible. epsilon is taken in its proportion to sqrt(v) in step s. */
#include "nn/sparse_adam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BETA1     0.9
#define BETA2     0.99
#define EPSILON   1e-8
#define CLIP_NORM 1.0

#define DRIFT_STEPS 256  /* (beta1 / sqrt(beta2))^256 is 7e-12 */
#define N_POWERS    1024 /* of the betas, in a table */

/* One table of the model and which of its rows the batch touched. */
struct table {
    size_t offset, n_rows, width;
    bool of_ngrams;    /* else of characters */
    uint32_t *last;    /* (n_rows,): step a row is up to date with; 0: never touched */
    uint32_t *touched; /* (n_rows,), n_touched of them */
    uint32_t *before;  /* (n_rows,): the step each of those was at */
    size_t n_touched;
    nn_real *moments; /* (n_rows,2,width): m, then v */
};

struct span { /* dense tensors that lie one after the other */
    size_t offset, n;
    nn_real *m, *v;
};

struct sparse_adam {
    const struct nn_kernels *kernels;
    struct table tables[NN_MAX_TENSORS];
    struct span spans[NN_MAX_TENSORS];
    size_t n_tables, n_spans;
    uint32_t step, settled; /* in which all rows were up to date */
    double *drift;          /* (step+1,) */
    size_t drift_cap;
    double powers[2][N_POWERS]; /* beta1^k, beta2^k */
};

static void add_table(struct sparse_adam *a, const struct nn_tensor *t)
{
    struct table *table = &a->tables[a->n_tables++];

    *table = (struct table){.offset = t->offset,
                            .n_rows = t->dims[0],
                            .width = t->dims[1],
                            .of_ngrams = !strcmp(t->name, "ngram"),
                            .last = xcalloc(t->dims[0], sizeof *table->last),
                            .touched = xcalloc(t->dims[0], sizeof *table->touched),
                            .before = xcalloc(t->dims[0], sizeof *table->before),
                            .moments = xaligned(2 * t->n, sizeof *table->moments)};
}

static void add_dense(struct sparse_adam *a, const struct nn_tensor *t)
{
    struct span *last = a->n_spans ? &a->spans[a->n_spans - 1] : NULL;

    if (last && last->offset + last->n == t->offset)
        last->n += t->n;
    else
        a->spans[a->n_spans++] = (struct span){.offset = t->offset, .n = t->n};
}

struct sparse_adam *sparse_adam_new(const struct nn_shape *s)
{
    struct sparse_adam *a = xcalloc(1, sizeof *a);
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = nn_tensors(s, t);

    a->kernels = nn_kernels();
    for (size_t i = 0; i < n; i++) {
        if (t[i].sparse)
            add_table(a, &t[i]);
        else
            add_dense(a, &t[i]);
    }
    for (size_t i = 0; i < a->n_spans; i++) {
        a->spans[i].m = xaligned(a->spans[i].n, sizeof(nn_real));
        a->spans[i].v = xaligned(a->spans[i].n, sizeof(nn_real));
    }
    for (size_t k = 0; k < N_POWERS; k++) {
        a->powers[0][k] = pow(BETA1, (double)k);
        a->powers[1][k] = pow(BETA2, (double)k);
    }
    return a;
}

void sparse_adam_free(struct sparse_adam *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n_tables; i++) {
        free(a->tables[i].last);
        free(a->tables[i].touched);
        free(a->tables[i].before);
        free(a->tables[i].moments);
    }
    for (size_t i = 0; i < a->n_spans; i++) {
        free(a->spans[i].m);
        free(a->spans[i].v);
    }
    free(a->drift);
    free(a);
}

void sparse_adam_reset(struct sparse_adam *a)
{
    for (size_t i = 0; i < a->n_tables; i++) {
        struct table *t = &a->tables[i];
        memset(t->last, 0, t->n_rows * sizeof *t->last);
        memset(t->moments, 0, 2 * t->n_rows * t->width * sizeof *t->moments);
        t->n_touched = 0;
    }
    for (size_t i = 0; i < a->n_spans; i++) {
        memset(a->spans[i].m, 0, a->spans[i].n * sizeof(nn_real));
        memset(a->spans[i].v, 0, a->spans[i].n * sizeof(nn_real));
    }
    a->step = a->settled = 0;
}

static double power(const struct sparse_adam *a, size_t beta, uint32_t k)
{
    return k < N_POWERS ? a->powers[beta][k] : pow(beta ? BETA2 : BETA1, k);
}

/* Moves a row from the step it was last at to the step now; it has had no gradient in between. */
static void catch_up(const struct sparse_adam *a, const struct table *t, size_t row, nn_real *params, uint32_t last,
                     uint32_t now)
{
    if (last == 0 || last >= now)
        return;
    struct nn_decay d = {.beta1 = (nn_real)power(a, 0, now - last),
                         .beta2 = (nn_real)power(a, 1, now - last),
                         .drift = (nn_real)a->drift[last],
                         .epsilon = (nn_real)(EPSILON * sqrt(1 - power(a, 1, last)))};
    nn_real *m = t->moments + 2 * row * t->width;
    a->kernels->adam_decay(params + t->offset + row * t->width, m, m + t->width, t->width, &d);
}

static inline void touch(struct sparse_adam *a, struct table *t, size_t row)
{
    if (t->last[row] == a->step + 1)
        return;
    t->before[t->n_touched] = t->last[row];
    t->touched[t->n_touched++] = (uint32_t)row;
    t->last[row] = a->step + 1;
}

#define AHEAD 12 /* rows are far apart in memory: ask for one some rows before its turn */

void sparse_adam_touch(struct sparse_adam *a, nn_real *params, const struct nn_example *batch, size_t n)
{
    for (size_t i = 0; i < a->n_tables; i++) {
        struct table *t = &a->tables[i];
        t->n_touched = 0;
        for (size_t r = 0; r < n; r++) {
            size_t n_items = t->of_ngrams ? batch[r].n_ngrams : batch[r].n_ids;
            for (size_t k = 0; k < n_items; k++)
                touch(a, t, t->of_ngrams ? batch[r].ngrams[k] : batch[r].ids[k]);
        }
        for (size_t k = 0; k < t->n_touched; k++) {
            if (k + AHEAD < t->n_touched) {
                __builtin_prefetch(params + t->offset + t->touched[k + AHEAD] * t->width, 1);
                __builtin_prefetch(t->moments + 2 * t->touched[k + AHEAD] * t->width, 1);
            }
            catch_up(a, t, t->touched[k], params, t->before[k], a->step);
        }
    }
}

/* What every earlier step adds to its drift. */
static void drift_on(struct sparse_adam *a, const struct nn_moments *k)
{
    double ratio = BETA1 / sqrt(BETA2), rate = (double)k->rate / sqrt((double)k->v_scale);
    size_t first = a->step > DRIFT_STEPS ? a->step - DRIFT_STEPS : 0;

    if (a->step >= a->drift_cap) {
        a->drift_cap = 2 * a->step + DRIFT_STEPS;
        a->drift = xrealloc(a->drift, a->drift_cap, sizeof *a->drift);
    }
    a->drift[a->step] = 0;
    for (size_t s = a->step; s-- > first;)
        a->drift[s] += rate *= ratio;
}

static double squares(const struct sparse_adam *a, const nn_real *grad)
{
    double sum = 0;

    for (size_t i = 0; i < a->n_spans; i++)
        sum += a->kernels->sum_squares(grad + a->spans[i].offset, a->spans[i].n);
    for (size_t i = 0; i < a->n_tables; i++) {
        const struct table *t = &a->tables[i];
        sum += a->kernels->sum_squares_rows(grad + t->offset, t->width, t->touched, t->n_touched);
    }
    return sum;
}

static struct nn_moments moments_of(uint32_t step, double learning_rate)
{
    return (struct nn_moments){
        .beta1 = (nn_real)BETA1,
        .beta2 = (nn_real)BETA2,
        .epsilon = (nn_real)EPSILON,
        .rate = (nn_real)(learning_rate / (1 - pow(BETA1, step))),
        .v_scale = (nn_real)(1 / (1 - pow(BETA2, step))),
    };
}

void sparse_adam_step(struct sparse_adam *a, nn_real *params, nn_real *grad, double learning_rate)
{
    double norm = sqrt(squares(a, grad));
    nn_real scale = norm > CLIP_NORM ? (nn_real)(CLIP_NORM / norm) : 1;

    a->step++;
    struct nn_moments k = moments_of(a->step, learning_rate);
    drift_on(a, &k);
    for (size_t i = 0; i < a->n_spans; i++) {
        struct span *s = &a->spans[i];
        if (scale != 1)
            a->kernels->scale(grad + s->offset, s->n, scale);
        a->kernels->adam(params + s->offset, grad + s->offset, s->m, s->v, s->n, k);
        memset(grad + s->offset, 0, s->n * sizeof *grad);
    }
    for (size_t i = 0; i < a->n_tables; i++) {
        struct table *t = &a->tables[i];
        a->kernels->adam_rows(params + t->offset, grad + t->offset, t->moments, t->width, t->touched, t->n_touched,
                              scale, k);
    }
}

void sparse_adam_settle(struct sparse_adam *a, nn_real *params)
{
    if (a->settled == a->step)
        return;
    a->settled = a->step;
    for (size_t i = 0; i < a->n_tables; i++) {
        struct table *t = &a->tables[i];
        for (size_t row = 0; row < t->n_rows; row++) {
            catch_up(a, t, row, params, t->last[row], a->step);
            t->last[row] = t->last[row] ? a->step : 0;
        }
    }
}
