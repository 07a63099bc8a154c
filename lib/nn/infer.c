/* infer.c - see infer.h. Compiled once per instruction set, like kernels.c.
 *
 * At batch 1 a step waits for the step before it, so forward and backward take turns: the CPU starts on the one while
 * the other's last gates are still on their way. */
#include "nn/infer.h"
#include "base/simd.h"
#include "nn/infer_vector.h"

#define ALWAYS static inline __attribute__((always_inline))

/* Within +-30 sigmoid and tanh have long reached their ends, and three powers multiplied stay finite. */
ALWAYS vf bounded(vf x)
{
    return most(least(x, all(30)), all(-30));
}

/* x[i] = 2^x[i] for |x| <= 30, relative error below 3e-7: x = k + r, |r| <= 1/2, a polynomial for 2^r (minimax, found by
 * a weighted least-squares fit), and k added to its exponent. Side by side, as each operation waits for the one before. */
ALWAYS void powers_of_two(vf *x, size_t n)
{
    vf k[5], p[5];

#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        k[i] = x[i] + 0x1.8p23f; /* leaves round(x) in the low bits */
#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        x[i] -= k[i] - 0x1.8p23f;
#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        p[i] = x[i] * 1.3276472e-3f + 9.675541e-3f;
#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] * x[i] + 5.550713e-2f;
#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] * x[i] + 2.402212e-1f;
#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] * x[i] + 6.931469e-1f;
#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] * x[i] + 1.0000001f;
#pragma GCC unroll 5
    for (size_t i = 0; i < n; i++)
        x[i] = (vf)((vi)p[i] + ((vi)k[i] << 23));
}

/* A panel whose c is known and whose h is not. */
struct pending {
    vf c, eo;
    float *pool;
    void *h;
};

ALWAYS void finish(const struct pending *p, vf ec, bool int8, bool last)
{
    vf h = (1 - ec) / ((1 + p->eo) * (1 + ec));

    if (int8)
        store_bytes(p->h, h * INFER_INT8_RANGE + INFER_INT8_ZERO);
    else
        store(p->h, h);
    store(p->pool, last ? h : most(load(p->pool), h));
}

ALWAYS void flush(const struct pending *p, bool int8, bool last)
{
    vf ec = bounded(p->c * -2.885390082f);

    powers_of_two(&ec, 1);
    finish(p, ec, int8, last);
}

/* From the gates' exponents a[0..3], a[4] being room, to the new c of this panel, and to h of the one before. With
 * e = exp(-a) (g: exp(-2a)) the usual
 *     c' = c / (1 + ef) + (1 - eg) / ((1 + ei)(1 + eg))     h = (1 - ec) / ((1 + eo)(1 + ec)),   ec = exp(-2c')
 * brought over one denominator each, as divisions cost most. Absolute error below 1e-6. */
ALWAYS void cell(struct pending *p, vf a[5], float *c, float *pool, void *h, bool int8, bool last)
{
    a[4] = p->c * -2.885390082f;
#pragma GCC unroll 5
    for (size_t g = 0; g < 5; g++)
        a[g] = bounded(a[g]);
    powers_of_two(a, 5);
    finish(p, a[4], int8, last);
    vf ig = (1 + a[0]) * (1 + a[2]);
    vf next = (load(c) * ig + (1 - a[2]) * (1 + a[1])) / (ig * (1 + a[1]));
    store(c, next);
    *p = (struct pending){next, a[3], pool, h};
}

/* The table row of a text at a step; the next one's is fetched meanwhile. */
ALWAYS const char *row_at(const struct infer_net *net, size_t d, const struct infer_text *text, size_t t)
{
    size_t at = d ? text->n_ids - 1 - t : t, next = d ? at - (at > 0) : at + (at + 1 < text->n_ids);
    const char *table = net->directions[d].table, *row = table + text->ids[next] * net->row;

    for (size_t i = 0; i < net->row / net->n_directions; i += 64)
        __builtin_prefetch(row + i);
    return table + text->ids[at] * net->row;
}

/* ---- fp32 ---- */

/* n_panels from panel on, for n texts; both are constants wherever this is inlined. */
ALWAYS void tile_fp32(struct pending *p, const struct infer_net *net, size_t d, const struct infer_text *texts,
                      size_t n, const int16_t *const *x, size_t panel, size_t n_panels, size_t t)
{
    const struct infer_direction *l = &net->directions[d];
    size_t H = net->hidden, Hp = net->padded;
    const float *w = (const float *)l->wh + panel * H * 4 * LANES;
    const float *h[INFER_MAX_ROWS];
    vf a[INFER_MAX_ROWS][5];

#pragma GCC unroll 4
    for (size_t r = 0; r < n; r++)
        h[r] = (const float *)texts[r].h + (2 * d + (t + 1) % 2) * Hp;
#pragma GCC unroll 8
    for (size_t s = 0; s < n * n_panels; s++) {
        size_t column = (panel + s / n) * 4 * LANES;
#pragma GCC unroll 4
        for (size_t g = 0; g < 4; g++)
            a[s][g] = to_float(load_short(x[s % n] + column + g * LANES)) * load(l->scale + column + g * LANES);
    }
    for (size_t k = 0; k < H; k++, w += 4 * LANES) {
#pragma GCC unroll 8
        for (size_t s = 0; s < n * n_panels; s++) {
            const float *ws = w + s / n * H * 4 * LANES;
            float hk = h[s % n][k];
#pragma GCC unroll 4
            for (size_t g = 0; g < 4; g++)
                a[s][g] += hk * load(ws + g * LANES);
        }
    }
#pragma GCC unroll 8
    for (size_t s = 0; s < n * n_panels; s++) {
        const struct infer_text *text = &texts[s % n];
        size_t unit = (panel + s / n) * LANES;
        cell(p, a[s], text->c + d * Hp + unit, text->pool + d * Hp + unit,
             (float *)text->h + (2 * d + t % 2) * Hp + unit, false, net->last);
    }
}

ALWAYS void steps_fp32(const struct infer_net *net, const struct infer_text *texts, size_t n, size_t at_once,
                       size_t from, size_t to)
{
    size_t n_panels = net->padded / LANES;
    const int16_t *x[INFER_MAX_ROWS];
    float dummy[2 * LANES];
    struct pending first = {all(0), all(0), dummy, dummy + LANES}, *p = &first;

    for (size_t t = from; t < to; t++) {
        for (size_t d = 0; d < net->n_directions; d++) {
            size_t panel = 0;
#pragma GCC unroll 4
            for (size_t r = 0; r < n; r++)
                x[r] = (const int16_t *)row_at(net, d, &texts[r], t);
            for (; panel + at_once <= n_panels; panel += at_once)
                tile_fp32(p, net, d, texts, n, x, panel, at_once, t);
            for (; panel < n_panels; panel++)
                tile_fp32(p, net, d, texts, n, x, panel, 1, t);
            if (net->n_directions == 1)
                flush(p, false, net->last);
        }
    }
    flush(p, false, net->last);
}

static void run_fp32(const struct infer_net *net, const struct infer_text *texts, size_t n, size_t from, size_t to)
{
    switch (n) {
    case 1:
        steps_fp32(net, texts, 1, 2, from, to);
        break;
    case 2:
        steps_fp32(net, texts, 2, 1, from, to);
        break;
    case 3:
        steps_fp32(net, texts, 3, 1, from, to);
        break;
    }
}

/* ---- int8: the weights of both directions fit the first-level cache, so texts go one by one ---- */

ALWAYS void panel_int8(struct pending *p, const struct infer_net *net, size_t d, const struct infer_text *text,
                       const char *row, size_t panel, size_t t)
{
    const struct infer_direction *l = &net->directions[d];
    size_t Hp = net->padded, unit = panel * LANES, column = 4 * unit;
    const float *x_scale = (const float *)row;
    const int8_t *x = (const int8_t *)row + INFER_ROW_SCALES + column, *w = (const int8_t *)l->wh + column * Hp;
    const uint8_t *h = (const uint8_t *)text->h + (2 * d + (t + 1) % 2) * Hp;
    vi sums[4];
    vf a[5];

#pragma GCC unroll 4
    for (size_t g = 0; g < 4; g++)
        sums[g] = load_int(l->offset + column + g * LANES);
    for (size_t k = 0; k < Hp; k += INFER_INT8_GROUP, w += 4 * INFER_INT8_GROUP * LANES) {
#pragma GCC unroll 4
        for (size_t g = 0; g < 4; g++)
            sums[g] = dot_bytes(sums[g], h + k, w + g * INFER_INT8_GROUP * LANES);
    }
#pragma GCC unroll 4
    for (size_t g = 0; g < 4; g++)
        a[g] =
            to_float(sums[g]) * load(l->scale + column + g * LANES) + to_float(load_byte(x + g * LANES)) * x_scale[g];
    cell(p, a, text->c + d * Hp + unit, text->pool + d * Hp + unit, (uint8_t *)text->h + (2 * d + t % 2) * Hp + unit,
         true, net->last);
}

static void run_int8(const struct infer_net *net, const struct infer_text *texts, size_t n, size_t from, size_t to)
{
    size_t n_panels = net->padded / LANES;
    float dummy[2 * LANES];
    struct pending first = {all(0), all(0), dummy, dummy + LANES}, *p = &first;

    for (size_t r = 0; r < n; r++) {
        for (size_t t = from; t < to; t++)
            for (size_t d = 0; d < net->n_directions; d++) {
                const char *row = row_at(net, d, &texts[r], t);
                for (size_t panel = 0; panel < n_panels; panel++)
                    panel_int8(p, net, d, &texts[r], row, panel, t);
                if (net->n_directions == 1)
                    flush(p, true, net->last);
            }
    }
    flush(p, true, net->last);
}

static float dot(const float *a, const float *b, size_t n)
{
    vf sums = {0};
    float sum = 0;

    for (size_t i = 0; i < n; i += LANES)
        sums += load(a + i) * load(b + i);
    for (size_t i = 0; i < LANES; i++)
        sum += sums[i];
    return sum;
}

static void widen(float *restrict range, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float size = x[i] < 0 ? -x[i] : x[i];
        range[i] = size > range[i] ? size : range[i];
    }
}

static void quantise(int16_t *restrict to, const float *restrict x, const float *restrict inverse, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float y = x[i] * inverse[i];
        to[i] = (int16_t)(int32_t)(y < 0 ? y - 0.5f : y + 0.5f);
    }
}

static void quantise_row(char *to, const float *x, size_t padded)
{
    float scales[4];
    int8_t *entries = (int8_t *)to + sizeof scales;

    for (size_t g = 0; g < 4; g++) {
        float range[LANES] = {0}, most = 0;

        for (size_t i = g * LANES; i < 4 * padded; i += 4 * LANES)
            widen(range, x + i, LANES);
        for (size_t i = 0; i < LANES; i++)
            most = range[i] > most ? range[i] : most;
        float inverse = most > 0 ? INFER_INT8_MAX / most : 0;
        for (size_t i = g * LANES; i < 4 * padded; i += 4 * LANES)
            for (size_t k = 0; k < LANES; k++) {
                float y = x[i + k] * inverse;
                entries[i + k] = (int8_t)(int32_t)(y < 0 ? y - 0.5f : y + 0.5f);
            }
        scales[g] = most / INFER_INT8_MAX;
    }
    memcpy(to, scales, sizeof scales);
}

const struct infer_kernels SIMD_VARIANT(infer_kernels) = {
    .isa = SIMD_ISA,
    .lanes = LANES,
    .fp32 = run_fp32,
    .int8 = run_int8,
    .dot = dot,
    .widen = widen,
    .quantise = quantise,
    .quantise_row = quantise_row,
};
