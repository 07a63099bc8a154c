/* served_list.c - see served_list.h. Names are copied: the model may be gone when the answer is sent. */
#include "served_list.h"

/* NULL: no room. */
static char **labels_copy(struct arena *a, const struct classifier *c)
{
    char **labels = arena_alloc(a, c->shape.classes * sizeof *labels);

    for (uint32_t i = 0; labels && i < c->shape.classes; i++)
        if (!(labels[i] = arena_strdup(a, c->labels[i])))
            return NULL;
    return labels;
}

static Bloginfer__V1__ModelParameters *settings_new(struct arena *a, const struct model_parameters *p)
{
    Bloginfer__V1__ModelParameters *out = arena_alloc(a, sizeof *out);

    if (!out)
        return NULL;
    bloginfer__v1__model_parameters__init(out);
    out->threshold = p->threshold;
    out->max_batch = p->max_batch;
    out->max_queue_delay_us = p->max_queue_delay_us;
    out->canary_percent = p->canary_percent;
    out->shadow_percent = p->shadow_percent;
    return out;
}

static Bloginfer__V1__CallFigures *figures_new(struct arena *a, const struct canary_figures *f)
{
    Bloginfer__V1__CallFigures *out = arena_alloc(a, sizeof *out);

    if (!out)
        return NULL;
    bloginfer__v1__call_figures__init(out);
    out->calls = f->calls;
    out->failures = f->failures;
    out->mean_seconds = f->mean_s;
    out->p95_seconds = f->p95_s;
    return out;
}

static Bloginfer__V1__Comparison *comparison_new(struct arena *a, const struct served_state *now)
{
    Bloginfer__V1__Comparison *out = arena_alloc(a, sizeof *out);

    if (!out)
        return NULL;
    bloginfer__v1__comparison__init(out);
    out->rolled_back = now->rolled_back;
    out->why = arena_strdup(a, now->rolled_back ? now->canary.why : "");
    out->production_calls = figures_new(a, &now->canary.arms[CANARY_PRODUCTION]);
    out->candidate_calls = figures_new(a, &now->canary.arms[CANARY_CANDIDATE]);
    out->shadow_texts = now->shadow.texts;
    out->shadow_agreed = now->shadow.agreed;
    out->shadow_failed = now->shadow.failed;
    out->shadow_largest_difference = now->shadow.largest_difference;
    return out->why && out->production_calls && out->candidate_calls ? out : NULL;
}

static bool model_fill(struct arena *a, Bloginfer__V1__ServedModel *out, const struct served_model *m)
{
    const struct classifier *c = m->classifier;
    const struct served_state now = served_state(m);
    bool compared = now.candidate && !now.production;

    bloginfer__v1__served_model__init(out);
    out->task = arena_strdup(a, c->task);
    out->version = m->version;
    out->architecture = (char *)nn_family_name(c->shape.family);
    out->labels = labels_copy(a, c);
    out->n_labels = out->labels ? c->shape.classes : 0;
    out->sha256 = arena_strdup(a, m->sha256);
    out->parameters = c->n_params;
    out->production = now.production;
    out->candidate = now.candidate;
    out->loads = now.loads;
    out->engine = (char *)engine_name(m->engine);
    out->settings = settings_new(a, &now.parameters);
    out->comparison = compared ? comparison_new(a, &now) : NULL;
    return out->task && out->labels && out->sha256 && out->settings && (out->comparison || !compared);
}

struct status served_list(struct served *s, struct arena *a, Bloginfer__V1__ListServedModelsResponse *out)
{
    struct served_model *models[SERVED_MAX_MODELS];
    size_t n = served_acquire_all(s, models);
    Bloginfer__V1__ServedModel *rows = arena_zalloc(a, n, sizeof *rows);
    bool ok = true;

    out->models = arena_zalloc(a, n, sizeof(void *));
    for (size_t i = 0; i < n; i++) {
        ok = ok && rows && out->models && model_fill(a, &rows[i], models[i]);
        if (ok)
            out->models[out->n_models++] = &rows[i];
        served_release(models[i]);
    }
    return ok ? status_ok() : status_errorf(ST_EXHAUSTED, "the answer is too large");
}
