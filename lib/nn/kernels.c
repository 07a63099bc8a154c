/* kernels.c - the loops over elements. This file is compiled once per instruction set, with BI_ISA as its name and the
 * compiler's flags for it: separate objects and one table of pointers, rather than target_clones, whose resolvers run
 * before a sanitizer is ready. Every loop is written so that the compiler vectorises it. */
#include "nn/kernels.h"
#include "base/simd.h"

#include <math.h>
#include <string.h>

#ifdef NN_DOUBLE

static inline nn_real exp_minus(nn_real x, nn_real less)
{
    return less == 0 ? exp(x) : expm1(x);
}

#else

/* exp(x) - less for |x| <= 80 and less 0 or 1, to 2 ulp also near 0: x = k ln 2 + r, |r| <= ln 2 / 2, then
 * 2^k (e^r - 1) + (2^k - less). ln 2 is split in two parts (Cody and Waite 1980); e^r - 1 is its Taylor polynomial,
 * whose rest is below 2e-8. */
static inline float exp_minus(float x, float less)
{
    const float to_nearest = 0x1.8p23f; /* adding it leaves round(x) in the low bits */
    float shifted = x * 1.44269504f + to_nearest, k = shifted - to_nearest;
    float r = x - k * 0.693359375f + k * 2.12194440e-4f, p = 1.f / 5040, two_k;
    uint32_t bits;

    p = p * r + 1.f / 720;
    p = p * r + 1.f / 120;
    p = p * r + 1.f / 24;
    p = p * r + 1.f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    memcpy(&two_k, &bits, sizeof two_k);
    return two_k * p + (two_k - less);
}

#endif

static inline nn_real real_abs(nn_real x)
{
    return sizeof x == sizeof(double) ? (nn_real)fabs(x) : (nn_real)fabsf((float)x);
}

/* exp(-|x|) - less: cannot overflow; a NaN stays one. */
static inline nn_real decay(nn_real x, nn_real less)
{
    x = real_abs(x);
    return exp_minus(-(x > 80 ? 80 : x), less);
}

static inline nn_real real_sigmoid(nn_real x)
{
    nn_real e = decay(x, 0);
    return (x < 0 ? e : 1) / (1 + e);
}

static inline nn_real real_tanh(nn_real x)
{
    nn_real e = decay(2 * x, 1), y = -e / (2 + e);
    return x < 0 ? -y : y;
}

static inline void sigmoid_of_sum(nn_real *restrict a, const nn_real *restrict b, size_t n)
{
    for (size_t j = 0; j < n; j++)
        a[j] = real_sigmoid(a[j] + b[j]);
}

static inline void tanh_of_sum(nn_real *restrict a, const nn_real *restrict b, size_t n)
{
    for (size_t j = 0; j < n; j++)
        a[j] = real_tanh(a[j] + b[j]);
}

static inline void activate(nn_real *gates, const nn_real *b, size_t H)
{
    sigmoid_of_sum(gates, b, 2 * H);
    tanh_of_sum(gates + 2 * H, b + 2 * H, H);
    sigmoid_of_sum(gates + 3 * H, b + 3 * H, H);
}

static inline void cell_row(const nn_real *restrict gates, const nn_real *restrict c_prev, nn_real *restrict c,
                            nn_real *restrict tc, nn_real *restrict h, size_t H)
{
    for (size_t j = 0; j < H; j++) {
        nn_real cj = gates[H + j] * c_prev[j] + gates[j] * gates[2 * H + j], tcj = real_tanh(cj);

        c[j] = cj;
        tc[j] = tcj;
        h[j] = gates[3 * H + j] * tcj;
    }
}

static inline void pool_row(const nn_real *restrict h, nn_real *restrict pool, int32_t *restrict step_of_max, size_t H,
                            int32_t step)
{
    for (size_t j = 0; j < H; j++) {
        step_of_max[j] = h[j] > pool[j] ? step : step_of_max[j];
        pool[j] = h[j] > pool[j] ? h[j] : pool[j];
    }
}

static void kernel_cell(const struct nn_cell *s)
{
    size_t H = s->hidden;

    for (size_t r = 0; r < s->n; r++) {
        nn_real *h = r < s->n_next ? s->h + r * s->h_stride : s->h_end + r * s->h_end_stride;

        activate(s->gates + r * 4 * H, s->b, H);
        cell_row(s->gates + r * 4 * H, s->c_prev + r * s->c_prev_stride, s->c + r * H, s->tc + r * H, h, H);
        if (s->pool)
            pool_row(h, s->pool + r * s->pool_stride, s->step_of_max + r * s->pool_stride, H, s->step);
    }
}

/* dpool may be NULL, and step_of_max with it: a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void cell_back_row(nn_real *restrict gates, const nn_real *restrict c_prev,
                                                                const nn_real *restrict tc, const nn_real *restrict dh,
                                                                nn_real *restrict dc, const nn_real *restrict dpool,
                                                                const int32_t *restrict step_of_max,
                                                                nn_real *restrict db, size_t H, int32_t step)
{
#pragma GCC ivdep /* the four gates lie H apart, and j stays below H */
    for (size_t j = 0; j < H; j++) {
        nn_real i = gates[j], f = gates[H + j], g = gates[2 * H + j], o = gates[3 * H + j];
        nn_real dhj = dpool ? dh[j] + (step_of_max[j] == step ? dpool[j] : 0) : dh[j];
        nn_real dcj = dc[j] + dhj * o * (1 - tc[j] * tc[j]);
        nn_real di = dcj * g * i * (1 - i), df = dcj * c_prev[j] * f * (1 - f);
        nn_real dg = dcj * i * (1 - g * g), da_o = dhj * tc[j] * o * (1 - o);

        dc[j] = dcj * f;
        gates[j] = di;
        gates[H + j] = df;
        gates[2 * H + j] = dg;
        gates[3 * H + j] = da_o;
        db[j] += di;
        db[H + j] += df;
        db[2 * H + j] += dg;
        db[3 * H + j] += da_o;
    }
}

static void kernel_cell_back(const struct nn_cell_back *s)
{
    size_t H = s->hidden;

    for (size_t r = 0; r < s->n; r++) {
        nn_real *gates = s->gates + r * 4 * H, *dc = s->dc + r * H;
        const nn_real *c_prev = s->c_prev + r * s->c_prev_stride, *tc = s->tc + r * H;
        const nn_real *dh = r < s->n_next ? s->dh + r * s->dh_stride : s->dh_end + r * s->dh_end_stride;

        if (s->dpool)
            cell_back_row(gates, c_prev, tc, dh, dc, s->dpool + r * s->pool_stride, s->step_of_max + r * s->pool_stride,
                          s->db, H, s->step);
        else
            cell_back_row(gates, c_prev, tc, dh, dc, NULL, NULL, s->db, H, s->step);
    }
}

static void kernel_column_max(const nn_real *restrict x, size_t rows, size_t n, nn_real *restrict best,
                              int32_t *restrict at)
{
    memcpy(best, x, n * sizeof *best);
    memset(at, 0, n * sizeof *at);
    for (size_t r = 1; r < rows; r++) {
        x += n;
        for (size_t j = 0; j < n; j++) {
            at[j] = x[j] > best[j] ? (int32_t)r : at[j];
            best[j] = x[j] > best[j] ? x[j] : best[j];
        }
    }
}

/* A 32-bit mixing function with low bias ("hash prospector", Chris Wellons 2018, public domain). */
static inline uint32_t mixed(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352dU;
    x = (x ^ x >> 15) * 0x846ca68bU;
    return x ^ x >> 16;
}

static void kernel_dropout(nn_real *restrict to, const nn_real *restrict from, size_t n, uint32_t key, uint32_t drop,
                           nn_real scale)
{
    for (size_t j = 0; j < n; j++)
        to[j] = mixed(key + (uint32_t)j) >= drop ? from[j] * scale : 0;
}

static void kernel_dropout_add(nn_real *restrict to, const nn_real *restrict from, size_t n, uint32_t key,
                               uint32_t drop, nn_real scale)
{
    for (size_t j = 0; j < n; j++)
        to[j] += mixed(key + (uint32_t)j) >= drop ? from[j] * scale : 0;
}

static void kernel_add_scaled(nn_real *restrict to, const nn_real *restrict from, size_t n, nn_real scale)
{
    for (size_t j = 0; j < n; j++)
        to[j] += from[j] * scale;
}

/* Sixteen running sums, so that the additions need no order of one element after the other. */
static double kernel_sum_squares(const nn_real *x, size_t n)
{
    double sums[16] = {0}, sum = 0;
    size_t j = 0;

    for (; j + 16 <= n; j += 16) {
        for (size_t k = 0; k < 16; k++)
            sums[k] += (double)x[j + k] * x[j + k];
    }
    for (; j < n; j++)
        sum += (double)x[j] * x[j];
    for (size_t k = 0; k < 16; k++)
        sum += sums[k];
    return sum;
}

static void kernel_scale(nn_real *x, size_t n, nn_real scale)
{
    for (size_t j = 0; j < n; j++)
        x[j] *= scale;
}

static void kernel_momentum(nn_real *restrict p, const nn_real *restrict g, nn_real *restrict m, size_t n, nn_real beta,
                            nn_real rate)
{
    for (size_t j = 0; j < n; j++) {
        m[j] = beta * m[j] + g[j];
        p[j] -= rate * m[j];
    }
}

static inline nn_real real_sqrt(nn_real x)
{
    return sizeof x == sizeof(double) ? (nn_real)sqrt(x) : (nn_real)sqrtf((float)x);
}

static void kernel_adam(nn_real *restrict p, const nn_real *restrict g, nn_real *restrict m, nn_real *restrict v,
                        size_t n, struct nn_moments k)
{
    for (size_t j = 0; j < n; j++) {
        m[j] = k.beta1 * m[j] + (1 - k.beta1) * g[j];
        v[j] = k.beta2 * v[j] + (1 - k.beta2) * g[j] * g[j];
        p[j] -= k.rate * m[j] / (real_sqrt(v[j] * k.v_scale) + k.epsilon);
    }
}

static void kernel_adam_decay(nn_real *restrict p, nn_real *restrict m, nn_real *restrict v, size_t n,
                              const struct nn_decay *d)
{
    for (size_t j = 0; j < n; j++) {
        p[j] -= d->drift * m[j] / (real_sqrt(v[j]) + d->epsilon);
        m[j] *= d->beta1;
        v[j] *= d->beta2;
    }
}

/* Rows are far apart in memory: ask for one some rows before its turn. */
#define AHEAD 12

static inline void fetch(const nn_real *p, const nn_real *g, const nn_real *moments, size_t width, size_t row)
{
    __builtin_prefetch(p + row * width, 1);
    __builtin_prefetch(g + row * width, 1);
    __builtin_prefetch(moments + 2 * row * width, 1);
}

static void adam_row(nn_real *p, nn_real *g, nn_real *moments, size_t width, nn_real scale, struct nn_moments k)
{
    kernel_scale(g, width, scale);
    kernel_adam(p, g, moments, moments + width, width, k);
    memset(g, 0, width * sizeof *g);
}

#define NARROW 4 /* rows up to this width are too short for vectors, so several are done at once */

/* n * width numbers, at most 64, gathered, stepped and put back. */
static void adam_narrow(nn_real *p, nn_real *g, nn_real *moments, size_t width, const uint32_t *rows, size_t n,
                        nn_real scale, struct nn_moments k)
{
    nn_real p1[64], g1[64], m1[64], v1[64];

    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < width; j++) {
            p1[i * width + j] = p[rows[i] * width + j];
            g1[i * width + j] = g[rows[i] * width + j] * scale;
            m1[i * width + j] = moments[2 * rows[i] * width + j];
            v1[i * width + j] = moments[(2 * rows[i] + 1) * width + j];
        }
    }
    kernel_adam(p1, g1, m1, v1, n * width, k);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < width; j++) {
            p[rows[i] * width + j] = p1[i * width + j];
            g[rows[i] * width + j] = 0;
            moments[2 * rows[i] * width + j] = m1[i * width + j];
            moments[(2 * rows[i] + 1) * width + j] = v1[i * width + j];
        }
    }
}

static void kernel_adam_rows(nn_real *p, nn_real *g, nn_real *moments, size_t width, const uint32_t *rows, size_t n,
                             nn_real scale, struct nn_moments k)
{
    size_t at_once = width <= NARROW ? 64 / width : 1;

    for (size_t i = 0; i < n; i += at_once) {
        size_t n_now = n - i < at_once ? n - i : at_once;

        for (size_t j = i + at_once; j < n && j < i + 2 * at_once; j++)
            fetch(p, g, moments, width, rows[j]);
        if (width <= NARROW)
            adam_narrow(p, g, moments, width, rows + i, n_now, scale, k);
        else
            adam_row(p + rows[i] * width, g + rows[i] * width, moments + 2 * rows[i] * width, width, scale, k);
    }
}

static double kernel_sum_squares_rows(const nn_real *x, size_t width, const uint32_t *rows, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        const nn_real *row = x + rows[i] * width;

        if (i + AHEAD < n)
            __builtin_prefetch(x + rows[i + AHEAD] * width);
        if (width > NARROW)
            sum += kernel_sum_squares(row, width);
        for (size_t j = 0; j < width && width <= NARROW; j++)
            sum += (double)row[j] * row[j];
    }
    return sum;
}

static void kernel_yogi(nn_real *restrict p, const nn_real *restrict g, nn_real *restrict m, nn_real *restrict v,
                        size_t n, struct nn_moments k)
{
    for (size_t j = 0; j < n; j++) {
        nn_real g2 = g[j] * g[j], change = (1 - k.beta2) * g2;
        m[j] = k.beta1 * m[j] + (1 - k.beta1) * g[j];
        v[j] = v[j] > g2 ? v[j] - change : v[j] < g2 ? v[j] + change : v[j];
        p[j] -= k.rate * m[j] / (real_sqrt(v[j] * k.v_scale) + k.epsilon);
    }
}

const struct nn_kernels SIMD_VARIANT(nn_kernels) = {
    .isa = SIMD_ISA,
    .matmul = &SIMD_VARIANT(nn_matmul),
    .cell = kernel_cell,
    .cell_back = kernel_cell_back,
    .column_max = kernel_column_max,
    .dropout = kernel_dropout,
    .dropout_add = kernel_dropout_add,
    .add_scaled = kernel_add_scaled,
    .sum_squares = kernel_sum_squares,
    .scale = kernel_scale,
    .momentum = kernel_momentum,
    .adam = kernel_adam,
    .adam_decay = kernel_adam_decay,
    .adam_rows = kernel_adam_rows,
    .sum_squares_rows = kernel_sum_squares_rows,
    .yogi = kernel_yogi,
};
