/* engine.c - see engine.h. */
#include "classifier/engine.h"

#include "classifier/probe_texts.h"
#include "text/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEASURE_ROUNDS 3 /* of each engine, turn by turn; the best counts */
#define MEASURE_EVERY  4 /* of the texts, which go from short to long */

struct engine {
    enum engine_kind kind;
    struct nn_shape shape;
    struct nn_predictor *predictor;
};

static const char *const kind_names[] = {"auto", "fp32", "int8"};

const char *engine_kind_name(enum engine_kind kind)
{
    return kind_names[kind];
}

struct status engine_kind_parse(const char *name, enum engine_kind *kind)
{
    for (size_t i = 0; i < COUNT_OF(kind_names); i++)
        if (strcmp(name, kind_names[i]) == 0) {
            *kind = (enum engine_kind)i;
            return status_ok();
        }
    return status_errorf(ST_INVALID, "engine \"%.32s\": must be auto, fp32 or int8", name);
}

/* ---- the probe texts as this model reads them ---- */

struct probes {
    struct arena arena;
    struct nn_scratch *scratch;
    struct nn_example texts[PROBE_TEXTS];
    float fp32[PROBE_TEXTS * NN_MAX_CLASSES], int8[PROBE_TEXTS * NN_MAX_CLASSES]; /* probabilities */
};

/* As text_tokenise() takes them from an arena, and the texts normalised beside. */
#define PROBE_ARENA ((size_t)PROBE_TEXTS * (14 * NN_MAX_TOKENS + 16 * 1024))

static struct status probes_init(struct probes *p, const struct nn_shape *s)
{
    struct status st = status_ok();

    arena_init(&p->arena, PROBE_ARENA);
    p->scratch = nn_scratch_new(s, PROBE_TEXTS);
    for (size_t i = 0; i < PROBE_TEXTS && !st.code; i++) {
        struct text_tokens t;
        st = text_tokenise(&t, &p->arena, probe_texts[i], strlen(probe_texts[i]), s->max_tokens,
                           s->buckets ? s->buckets : 2);
        if (!st.code)
            p->texts[i] = (struct nn_example){t.ids, t.n_ids, t.ngrams, s->buckets ? t.n_ngrams : 0, 0};
    }
    return st;
}

static void probes_fini(struct probes *p)
{
    nn_scratch_free(p->scratch);
    arena_fini(&p->arena);
}

/* Texts alone and then in one batch, as both occur in service; returns seconds for a text. */
static double probes_time(struct probes *p, const struct nn_predictor *predictor)
{
    struct nn_example texts[PROBE_TEXTS / MEASURE_EVERY];
    float probs[COUNT_OF(texts) * NN_MAX_CLASSES];
    const size_t n_runs = 2 * COUNT_OF(texts);
    int64_t start = clock_now();

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        texts[i] = p->texts[i * MEASURE_EVERY];
        nn_predictor_run(predictor, p->scratch, &texts[i], 1, probs, NULL, NULL);
    }
    nn_predictor_run(predictor, p->scratch, texts, COUNT_OF(texts), probs, NULL, NULL);
    return clock_seconds(start) / (double)n_runs;
}

/* ---- int8 against fp32 ---- */

/* Returns whether int8 is good enough. */
static bool compare(struct probes *p, const struct classifier *c, const struct nn_predictor *fp32,
                    const struct nn_predictor *int8, struct engine_report *r)
{
    size_t C = c->shape.classes;
    float unused;

    nn_predictor_run(fp32, p->scratch, p->texts, PROBE_TEXTS, p->fp32, NULL, NULL);
    nn_predictor_run(int8, p->scratch, p->texts, PROBE_TEXTS, p->int8, NULL, NULL);
    r->n_texts = PROBE_TEXTS;
    for (size_t i = 0; i < PROBE_TEXTS; i++) {
        r->n_changed += classifier_label(c, p->fp32 + i * C, CLASSIFIER_THRESHOLD, &unused) !=
                        classifier_label(c, p->int8 + i * C, CLASSIFIER_THRESHOLD, &unused);
        for (size_t k = 0; k < C; k++)
            r->largest_difference = fmax(r->largest_difference, fabsf(p->fp32[i * C + k] - p->int8[i * C + k]));
    }
    if (r->n_changed)
        snprintf(r->why, sizeof r->why, "int8 refused: %u of %u labels change", r->n_changed, r->n_texts);
    else if (r->largest_difference > ENGINE_MAX_DIFFERENCE)
        snprintf(r->why, sizeof r->why, "int8 refused: a probability differs by %.4f, more than %.2f",
                 r->largest_difference, ENGINE_MAX_DIFFERENCE);
    else
        return true;
    return false;
}

/* Turn by turn, so that a CPU that changes its speed does so for both. Returns whether int8 is faster. */
static bool measure(struct probes *p, const struct nn_predictor *fp32, const struct nn_predictor *int8,
                    struct engine_report *r)
{
    double best_fp32 = INFINITY, best_int8 = INFINITY;

    for (int round = 0; round < MEASURE_ROUNDS; round++) {
        best_fp32 = fmin(best_fp32, probes_time(p, fp32));
        best_int8 = fmin(best_int8, probes_time(p, int8));
    }
    r->fp32_us = 1e6 * best_fp32;
    r->int8_us = 1e6 * best_int8;
    return best_int8 < best_fp32;
}

static struct status choose(struct engine_report *r, const struct classifier *c, enum engine_kind wanted,
                            const struct nn_predictor *fp32, const struct nn_predictor *int8)
{
    struct probes *p = xcalloc(1, sizeof *p);
    struct status st = probes_init(p, &c->shape);

    r->chosen = ENGINE_FP32;
    if (!st.code && compare(p, c, fp32, int8, r)) {
        bool faster = wanted == ENGINE_AUTO && measure(p, fp32, int8, r);
        r->chosen = faster || wanted == ENGINE_INT8 ? ENGINE_INT8 : ENGINE_FP32;
        snprintf(r->why, sizeof r->why, "%s is %s", engine_kind_name(r->chosen),
                 wanted == ENGINE_AUTO ? "faster" : "what was asked for");
    }
    probes_fini(p);
    free(p);
    return st;
}

/* ---- making one ---- */

struct status engine_new(struct engine **out, const struct classifier *c, enum engine_kind wanted,
                         struct engine_report *report)
{
    struct nn_predictor *fp32 = NULL, *int8 = NULL;
    struct engine_report r = {.chosen = ENGINE_FP32};
    struct status st = nn_predictor_new(&fp32, &c->shape, c->params, NN_FP32);

    if (st.code)
        return st;
    if (wanted == ENGINE_FP32) {
        snprintf(r.why, sizeof r.why, "fp32 is what was asked for");
    } else {
        st = nn_predictor_new(&int8, &c->shape, c->params, NN_INT8);
        if (st.code == ST_UNIMPLEMENTED) {
            snprintf(r.why, sizeof r.why, "family %s has no int8", nn_family_name(c->shape.family));
            st = status_ok();
        } else if (!st.code) {
            st = choose(&r, c, wanted, fp32, int8);
        }
    }
    if (!st.code) {
        struct engine *e = xmalloc(sizeof *e);
        *e = (struct engine){r.chosen, c->shape, r.chosen == ENGINE_INT8 ? int8 : fp32};
        *(r.chosen == ENGINE_INT8 ? &int8 : &fp32) = NULL; /* given away */
        if (report)
            *report = r;
        *out = e;
    }
    nn_predictor_free(fp32);
    nn_predictor_free(int8);
    return st;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    nn_predictor_free(e->predictor);
    free(e);
}

const char *engine_name(const struct engine *e)
{
    return engine_kind_name(e->kind);
}

size_t engine_bytes(const struct engine *e)
{
    return sizeof *e + nn_predictor_bytes(e->predictor);
}

const struct nn_shape *engine_shape(const struct engine *e)
{
    return &e->shape;
}

struct nn_scratch *engine_scratch_new(const struct engine *e, uint32_t max_batch)
{
    return nn_scratch_new(&e->shape, max_batch);
}

bool engine_run(const struct engine *e, struct nn_scratch *scratch, const struct nn_example *batch, uint32_t n,
                float *probs, bool (*cancelled)(void *arg), void *arg)
{
    return nn_predictor_run(e->predictor, scratch, batch, n, probs, cancelled, arg);
}
