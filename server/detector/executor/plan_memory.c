/* plan_memory.c - where each tensor lies in a run's memory: two share a place unless both are in use at the same step. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define LINE 64

static size_t root_size(const struct plan_tensor *t)
{
    size_t size = t->t.h * t->t.w * t->t.stride * tensor_type_size(t->t.type);
    return (size + LINE - 1) / LINE * LINE;
}

static void use(struct plan *p, int tensor, int step)
{
    if (tensor < 0)
        return;
    struct plan_tensor *root = &p->tensors[p->tensors[tensor].root];
    if (root->first < 0)
        root->first = step;
    root->last = step;
}

static void find_lives(struct plan *p)
{
    for (size_t i = 0; i < p->n_tensors; i++)
        p->tensors[i].first = p->tensors[i].last = -1;
    for (size_t i = 0; i < p->n_steps; i++) {
        use(p, p->steps[i].in, (int)i);
        use(p, p->steps[i].add, (int)i);
        use(p, p->steps[i].out, (int)i);
    }
}

/* Does the sum of step s go where its residual was, which nobody needs after it? */
static bool is_in_place(const struct plan *p, const struct plan_step *s, int index)
{
    const struct plan_tensor *add = s->add < 0 ? NULL : &p->tensors[s->add],
                             *out = &p->tensors[s->out < 0 ? 0 : s->out];

    return add && out->root == s->out && add->root == s->add && add->last == index && out->first == index &&
           p->tensors[s->in].root != s->add && root_size(add) == root_size(out);
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

void plan_place(struct plan *p)
{
    bool *placed = xcalloc(p->n_tensors, sizeof *placed);

    find_lives(p);
    p->pool_size = LINE;
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        int root = s->out < 0 ? 0 : p->tensors[s->out].root;
        if (root == 0 || placed[root])
            continue;
        if (is_in_place(p, s, (int)i)) {
            p->tensors[root].offset = p->tensors[s->add].offset;
            placed[root] = true;
        } else {
            place_root(p, root, placed);
        }
    }
    free(placed);
}
