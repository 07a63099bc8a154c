/* plan_memory.c - where each tensor lies in a run's memory: two share a place unless both are in use at the same step. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define LINE 64

static size_t root_size(const struct plan_tensor *t)
{
    size_t size = (t->t.ring ? t->t.ring : t->t.h) * t->t.w * t->t.stride * tensor_type_size(t->t.type);
    return (size + LINE - 1) / LINE * LINE;
}

/* In use at the steps first .. last at least. */
static void use(struct plan *p, int tensor, int first, int last)
{
    if (tensor < 0)
        return;
    struct plan_tensor *root = &p->tensors[p->tensors[tensor].root];
    if (root->first < 0)
        root->first = first;
    root->last = last;
}

static void find_lives(struct plan *p)
{
    for (size_t i = 0; i < p->n_tensors; i++)
        p->tensors[i].first = p->tensors[i].last = -1;
    for (size_t i = 0, n; i < p->n_steps; i += n) {
        n = p->steps[i].n_chained ? p->steps[i].n_chained : 1;
        for (const struct plan_step *s = &p->steps[i]; s < &p->steps[i + n]; s++) {
            use(p, s->in, (int)i, (int)(i + n - 1));
            use(p, s->add, (int)i, (int)(i + n - 1));
            use(p, s->out, (int)i, (int)(i + n - 1));
        }
    }
}

/* Does the last of n steps from index on, which go together, put its sum where its residual was, which nobody needs after
 * it? The first may read that, too, if it does so pixel by pixel: it is always ahead. */
static bool is_in_place(const struct plan *p, size_t index, size_t n)
{
    const struct plan_step *s = &p->steps[index + n - 1];

    if (s->op != PLAN_CONV || s->add < 0)
        return false;
    const struct plan_tensor *add = &p->tensors[s->add], *out = &p->tensors[s->out];
    if (out->root != s->out || add->root != s->add || add->last != (int)(index + n - 1) || out->first != (int)index ||
        root_size(add) != root_size(out))
        return false;
    for (size_t i = index; i < index + n; i++) {
        const struct cfg_layer *l = plan_layer(p, p->steps[i].conv_layer);
        bool ahead =
            i == index && n > 1 && p->steps[i].op == PLAN_CONV && l->size == 1 && l->stride == 1 && l->pad == 0;
        if (p->tensors[p->steps[i].in].root == s->add && !ahead)
            return false;
        if (i + 1 < index + n && p->steps[i].add >= 0 && p->tensors[p->steps[i].add].root == s->add)
            return false;
    }
    return true;
}

/* The roots that live at the same time as t and have their place, by rising offset. */
static size_t find_neighbours(const struct plan *p, const struct plan_tensor *t, const bool *placed,
                              const struct plan_tensor **found)
{
    size_t n = 0;

    for (size_t i = 1; i < p->n_tensors; i++) {
        const struct plan_tensor *other = &p->tensors[i];
        if (!placed[i] || other->last < t->first || t->last < other->first)
            continue;
        size_t at = n++;
        for (; at > 0 && found[at - 1]->offset > other->offset; at--)
            found[at] = found[at - 1];
        found[at] = other;
    }
    return n;
}

/* The lowest gap that is large enough. */
static size_t find_gap(const struct plan *p, const struct plan_tensor *t, const bool *placed)
{
    const struct plan_tensor *busy[PLAN_MAX_TENSORS];
    size_t n = find_neighbours(p, t, placed, busy), start = 0, size = root_size(t);

    for (size_t i = 0; i < n && start + size > busy[i]->offset; i++) {
        size_t end = busy[i]->offset + root_size(busy[i]);
        start = end > start ? end : start;
    }
    return start;
}

static void place_root(struct plan *p, int tensor, bool *placed)
{
    struct plan_tensor *t = &p->tensors[tensor];

    t->offset = find_gap(p, t, placed);
    placed[tensor] = true;
    if (t->offset + root_size(t) > p->pool_size)
        p->pool_size = t->offset + root_size(t);
}

static void place_step(struct plan *p, size_t first, size_t n, size_t index, bool *placed)
{
    const struct plan_step *s = &p->steps[index];
    int root = s->out < 0 ? 0 : p->tensors[s->out].root;

    if (root == 0 || placed[root])
        return;
    if (index == first + n - 1 && is_in_place(p, first, n)) {
        p->tensors[root].offset = p->tensors[s->add].offset;
        placed[root] = true;
    } else {
        place_root(p, root, placed);
    }
}

void plan_place(struct plan *p)
{
    bool *placed = xcalloc(p->n_tensors, sizeof *placed);

    find_lives(p);
    p->pool_size = LINE;
    for (size_t i = 0, n; i < p->n_steps; i += n) {
        n = p->steps[i].n_chained ? p->steps[i].n_chained : 1;
        for (size_t k = i; k < i + n; k++)
            place_step(p, i, n, k, placed);
    }
    free(placed);
}
