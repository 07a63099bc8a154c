/* prepare.c - see prepare.h. The fp32 table of x Wx + b takes one product of the embedding with Wx for its columns'
 * ranges and the same once more for its entries, rather than memory for all of it in float. */
#include "nn/prepare.h"
#include "nn/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT   64
#define TABLE_ROWS  64 /* of the embedding, at a time */
#define TABLE_RANGE 32767

void *prepare_take(struct prepare_block *b, size_t n, size_t size)
{
    void *p = b->base ? b->base + b->used : NULL;
    b->used += (n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return p;
}

void prepare_place(struct infer_net *net, struct prepare_block *b, const struct nn_shape *s,
                   enum nn_precision precision)
{
    size_t H = s->hidden, Hp = (H + INFER_UNITS - 1) / INFER_UNITS * INFER_UNITS;
    bool int8 = precision == NN_INT8;
    size_t n_directions = s->family == NN_LSTM ? 2 : 1;
    size_t part = int8 ? INFER_ROW_SCALES + 4 * Hp : 4 * Hp * sizeof(int16_t); /* a direction's, of a row */

    *net = (struct infer_net){.n_directions = n_directions,
                              .hidden = H,
                              .padded = Hp,
                              .row = n_directions * part,
                              .last = s->family == NN_LSTM_PLAIN};
    for (size_t d = 0; d < n_directions; d++) {
        struct infer_direction *l = &net->directions[d];
        l->wh = prepare_take(b, (int8 ? Hp : H) * 4 * Hp, int8 ? sizeof(int8_t) : sizeof(float));
        l->scale = prepare_take(b, 4 * Hp, sizeof *l->scale);
        l->offset = int8 ? prepare_take(b, 4 * Hp, sizeof *l->offset) : NULL;
    }
    char *table = prepare_take(b, s->vocab, net->row);
    for (size_t d = 0; table && d < n_directions; d++)
        net->directions[d].table = table + d * part;
}

/* ---- one direction: what it is made of, its columns already in the order of the panels ---- */

struct source {
    const struct infer_kernels *kernels;
    size_t E, H, Hp;
    const float *embedding; /* (V,E) */
    size_t V;
    const float *wh; /* (H,4H) */
    float *wx;       /* (E,4Hp), packed for nn_kernels()->matmul */
    float *b;        /* (4Hp,) */
    float *rows;     /* (TABLE_ROWS,4Hp): a piece of the table */
    float *range;    /* (4Hp,): largest absolute entry */
    float *inverse;  /* (4Hp,): 1 / what an entry is stored in units of */
};

/* The column of a parameter matrix (..,4H) that stands in column c of the panels, and what it is multiplied with;
 * false: padding. */
static bool column_of(const struct source *s, size_t c, size_t *from, float *factor)
{
    size_t gate = c / s->kernels->lanes % 4,
           unit = c / (4 * s->kernels->lanes) * s->kernels->lanes + c % s->kernels->lanes;

    *from = gate * s->H + unit;
    *factor = gate == 2 ? -2.885390082f : -1.442695041f; /* see infer.h */
    return unit < s->H;
}

/* to (rows,4Hp) = from (rows,4H) with its columns in order, times their factors. */
static void reorder(const struct source *s, float *to, const float *from, size_t rows)
{
    size_t column;
    float factor;

    for (size_t c = 0; c < 4 * s->Hp; c++) {
        bool padding = !column_of(s, c, &column, &factor);
        for (size_t i = 0; i < rows; i++)
            to[i * 4 * s->Hp + c] = padding ? 0 : factor * from[i * 4 * s->H + column];
    }
}

static void source_init(struct source *s, const struct nn_shape *shape, const float *params, size_t direction,
                        const struct infer_net *net, const struct infer_kernels *kernels)
{
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = nn_tensors(shape, t), wide = 4 * net->padded;
    const struct nn_tensor *wx = nn_tensor_find(t, n, direction ? "lstm.bw.wx" : "lstm.fw.wx");
    float *ordered = xcalloc(shape->embed * wide, sizeof *ordered);

    *s = (struct source){
        .kernels = kernels, .E = shape->embed, .H = shape->hidden, .Hp = net->padded, .V = shape->vocab};
    s->embedding = params + nn_tensor_find(t, n, "embedding")->offset;
    s->wh = params + wx[1].offset;
    s->wx = xaligned(nn_packed_size(s->E, wide), sizeof(float));
    s->b = xaligned(3 * wide + TABLE_ROWS * wide, sizeof(float));
    s->range = s->b + wide;
    s->inverse = s->range + wide;
    s->rows = s->inverse + wide;
    reorder(s, ordered, params + wx->offset, s->E);
    nn_kernels()->matmul->pack(s->wx, ordered, wide, 1, s->E, wide);
    reorder(s, s->b, params + wx[2].offset, 1);
    free(ordered);
}

static void source_fini(struct source *s)
{
    free(s->wx);
    free(s->b);
}

/* x Wx + b of the characters from `first` on; returns how many of them are in s->rows. */
static size_t table_piece(const struct source *s, size_t first)
{
    size_t n = s->V - first < TABLE_ROWS ? s->V - first : TABLE_ROWS, wide = 4 * s->Hp;

    nn_kernels()->matmul->multiply(s->rows, wide, s->embedding + first * s->E, s->E, s->wx, n, wide, s->E);
    for (size_t i = 0; i < n; i++)
        nn_kernels()->add_scaled(s->rows + i * wide, s->b, wide, 1);
    return n;
}

static void table_range(const struct source *s)
{
    size_t wide = 4 * s->Hp;

    for (size_t first = 0, n; first < s->V; first += n) {
        n = table_piece(s, first);
        for (size_t i = 0; i < n; i++)
            s->kernels->widen(s->range, s->rows + i * wide, wide);
    }
}

static void table_fill(const struct source *s, char *table, size_t row, enum nn_precision precision)
{
    size_t wide = 4 * s->Hp;

    for (size_t first = 0, n; first < s->V; first += n) {
        n = table_piece(s, first);
        for (size_t i = 0; i < n; i++) {
            char *to = table + (first + i) * row;
            if (precision == NN_INT8)
                s->kernels->quantise_row(to, s->rows + i * wide, s->Hp);
            else
                s->kernels->quantise((int16_t *)to, s->rows + i * wide, s->inverse, wide);
        }
    }
}

/* ---- fp32 ---- */

static void fill_fp32(const struct source *s, float *wh, float *scale)
{
    size_t L = s->kernels->lanes, wide = 4 * s->Hp;
    float *ordered = xcalloc(s->H * wide, sizeof *ordered);

    table_range(s);
    reorder(s, ordered, s->wh, s->H);
    for (size_t c = 0; c < wide; c++) {
        for (size_t k = 0; k < s->H; k++)
            wh[(c / (4 * L) * s->H + k) * 4 * L + c % (4 * L)] = ordered[k * wide + c];
        scale[c] = s->range[c] > 0 ? s->range[c] / TABLE_RANGE : 1;
        s->inverse[c] = 1 / scale[c];
    }
    free(ordered);
}

/* ---- int8 ---- */

/* The unit of a column's integer sums, so that its weights fit 8 bits, and four that meet INFER_INT8_SUM. w (Hp,) */
static float unit_of(const float *w, size_t Hp)
{
    float most = 0, sum = 0;

    for (size_t k = 0; k < Hp; k++) {
        float four = fabsf(w[k]) + fabsf(w[k ^ 1]) + fabsf(w[k ^ 4]) + fabsf(w[k ^ 5]);
        most = fmaxf(most, fabsf(w[k]));
        sum = fmaxf(sum, four);
    }
    /* rounding adds a half to each of the four */
    float unit = fmaxf(most / INFER_INT8_MAX, sum / (INFER_INT8_SUM - 2)) / INFER_INT8_RANGE;
    return unit > 0 ? unit : 1;
}

static void fill_int8(const struct source *s, int8_t *wh, float *scale, int32_t *offset)
{
    size_t L = s->kernels->lanes, Hp = s->Hp;
    float *w = xcalloc(Hp, sizeof *w), factor;
    size_t column;

    for (size_t c = 0; c < 4 * Hp; c++) {
        size_t panel = c / (4 * L), gate = c / L % 4, lane = c % L;
        bool padding = !column_of(s, c, &column, &factor);
        int32_t sum = 0;

        for (size_t k = 0; k < s->H; k++)
            w[k] = padding ? 0 : factor * s->wh[k * 4 * s->H + column];
        scale[c] = unit_of(w, Hp);
        for (size_t k = 0; k < Hp; k++) {
            size_t group = (panel * (Hp / 8) + k / 8) * 4 + gate, half = k / 4 % 2;
            int8_t q = (int8_t)lrintf(w[k] / (scale[c] * INFER_INT8_RANGE));
            wh[((group * 2 + half) * L + lane) * 4 + k % 4] = q;
            sum += q;
        }
        offset[c] = -INFER_INT8_ZERO * sum;
    }
    free(w);
}

void prepare_fill(const struct infer_net *net, const struct nn_shape *s, const float *params,
                  enum nn_precision precision, const struct infer_kernels *kernels)
{
    for (size_t d = 0; d < net->n_directions; d++) {
        const struct infer_direction *l = &net->directions[d];
        struct source source;

        source_init(&source, s, params, d, net, kernels);
        if (precision == NN_INT8)
            fill_int8(&source, (int8_t *)l->wh, (float *)l->scale, (int32_t *)l->offset);
        else
            fill_fp32(&source, (float *)l->wh, (float *)l->scale);
        table_fill(&source, (char *)l->table, net->row, precision);
        source_fini(&source);
    }
}
