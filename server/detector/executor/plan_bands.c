/* plan_bands.c - steps that go through the picture together, a band of rows at a time, so that what one hands to the next
 * stays in the second-level cache: the wide middle of an inverted bottleneck, or the first layers before their maxpool.
 * Between two such steps only a ring of rows is kept. */
#include "plan.h"

#include <string.h>

#define MAX_RINGS   ((size_t)160 << 10) /* bytes of all rings of a chain */
#define MAX_WEIGHTS ((size_t)128 << 10) /* of a chain: every band reads them again */
#define MIN_SAVED   ((size_t)192 << 10) /* bytes that do not have to be kept as a whole */

static bool can_band(const struct plan_step *s)
{
    return s->op == PLAN_MAXPOOL || (s->op == PLAN_CONV && s->conv->method->run_rows);
}

static size_t weights_size(const struct plan_step *s)
{
    return s->conv ? s->conv->weights_size : 0;
}

static size_t row_size(const struct plan *p, int tensor)
{
    const struct tensor *t = &p->tensors[tensor].t;
    return t->w * t->stride * tensor_type_size(t->type);
}

/* Is what step i writes read by the next step alone, as its input? */
static bool hands_on(const struct plan *p, size_t i)
{
    const struct plan_step *s = &p->steps[i];

    if (i + 1 >= p->n_steps || s[1].in != s->out || s[1].add == s->out || !can_band(s) || !can_band(s + 1))
        return false;
    const struct plan_tensor *t = &p->tensors[s->out];
    return t->root == s->out && t->first == (int)i && t->last == (int)i + 1;
}

size_t plan_rows_before(const struct plan *p, const struct plan_step *s, size_t rows)
{
    const struct cfg_layer *l = plan_layer(p, s->op == PLAN_CONV ? s->conv_layer : s->layer);
    size_t pad = s->op == PLAN_CONV ? l->pad : l->pad / 2, end = (rows - 1) * l->stride + l->size;

    end = end > pad ? end - pad : 1;
    return end < l->in.h ? end : l->in.h;
}

/* Rows that the input of a step needs while it computes n_rows at once. */
static size_t window(const struct plan *p, const struct plan_step *s, size_t n_rows)
{
    const struct cfg_layer *l = plan_layer(p, s->op == PLAN_CONV ? s->conv_layer : s->layer);
    size_t rows = (n_rows - 1) * l->stride + l->size;

    return rows < l->in.h ? rows : l->in.h;
}

static size_t stride_of(const struct plan *p, const struct plan_step *s)
{
    return plan_layer(p, s->op == PLAN_CONV ? s->conv_layer : s->layer)->stride;
}

/* The bytes of a chain's rings when its last step computes `rows` at a time; sets them in the tensors if asked to. */
static size_t ring_sizes(struct plan *p, size_t first, size_t n, size_t rows, bool set)
{
    size_t sum = 0;

    for (size_t i = first + n - 1; i > first; i--) {
        const struct plan_step *s = &p->steps[i];
        size_t ring = window(p, s, rows);
        sum += ring * row_size(p, s->in);
        if (set)
            p->tensors[s->in].t.ring = ring < p->tensors[s->in].t.h ? ring : 0;
        size_t start = plan_rows_before(p, s, rows), step = rows * stride_of(p, s);
        rows = start > step ? start : step; /* of the step before: the first band has the window's other rows, too */
    }
    return sum;
}

/* The longest chain possible from step `first` on: how many steps. */
static size_t longest(struct plan *p, size_t first)
{
    size_t n = 1, weights = can_band(&p->steps[first]) ? weights_size(&p->steps[first]) : 0;

    while (n < PLAN_MAX_CHAIN && hands_on(p, first + n - 1)) {
        weights += weights_size(&p->steps[first + n]);
        if (weights > MAX_WEIGHTS || ring_sizes(p, first, n + 1, 1, false) > MAX_RINGS)
            break;
        n++;
    }
    return n;
}

static size_t saved(const struct plan *p, size_t first, size_t n)
{
    size_t sum = 0;

    for (size_t i = first; i + 1 < first + n; i++)
        sum += row_size(p, p->steps[i].out) * p->tensors[p->steps[i].out].t.h;
    return sum;
}

/* lengths[i]: of the chain that starts at step i, in the division of all steps that saves most. */
static void divide(struct plan *p, size_t *lengths)
{
    size_t best[PLAN_MAX_STEPS + 1];

    best[p->n_steps] = 0;
    for (size_t i = p->n_steps; i-- > 0;) {
        best[i] = best[i + 1];
        lengths[i] = 1;
        for (size_t n = 2, most = longest(p, i); n <= most; n++) {
            size_t gain = saved(p, i, n);
            if (gain >= MIN_SAVED && gain + best[i + n] > best[i]) {
                best[i] = gain + best[i + n];
                lengths[i] = n;
            }
        }
    }
}

void plan_chain(struct plan *p)
{
    size_t lengths[PLAN_MAX_STEPS];

    divide(p, lengths);
    for (size_t i = 0; i < p->n_steps; i += lengths[i]) {
        size_t n = lengths[i], rows = 1, h = n > 1 ? p->tensors[p->steps[i + n - 1].out].t.h : 0;
        if (n == 1)
            continue;
        while (2 * rows < h && ring_sizes(p, i, n, 2 * rows, false) <= MAX_RINGS)
            rows *= 2;
        ring_sizes(p, i, n, rows, true);
        p->steps[i].n_chained = n;
        p->steps[i].band_rows = rows;
    }
}
