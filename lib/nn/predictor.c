/* predictor.c - see predictor.h. The recurrent families run on infer.h; the others, which are a few sums a text, as
 * nn_predict() does, on parameters of their own. */
#include "nn/predictor.h"
#include "nn/head.h"
#include "nn/kernels.h"
#include "nn/prepare.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ASK_STEPS 16 /* steps of a group of texts between two questions whether to go on */
#define ASK_TEXTS 8  /* the same for families without steps */

struct nn_predictor {
    struct nn_shape shape;
    enum nn_precision precision;
    size_t bytes;
    const struct infer_kernels *kernels;
    struct infer_net net;
    struct head head;
    float *out_w;  /* (C,n_directions Hp), transposed and padded */
    float *out_b;  /* (C,) */
    float *ngram;  /* (G,C) */
    float *params; /* all of them, of a family that is not recurrent */
};

struct nn_scratch {
    struct nn_shape shape;
    uint32_t max_batch;
    struct nn_workspace *ws; /* of a family that is not recurrent; it has nothing of what follows */
    uint32_t *order;         /* (max_batch,): rows of the caller's batch, longest first */
    uint32_t *counts;        /* (max_tokens+1,) */
    char *states;            /* INFER_MAX_ROWS of state_bytes each */
    size_t state_bytes;
};

static const struct nn_objective no_dropout = {0};

/* ---- which kernels ---- */

static const struct infer_kernels *const kernels[ISA_N] = {
    [ISA_PORTABLE] = &infer_kernels_portable,
#ifdef __x86_64__
    [ISA_AVX2] = &infer_kernels_avx2,         [ISA_AVX2VNNI] = &infer_kernels_avx2vnni,
    [ISA_AVX512] = &infer_kernels_avx512,     [ISA_AVX512VNNI] = &infer_kernels_avx512vnni,
#endif
};

const struct infer_kernels *infer_kernels_find(enum isa isa)
{
    return isa_supported(isa) ? kernels[isa] : NULL;
}

const char *nn_predictor_isa(void)
{
    return kernels[nn_isa()]->isa;
}

/* ---- making one ---- */

static bool recurrent(const struct nn_shape *s)
{
    return s->family == NN_LSTM || s->family == NN_LSTM_PLAIN;
}

static struct status params_check(const struct nn_shape *s, const float *params)
{
    size_t n = nn_n_params(s);

    for (size_t i = 0; i < n; i++)
        if (!isfinite(params[i]))
            return status_errorf(ST_INVALID, "parameter %zu of %zu is not finite", i, n);
    return status_ok();
}

/* Pages of its own, so that all of a predictor leaves the process at once when it is freed: malloc() would keep blocks
 * of this size for the next one, and a service that swaps models would hold the memory of more than it serves. */
static struct status pages_new(char **out, size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    *out = xaligned(bytes, 1); /* overruns show */
#else
    *out = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (*out == MAP_FAILED)
        return status_errno("%zu bytes for a predictor", bytes);
#endif
    return status_ok();
}

static void pages_free(void *pages, size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    (void)bytes;
    free(pages);
#else
    munmap(pages, bytes);
#endif
}

static void place(struct nn_predictor *p, struct prepare_block *b)
{
    const struct nn_shape *s = &p->shape;

    prepare_take(b, 1, sizeof *p);
    if (!recurrent(s)) {
        p->params = prepare_take(b, nn_n_params(s), sizeof *p->params);
        return;
    }
    prepare_place(&p->net, b, s, p->precision);
    p->out_w = prepare_take(b, s->classes * p->net.n_directions * p->net.padded, sizeof *p->out_w);
    p->out_b = prepare_take(b, s->classes, sizeof *p->out_b);
    p->ngram = prepare_take(b, (size_t)s->buckets * s->classes, sizeof *p->ngram);
}

static void fill_head(const struct nn_predictor *p, const float *params)
{
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = nn_tensors(&p->shape, t), C = p->shape.classes, H = p->net.hidden, Hp = p->net.padded;
    const float *w = params + nn_tensor_find(t, n, "out.w")->offset;
    const struct nn_tensor *b = nn_tensor_find(t, n, "out.b"), *ngram = nn_tensor_find(t, n, "ngram");

    for (size_t k = 0; k < C; k++)
        for (size_t d = 0; d < p->net.n_directions; d++)
            for (size_t j = 0; j < H; j++)
                p->out_w[(k * p->net.n_directions + d) * Hp + j] = w[(d * H + j) * C + k];
    memcpy(p->out_b, params + b->offset, b->n * sizeof *params);
    if (ngram)
        memcpy(p->ngram, params + ngram->offset, ngram->n * sizeof *params);
}

struct status nn_predictor_new(struct nn_predictor **out, const struct nn_shape *s, const float *params,
                               enum nn_precision precision)
{
    struct status st = params_check(s, params);
    struct nn_predictor head = {.shape = *s, .precision = precision, .kernels = kernels[nn_isa()]};
    struct prepare_block block = {NULL, 0};

    if (!st.code && precision == NN_INT8 && !recurrent(s))
        st = status_errorf(ST_UNIMPLEMENTED, "int8 of family %s", nn_family_name(s->family));
    if (st.code)
        return st;
    place(&head, &block);
    head.bytes = block.used;
    block.used = 0;
    st = pages_new(&block.base, head.bytes);
    if (st.code)
        return st;
    struct nn_predictor *p = (struct nn_predictor *)block.base;
    *p = head;
    place(p, &block);
    p->head = head_of(s);
    if (recurrent(s)) {
        prepare_fill(&p->net, s, params, precision, p->kernels);
        fill_head(p, params);
    } else {
        memcpy(p->params, params, nn_n_params(s) * sizeof *params);
    }
    *out = p;
    return st;
}

void nn_predictor_free(struct nn_predictor *p)
{
    if (p)
        pages_free(p, p->bytes);
}

size_t nn_predictor_bytes(const struct nn_predictor *p)
{
    return p->bytes;
}

/* ---- scratch ---- */

static void steps_new(struct nn_scratch *scratch)
{
    struct infer_net net;
    struct prepare_block unused = {NULL, 0};

    prepare_place(&net, &unused, &scratch->shape, NN_FP32);
    scratch->order = xcalloc(scratch->max_batch, sizeof *scratch->order);
    scratch->counts = xcalloc(scratch->shape.max_tokens + 1, sizeof *scratch->counts);
    scratch->state_bytes = net.n_directions * net.padded * 4 * sizeof(float); /* pool, c and twice h */
    scratch->states = xaligned(INFER_MAX_ROWS, scratch->state_bytes);
}

struct nn_scratch *nn_scratch_new(const struct nn_shape *s, uint32_t max_batch)
{
    struct nn_scratch *scratch = xcalloc(1, sizeof *scratch);

    assert(max_batch > 0 && max_batch <= NN_MAX_BATCH);
    scratch->shape = *s;
    scratch->max_batch = max_batch;
    if (recurrent(s))
        steps_new(scratch);
    else
        scratch->ws = nn_workspace_new(s, max_batch);
    return scratch;
}

void nn_scratch_free(struct nn_scratch *scratch)
{
    if (!scratch)
        return;
    nn_workspace_free(scratch->ws);
    free(scratch->order);
    free(scratch->counts);
    free(scratch->states);
    free(scratch);
}

/* ---- a run ---- */

/* A counting sort: longest first, equal lengths in the caller's order. */
static void sort(struct nn_scratch *scratch, const struct nn_example *batch, uint32_t n)
{
    uint32_t *counts = scratch->counts, L = scratch->shape.max_tokens, before = 0;

    memset(counts, 0, (L + 1) * sizeof *counts);
    for (uint32_t i = 0; i < n; i++)
        counts[batch[i].n_ids]++;
    for (uint32_t length = L + 1; length-- > 0;) {
        uint32_t rows = counts[length];
        counts[length] = before;
        before += rows;
    }
    for (uint32_t i = 0; i < n; i++)
        scratch->order[counts[batch[i].n_ids]++] = i;
}

/* A text before its first step, in state r of the scratch. */
static struct infer_text text_start(const struct nn_predictor *p, const struct nn_scratch *scratch, size_t r,
                                    const struct nn_example *x)
{
    size_t n = p->net.n_directions * p->net.padded;
    float *state = (float *)(scratch->states + r * scratch->state_bytes);
    struct infer_text text = {x->ids, x->n_ids, state, state + n, state + 2 * n};

    for (size_t i = 0; i < n; i++)
        text.pool[i] = -2; /* below any h */
    memset(text.c, 0, n * sizeof *text.c);
    if (p->precision == NN_INT8)
        memset(text.h, INFER_INT8_ZERO, 2 * n);
    else
        memset(text.h, 0, 2 * n * sizeof(float));
    return text;
}

/* All steps of n texts, longest first; false: cancelled. */
static bool group_run(const struct nn_predictor *p, const struct infer_text *texts, size_t n,
                      bool (*cancelled)(void *arg), void *arg)
{
    for (size_t t = 0, to; t < texts[0].n_ids; t = to) {
        if (cancelled && cancelled(arg))
            return false;
        while (texts[n - 1].n_ids <= t)
            n--;
        to = texts[n - 1].n_ids < t + ASK_STEPS ? texts[n - 1].n_ids : t + ASK_STEPS;
        (p->precision == NN_INT8 ? p->kernels->int8 : p->kernels->fp32)(&p->net, texts, n, t, to);
    }
    return true;
}

/* The sum of table rows (G,C), in sums (C,). */
static void ngram_sum(const float *table, size_t C, const struct ngrams *g, float *sums)
{
    memset(sums, 0, C * sizeof *sums);
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < C; k++)
            sums[k] += table[g->ids[i] * C + k];
}

static void answer(const struct nn_predictor *p, const struct nn_example *x, const float *features, float *probs)
{
    size_t C = p->shape.classes, n = p->net.n_directions * p->net.padded;
    const struct ngrams grams = head_ngrams(&p->head, x, 0, &no_dropout, 0);
    float sums[NN_MAX_CLASSES];

    ngram_sum(p->ngram, C, &grams, sums);
    for (size_t k = 0; k < C; k++)
        probs[k] = p->out_b[k] + p->kernels->dot(features, p->out_w + k * n, n) + grams.value * sums[k];
    head_softmax(probs, C);
}

static bool run_steps(const struct nn_predictor *p, struct nn_scratch *scratch, const struct nn_example *batch,
                      uint32_t n, float *probs, bool (*cancelled)(void *arg), void *arg)
{
    struct infer_text texts[INFER_MAX_ROWS];

    sort(scratch, batch, n);
    for (uint32_t first = 0; first < n; first += INFER_MAX_ROWS) {
        const uint32_t *order = scratch->order + first;
        size_t rows = n - first < INFER_MAX_ROWS ? n - first : INFER_MAX_ROWS;

        for (size_t r = 0; r < rows; r++)
            texts[r] = text_start(p, scratch, r, &batch[order[r]]);
        if (!group_run(p, texts, rows, cancelled, arg))
            return false;
        for (size_t r = 0; r < rows; r++)
            answer(p, &batch[order[r]], texts[r].pool, probs + order[r] * p->shape.classes);
    }
    return true;
}

/* A few texts at a time, so that it can be stopped in between: these families gain little from a batch. */
static bool run_sums(const struct nn_predictor *p, struct nn_scratch *scratch, const struct nn_example *batch,
                     uint32_t n, float *probs, bool (*cancelled)(void *arg), void *arg)
{
    for (uint32_t first = 0; first < n; first += ASK_TEXTS) {
        if (cancelled && cancelled(arg))
            return false;
        nn_predict(scratch->ws, p->params, batch + first, n - first < ASK_TEXTS ? n - first : ASK_TEXTS,
                   probs + first * p->shape.classes);
    }
    return true;
}

bool nn_predictor_run(const struct nn_predictor *p, struct nn_scratch *scratch, const struct nn_example *batch,
                      uint32_t n, float *probs, bool (*cancelled)(void *arg), void *arg)
{
    assert(n > 0 && n <= scratch->max_batch && memcmp(&p->shape, &scratch->shape, sizeof p->shape) == 0);
    return (recurrent(&p->shape) ? run_steps : run_sums)(p, scratch, batch, n, probs, cancelled, arg);
}
