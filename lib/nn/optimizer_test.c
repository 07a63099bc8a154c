/* optimizer_test.c - each optimizer against its formula in plain double loops, for several steps. */
#include "nn/nn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

enum { N = 133, STEPS = 20 };

struct plain {
    double p[N], m[N], v[N];
};

static void plain_step(struct plain *s, enum nn_optimizer_kind kind, const double *g, double rate, int t)
{
    double b1 = 0.9, b2 = 0.95, eps = 1e-6;

    for (size_t i = 0; i < N; i++) {
        double g2 = g[i] * g[i];
        if (kind == NN_SGD) {
            s->p[i] -= rate * g[i];
        } else if (kind == NN_MOMENTUM) {
            s->m[i] = b1 * s->m[i] + g[i];
            s->p[i] -= rate * s->m[i];
        } else {
            s->m[i] = b1 * s->m[i] + (1 - b1) * g[i];
            if (kind == NN_ADAM)
                s->v[i] = b2 * s->v[i] + (1 - b2) * g2;
            else
                s->v[i] -= (1 - b2) * ((s->v[i] > g2) - (s->v[i] < g2)) * g2;
            s->p[i] -= rate * s->m[i] / (1 - pow(b1, t)) / (sqrt(s->v[i] / (1 - pow(b2, t))) + eps);
        }
    }
}

static void check_formula(const char *name, double clip)
{
    struct nn_optimizer o;
    struct plain plain = {0};
    enum nn_optimizer_kind kind;
    struct rng rng;
    float params[N], grad[N];

    rng_init(&rng, 3);
    assert_int_equal(nn_optimizer_kind_parse(name, &kind).code, ST_OK);
    nn_optimizer_init(&o, kind, N);
    o.beta1 = 0.9;
    o.beta2 = 0.95;
    o.epsilon = 1e-6;
    o.clip_norm = clip;
    for (size_t i = 0; i < N; i++)
        plain.p[i] = params[i] = (float)rng_normal(&rng);
    for (int t = 1; t <= STEPS; t++) {
        double g[N], norm = 0, rate = 0.01 * t;
        for (size_t i = 0; i < N; i++) {
            g[i] = grad[i] = (float)(0.1 * rng_normal(&rng));
            norm += g[i] * g[i];
        }
        norm = sqrt(norm);
        for (size_t i = 0; i < N && clip > 0 && norm > clip; i++)
            g[i] *= clip / norm;
        assert_true(fabs(nn_optimizer_step(&o, params, grad, rate) / norm - 1) < 1e-6);
        plain_step(&plain, kind, g, rate, t);
        for (size_t i = 0; i < N; i++)
            assert_true(fabs((double)params[i] - plain.p[i]) < 2e-5);
    }
    assert_int_equal(o.step, STEPS);
    nn_optimizer_fini(&o);
}

static void test_formulas(void **state)
{
    static const char *const names[] = {"sgd", "momentum", "adam", "yogi"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        check_formula(names[i], 0);
        check_formula(names[i], 0.5); /* norms are near 1.15: clips */
        check_formula(names[i], 1e6);
    }
}

/* A parameter whose gradient is always 0 stays: padding stays 0, rows that no text touched do not drift. */
static void test_no_gradient_no_step(void **state)
{
    (void)state;
    for (enum nn_optimizer_kind kind = NN_SGD; kind <= NN_YOGI; kind++) {
        struct nn_optimizer o;
        float params[] = {0, 3}, grad[2];

        nn_optimizer_init(&o, kind, 2);
        for (int t = 0; t < 5; t++) {
            grad[0] = 0;
            grad[1] = 1;
            nn_optimizer_step(&o, params, grad, 0.1);
        }
        assert_true(params[0] == 0 && params[1] < 3);
        nn_optimizer_fini(&o);
    }
}

static void test_unknown_name(void **state)
{
    enum nn_optimizer_kind kind;

    (void)state;
    assert_int_equal(nn_optimizer_kind_parse("adamw", &kind).code, ST_INVALID);
    assert_int_equal(nn_optimizer_kind_parse("", &kind).code, ST_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formulas),
        cmocka_unit_test(test_no_gradient_no_step),
        cmocka_unit_test(test_unknown_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
