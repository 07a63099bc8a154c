/* plan_run.c - see plan_run.h. */
#include "plan_run.h"

#include "engine.h"
#include "layers.h"

#include <stdlib.h>
#include <string.h>

struct plan_run {
    struct plan *plan;
    const struct layers *layers;
    struct tensor *tensors; /* the plan's, with their memory */
    char *pool, *scratch;
    float *heads[CFG_MAX_HEADS];
};

static void bind_tensors(struct plan_run *r)
{
    const struct plan *p = r->plan;

    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        bool is_root = t->root == (int)i;
        r->tensors[i] = t->t;
        r->tensors[i].data = r->pool + p->tensors[t->root].offset + (is_root ? 0 : t->offset);
    }
}

struct plan_run *plan_run_new(struct plan *p)
{
    struct plan_run *r = xcalloc(1, sizeof *r);
    const struct cfg *c = p->net->cfg;

    r->plan = plan_acquire(p);
    r->layers = layers_get();
    r->tensors = xcalloc(p->n_tensors, sizeof *r->tensors);
    r->pool = xaligned(p->pool_size, 1);
    r->scratch = xaligned(p->scratch_size + 1, 1);
    for (size_t i = 0; i < c->n_heads; i++)
        r->heads[i] = xaligned(cfg_shape_size(c->layers[c->head_layer[i]].out), sizeof(float));
    bind_tensors(r);
    return r;
}

void plan_run_free(struct plan_run *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < CFG_MAX_HEADS; i++)
        free(r->heads[i]);
    free(r->scratch);
    free(r->pool);
    free(r->tensors);
    plan_release(r->plan);
    free(r);
}

/* Number by number: YOLO 2 has one such layer, and a small one. */
static void reorganise(const struct tensor *out, const struct tensor *in, const struct cfg_layer *l)
{
    size_t size = tensor_type_size(in->type), i = 0;

    for (size_t k = 0; k < out->c; k++)
        for (size_t to = 0; to < out->h * out->w; to++, i++) {
            size_t from = cfg_reorg_source(l, i), pixel = from % (in->h * in->w), channel = from / (in->h * in->w);
            memcpy((char *)out->data + (to * out->stride + k) * size,
                   (const char *)in->data + (pixel * in->stride + channel) * size, size);
        }
}

/* A step that can do some rows alone. */
static void run_rows(struct plan_run *r, const struct plan_step *s, size_t y0, size_t y1)
{
    const struct tensor *in = &r->tensors[s->in], *add = s->add < 0 ? NULL : &r->tensors[s->add];
    struct tensor *out = &r->tensors[s->out];
    const struct cfg_layer *l = plan_layer(r->plan, s->layer);

    if (s->op == PLAN_CONV)
        s->conv->method->run_rows(s->conv, &(struct conv_io){in, add, out, r->scratch}, y0, y1);
    else
        r->layers->maxpool(out, in, l->size, l->stride, l->pad, y0, y1);
}

/* Rows from y on until a ring begins anew. */
static size_t ring_end(const struct tensor *t, size_t y, size_t end)
{
    size_t next = t->ring ? (y / t->ring + 1) * t->ring : end;
    return next < end ? next : end;
}

/* The same, cut where a ring that has to lie in one piece begins anew: the output's, and a pointwise one's input's. */
static void run_ring_rows(struct plan_run *r, const struct plan_step *s, size_t y0, size_t y1)
{
    const struct cfg_layer *l = plan_layer(r->plan, s->op == PLAN_CONV ? s->conv_layer : s->layer);
    bool pointwise = l->size == 1 && l->stride == 1 && l->pad == 0;

    while (y0 < y1) {
        size_t end = ring_end(&r->tensors[s->out], y0, y1);
        if (pointwise)
            end = ring_end(&r->tensors[s->in], y0, end);
        run_rows(r, s, y0, end);
        y0 = end;
    }
}

/* Band by band of the last step's output, and for each what the steps before have to have done. */
static void run_chain(struct plan_run *r, const struct plan_step *first)
{
    size_t n = first->n_chained, h = r->tensors[first[n - 1].out].h, done[PLAN_MAX_CHAIN] = {0}, need[PLAN_MAX_CHAIN];

    for (size_t end = 0; end < h && !engine_stop_asked();) {
        end = end + first->band_rows < h ? end + first->band_rows : h;
        need[n - 1] = end;
        for (size_t i = n - 1; i > 0; i--)
            need[i - 1] = plan_rows_before(r->plan, first + i, need[i]);
        for (size_t i = 0; i < n; i++) {
            run_ring_rows(r, first + i, done[i], need[i]);
            done[i] = need[i];
        }
    }
}

static void run_step(struct plan_run *r, const struct plan_step *s)
{
    const struct tensor *in = &r->tensors[s->in], *add = s->add < 0 ? NULL : &r->tensors[s->add];
    struct tensor *out = &r->tensors[s->out < 0 ? s->in : s->out]; /* a head writes planes instead */
    const struct cfg_layer *l = plan_layer(r->plan, s->layer);

    if (engine_stop_asked())
        return;
    switch (s->op) {
    case PLAN_CONV:
        s->conv->method->run(s->conv, &(struct conv_io){in, add, out, r->scratch});
        break;
    case PLAN_MAXPOOL:
        r->layers->maxpool(out, in, l->size, l->stride, l->pad, 0, out->h);
        break;
    case PLAN_UPSAMPLE:
        r->layers->upsample(out, in, l->stride, 0, out->h);
        break;
    case PLAN_REORG:
        reorganise(out, in, l);
        break;
    case PLAN_ADD:
        r->layers->add(out, in, add, plan_slope(l->activation), 0, out->h);
        break;
    case PLAN_CONVERT:
        r->layers->convert(out, in, 0, out->h);
        break;
    case PLAN_LOGISTIC:
        r->layers->logistic(out, 0, out->h);
        break;
    case PLAN_PICTURE:
        r->layers->from_picture(out, in->data, 0, out->h);
        break;
    case PLAN_HEAD:
        r->layers->to_planes(r->heads[s->head], in);
        break;
    }
}

void plan_run_watched(struct plan_run *r, const float *picture, const struct plan_watch *watch)
{
    r->tensors[0].data = (float *)picture; /* only read */
    for (size_t i = 0, n; i < r->plan->n_steps; i += n) {
        n = r->plan->steps[i].n_chained;
        if (n)
            run_chain(r, &r->plan->steps[i]);
        else
            run_step(r, &r->plan->steps[i]);
        n = n ? n : 1;
        if (watch)
            watch->after(watch->ctx, i + n - 1);
    }
}

void plan_run_forward(struct plan_run *r, const float *picture)
{
    plan_run_watched(r, picture, NULL);
}

const float *plan_run_head(const struct plan_run *r, size_t head)
{
    return r->heads[head];
}

const struct tensor *plan_run_tensor(const struct plan_run *r, int tensor)
{
    return &r->tensors[tensor];
}
