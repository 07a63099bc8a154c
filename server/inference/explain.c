/* explain.c - see explain.h. nn_explain() says what each character and each hashed n-gram adds to the score; here these
 * are led back to their places in the text as it was given, and an n-gram's contribution is shared out, in equal parts,
 * among its occurrences and the characters of each. Formulas: classify.proto. */
#include "explain.h"

#include "classify.h"
#include "text/text.h"

#include "bloginfer/v1/classify.pb-c.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NGRAMS_PRESET 20
#define NGRAMS_MAX    1000
#define LONGEST       3 /* characters of an n-gram */
#define TEXT_SIZE     (4 * LONGEST + 1)

/* One text as the model reads it, in the arena of the call. */
struct reading {
    uint32_t *points, *places; /* (n,) */
    size_t n;
    bool clipped;
    struct nn_example example;
};

/* One hashed n-gram of the text. */
struct gram {
    uint32_t id;
    float contribution;
    uint32_t first, length; /* where it begins first, in the reading, and its characters there */
    uint32_t count;         /* occurrences */
};

struct explanation {
    struct reading reading;
    float *chars;       /* (n,) */
    struct gram *grams; /* (n_grams,), by rising id */
    size_t n_grams;
    uint32_t about;
    float score, bias;
};

static struct status no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the text is too long to be explained");
}

/* ---- reading ---- */

static struct status tokens_make(struct reading *r, struct arena *a, const struct nn_shape *shape)
{
    uint16_t *ids = arena_alloc(a, r->n * sizeof *ids);
    uint32_t *ngrams = arena_alloc(a, LONGEST * r->n * sizeof *ngrams);

    if (!ids || !ngrams)
        return no_room();
    for (size_t i = 0; i < r->n; i++)
        ids[i] = text_id(r->points[i]);
    r->example = (struct nn_example){.ids = ids,
                                     .n_ids = (uint32_t)r->n,
                                     .ngrams = ngrams,
                                     .n_ngrams = (uint32_t)text_ngrams(r->points, r->n, shape->buckets, ngrams)};
    return status_ok();
}

/* As text_tokenise() does it, with the places. */
static struct status text_read(struct reading *r, struct arena *a, const char *text, const struct nn_shape *shape)
{
    size_t size = strlen(text);

    if (size > TEXT_MAX_BYTES)
        return status_errorf(ST_INVALID, "text of %zu bytes: at most %d are read", size, TEXT_MAX_BYTES);
    r->points = arena_alloc(a, (size + 1) * sizeof *r->points);
    r->places = arena_alloc(a, (size + 1) * sizeof *r->places);
    if (!r->points || !r->places)
        return no_room();
    struct status st = text_places(text, size, r->points, r->places, &r->n);
    if (st.code)
        return st;
    r->clipped = r->n > shape->max_tokens;
    text_clip(r->places, r->n, shape->max_tokens);
    r->n = text_clip(r->points, r->n, shape->max_tokens);
    if (!r->n) {
        r->points[0] = ' ';
        r->places[0] = 0;
        r->n = 1;
    }
    return tokens_make(r, a, shape);
}

/* ---- contributions ---- */

static int gram_compare(const void *a, const void *b)
{
    const struct gram *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static struct gram *gram_at(const struct explanation *e, size_t i, size_t length, const struct nn_shape *shape)
{
    const struct gram key = {.id = text_ngram(e->reading.points + i, length, shape->buckets)};

    return bsearch(&key, e->grams, e->n_grams, sizeof *e->grams, gram_compare);
}

static size_t longest_at(const struct explanation *e, size_t i)
{
    return e->reading.n - i < LONGEST ? e->reading.n - i : LONGEST;
}

static void grams_count(struct explanation *e, const struct nn_shape *shape)
{
    for (size_t i = 0; i < e->reading.n; i++)
        for (size_t length = 1; length <= longest_at(e, i); length++) {
            struct gram *g = gram_at(e, i, length, shape);
            if (!g->count++) {
                g->first = (uint32_t)i;
                g->length = (uint32_t)length;
            }
        }
}

static void grams_share_out(struct explanation *e, const struct nn_shape *shape)
{
    for (size_t i = 0; i < e->reading.n; i++)
        for (size_t length = 1; length <= longest_at(e, i); length++) {
            const struct gram *g = gram_at(e, i, length, shape);
            float share = g->contribution / (float)(g->count * length);
            for (size_t k = 0; k < length; k++)
                e->chars[i + k] += share;
        }
}

/* The part of the score that no text has to do with. */
static float bias_of(const struct classifier *c, uint32_t class)
{
    struct nn_tensor tensors[NN_MAX_TENSORS];
    const struct nn_tensor *bias = nn_tensor_find(tensors, nn_tensors(&c->shape, tensors), "out.b");
    const float *values = c->params + bias->offset;
    double others = 0;

    for (uint32_t i = 0; i < c->shape.classes; i++)
        others += i == class ? 0 : (double)values[i];
    return (float)((double)values[class] - others / (c->shape.classes - 1));
}

static struct status contributions(struct explanation *e, struct arena *a, const struct classifier *c)
{
    const struct reading *r = &e->reading;
    float *ngrams = arena_alloc(a, (r->example.n_ngrams + 1) * sizeof *ngrams);

    e->n_grams = r->example.n_ngrams;
    e->chars = arena_alloc(a, r->n * sizeof *e->chars);
    e->grams = arena_zalloc(a, e->n_grams + 1, sizeof *e->grams);
    if (!ngrams || !e->chars || !e->grams)
        return no_room();
    e->score = (float)nn_explain(&c->shape, c->params, &r->example, e->about, e->chars, ngrams);
    e->bias = bias_of(c, e->about);
    for (size_t i = 0; i < e->n_grams; i++)
        e->grams[i] = (struct gram){.id = r->example.ngrams[i], .contribution = ngrams[i]};
    if (e->n_grams) {
        grams_count(e, &c->shape);
        grams_share_out(e, &c->shape);
    }
    return status_ok();
}

/* ---- the answer ---- */

static bool characters_fill(struct arena *a, Bloginfer__V1__ExplainResponse *rep, const struct explanation *e)
{
    Bloginfer__V1__CharacterContribution *rows = arena_zalloc(a, e->reading.n, sizeof *rows);

    rep->characters = arena_zalloc(a, e->reading.n, sizeof(void *));
    if (!rows || !rep->characters)
        return false;
    for (size_t i = 0; i < e->reading.n; i++) {
        char text[TEXT_SIZE];
        bloginfer__v1__character_contribution__init(&rows[i]);
        text_encode(e->reading.points[i], text);
        rows[i].text = arena_strdup(a, text);
        rows[i].position = e->reading.places[i];
        rows[i].contribution = e->chars[i];
        rep->characters[i] = &rows[i];
        if (!rows[i].text)
            return false;
    }
    rep->n_characters = e->reading.n;
    return true;
}

static int strongest_first(const void *a, const void *b)
{
    const struct gram *x = a, *y = b;
    float p = fabsf(x->contribution), q = fabsf(y->contribution);

    return p < q ? 1 : p > q ? -1 : gram_compare(a, b);
}

/* Every place where an n-gram with this id begins. */
static bool positions_fill(struct arena *a, Bloginfer__V1__NgramContribution *out, const struct explanation *e,
                           const struct gram *g, const struct nn_shape *shape)
{
    out->positions = arena_alloc(a, g->count * sizeof *out->positions);
    if (!out->positions)
        return false;
    for (size_t i = 0; i < e->reading.n; i++)
        for (size_t length = 1; length <= longest_at(e, i) && out->n_positions < g->count; length++)
            if (text_ngram(e->reading.points + i, length, shape->buckets) == g->id)
                out->positions[out->n_positions++] = e->reading.places[i];
    return true;
}

static bool gram_fill(struct arena *a, Bloginfer__V1__NgramContribution *out, const struct explanation *e,
                      const struct gram *g, const struct nn_shape *shape)
{
    char text[TEXT_SIZE];
    size_t size = 0;

    bloginfer__v1__ngram_contribution__init(out);
    for (size_t k = 0; k < g->length; k++)
        size += text_encode(e->reading.points[g->first + k], text + size);
    out->text = arena_strdup(a, text);
    out->contribution = g->contribution;
    return out->text && positions_fill(a, out, e, g, shape);
}

/* Reorders e->grams. */
static bool ngrams_fill(struct arena *a, Bloginfer__V1__ExplainResponse *rep, struct explanation *e, size_t max,
                        const struct nn_shape *shape)
{
    size_t n = e->n_grams < max ? e->n_grams : max;
    Bloginfer__V1__NgramContribution *rows = arena_zalloc(a, n + 1, sizeof *rows);

    rep->ngrams = arena_zalloc(a, n + 1, sizeof(void *));
    if (!rows || !rep->ngrams)
        return false;
    qsort(e->grams, e->n_grams, sizeof *e->grams, strongest_first);
    for (size_t i = 0; i < n && e->grams[i].contribution != 0; i++) {
        if (!gram_fill(a, &rows[i], e, &e->grams[i], shape))
            return false;
        rep->ngrams[rep->n_ngrams++] = &rows[i];
    }
    return true;
}

static bool label_fill(struct arena *a, Bloginfer__V1__ExplainResponse *rep, const struct classifier *c,
                       const float *probs, uint32_t label)
{
    Bloginfer__V1__LabelProbability *rows = arena_zalloc(a, c->shape.classes, sizeof *rows);

    rep->probabilities = arena_zalloc(a, c->shape.classes, sizeof(void *));
    rep->label = arena_strdup(a, c->labels[label]);
    rep->task = arena_strdup(a, c->task);
    if (!rows || !rep->probabilities || !rep->label || !rep->task)
        return false;
    for (uint32_t i = 0; i < c->shape.classes; i++) {
        bloginfer__v1__label_probability__init(&rows[i]);
        rows[i].label = arena_strdup(a, c->labels[i]);
        rows[i].probability = probs[i];
        rep->probabilities[i] = &rows[i];
        if (!rows[i].label)
            return false;
    }
    rep->n_probabilities = c->shape.classes;
    return true;
}

static float remainder_of(const struct explanation *e)
{
    double sum = (double)e->score - (double)e->bias;

    for (size_t i = 0; i < e->reading.n; i++)
        sum -= (double)e->chars[i];
    return (float)sum;
}

static struct status answer(struct arena *a, const struct served_model *m, const Bloginfer__V1__ExplainRequest *req,
                            Bloginfer__V1__ExplainResponse *rep)
{
    const struct classifier *c = m->classifier;
    struct explanation e = {0};
    float probs[NN_MAX_CLASSES];
    struct status st = text_read(&e.reading, a, req->text, &c->shape);

    if (st.code)
        return st;
    struct nn_scratch *scratch = engine_scratch_new(m->engine, 1);
    engine_run(m->engine, scratch, &e.reading.example, 1, probs, NULL, NULL);
    nn_scratch_free(scratch);
    uint32_t label = classifier_label(c, probs, served_parameters(m).threshold, &rep->prob);
    e.about = c->shape.classes == 2 ? 1 : label;
    st = contributions(&e, a, c);
    if (st.code)
        return st;
    rep->version = m->version;
    rep->about = arena_strdup(a, c->labels[e.about]);
    rep->score = e.score;
    rep->bias = e.bias;
    rep->remainder = remainder_of(&e);
    rep->clipped = e.reading.clipped;
    bool ok = rep->about && label_fill(a, rep, c, probs, label) && characters_fill(a, rep, &e) &&
              ngrams_fill(a, rep, &e, req->max_ngrams ? req->max_ngrams : NGRAMS_PRESET, &c->shape);
    return ok ? status_ok() : no_room();
}

/* ClassifyService/Explain. */
struct status explain(struct rpc_call *call, const void *in, void *out)
{
    const struct classify *c = rpc_service(call);
    const Bloginfer__V1__ExplainRequest *req = in;
    struct served_model *m = NULL;

    if (req->max_ngrams > NGRAMS_MAX)
        return status_errorf(ST_INVALID, "max_ngrams %u: must be at most %d", req->max_ngrams, NGRAMS_MAX);
    const struct served_query q = {.task = req->task[0] ? req->task : CLASSIFY_TASK, .version = req->version};
    struct status st = served_acquire(c->served, &q, &m);
    if (!st.code)
        st = answer(rpc_arena(call), m, req, out);
    served_release(m);
    return st;
}
