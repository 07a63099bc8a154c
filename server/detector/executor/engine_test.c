/* engine_test.c - the engine against darknet itself on every kind of layer, and many engines at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "engine_plan.h"
#include "network/small_model.h"
#include "nn/nn.h"
#include "trial.h"

#include <math.h>

#include <cmocka.h>

#define N_THREADS 4
#define N_ROUNDS  50

static void computes_what_darknet_computes_of(const struct engine_kind *kind, const char *cfg)
{
    struct network *net = small_network_of(cfg);
    struct trial t;
    struct status st = trial_run(kind, net, &t);
    if (st.code)
        fail_msg("%s", st.msg);
    assert_true(t.compared); /* Debian's darknet belongs to the packages of the build */
    assert_true(t.error <= TRIAL_TOLERANCE && t.forward_seconds > 0);
    network_free(net);
}

static void computes_what_darknet_computes(const struct engine_kind *kind)
{
    computes_what_darknet_computes_of(kind, small_cfg);
    computes_what_darknet_computes_of(kind, small_cfg_yolo2);
}

static void test_openblas_computes_what_darknet_computes(void **state)
{
    (void)state;
    computes_what_darknet_computes(&engine_openblas);
}

static void test_fp32_computes_what_darknet_computes(void **state)
{
    (void)state;
    computes_what_darknet_computes(&engine_fp32);
}

/* Where the CPU has what it needs, nearly what darknet computes; elsewhere it says what is missing. */
static void test_bf16_computes_nearly_that(void **state)
{
    static const char *const cfgs[] = {small_cfg, small_cfg_yolo2};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cfgs); i++) {
        struct network *net = small_network_of(cfgs[i]);
        struct trial t;
        struct status st = trial_run(&engine_bf16, net, &t);
        if (!engine_bf16.check_cpu().code) {
            if (st.code)
                fail_msg("%s", st.msg);
            assert_true(t.compared && t.error > 0 && t.error < 0.02);
        } else {
            assert_int_equal(st.code, ST_UNAVAILABLE);
            assert_non_null(strstr(st.msg, "AVX512-BF16"));
        }
        network_free(net);
    }
}

/* Every convolution over pairs of channels reads BF16, and only those get their input so. */
static void test_bf16_is_where_it_can_be(void **state)
{
    struct engine *e;
    size_t n = 0;
    (void)state;
    if (engine_bf16.check_cpu().code)
        skip();
    struct network *net = small_network();
    or_die(engine_bf16.create(&e, net));
    const struct plan *p = engine_plan(e);
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->op != PLAN_CONV)
            continue;
        const struct cfg_layer *l = plan_layer(p, s->conv_layer);
        assert_int_equal(p->tensors[s->in].t.type == TENSOR_BF16, l->from[0] >= 0 && l->groups == 1);
        n += p->tensors[s->in].t.type == TENSOR_BF16;
    }
    assert_true(n >= 4);
    engine_free(e);
    network_free(net);
}

/* Root mean square difference over the root mean square. */
static double relative_error(const float *x, const float *wanted, size_t n)
{
    double difference = 0, square = 0;

    for (size_t i = 0; i < n; i++) {
        difference += pow((double)x[i] - (double)wanted[i], 2);
        square += pow((double)wanted[i], 2);
    }
    return sqrt(difference / square);
}

/* Debian's darknet is older than YOLO 4, so that the paths of our own check each other. */
static void test_yolo4_is_the_same_with_engines_of_our_own(void **state)
{
    struct network *net = small_network_of(small_cfg_yolo4);
    size_t n = cfg_shape_size(net->cfg->input), n_out = cfg_shape_size(net->cfg->layers[net->cfg->head_layer[0]].out);
    float *input = xcalloc(n, sizeof *input);
    struct engine *a, *b;
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    for (size_t i = 0; i < n; i++)
        input[i] = (float)rng_uniform(&rng);
    or_die(engine_openblas.create(&a, net));
    or_die(engine_fp32.create(&b, net));
    engine_forward(a, input);
    engine_forward(b, input);
    for (size_t i = 0; i < n_out; i++)
        assert_true(fabsf(a->heads[0][i] - b->heads[0][i]) <= 1e-4f * fmaxf(1, fabsf(a->heads[0][i])));
    struct status st = engine_darknet.create(&(struct engine *){NULL}, net);
    assert_int_equal(st.code, ST_UNAVAILABLE);
    engine_free(b);
    if (!engine_bf16.check_cpu().code) {
        or_die(engine_bf16.create(&b, net));
        engine_forward(b, input);
        assert_true(relative_error(b->heads[0], a->heads[0], n_out) < 0.02);
        engine_free(b);
    }
    engine_free(a);
    free(input);
    network_free(net);
}

static const struct engine_kind wrong_engine;

static struct status wrong_create(struct engine **out, const struct network *net)
{
    struct status st = engine_openblas.create(out, net);
    (*out)->kind = &wrong_engine;
    return st;
}

/* Right but for one number, by little. */
static void wrong_forward(struct engine *e, const float *input)
{
    engine_openblas.forward(e, input);
    ((float *)e->heads[1])[100] += 0.01f;
}

static void wrong_destroy(struct engine *e)
{
    engine_openblas.destroy(e);
}

static const struct engine_kind wrong_engine = {"wrong", wrong_create, wrong_forward, wrong_destroy};

static void test_trial_refuses_a_wrong_engine(void **state)
{
    struct network *net = small_network();
    struct trial t;
    (void)state;
    struct status st = trial_run(&wrong_engine, net, &t);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "differ from darknet"));
    network_free(net);
}

static float *inputs[N_THREADS], *wanted[N_THREADS];

struct job {
    const struct engine *engine;
    const struct network *net;
    int first;
    int n_wrong;
};

static void *run(void *arg)
{
    struct job *j = arg;
    struct engine *e;
    size_t n = cfg_shape_size(j->net->cfg->layers[j->net->cfg->head_layer[1]].out);

    or_die(engine_clone(&e, j->engine, j->net));
    for (int i = 0; i < N_ROUNDS; i++) {
        int k = (j->first + i) % N_THREADS;
        engine_forward(e, inputs[k]);
        j->n_wrong += memcmp(e->heads[1], wanted[k], n * sizeof(float)) != 0;
    }
    engine_free(e);
    return NULL;
}

static void run_in_threads(const struct engine_kind *kind)
{
    struct network *net = small_network();
    size_t n_in = cfg_shape_size(net->cfg->input),
           n_out = cfg_shape_size(net->cfg->layers[net->cfg->head_layer[1]].out);
    struct engine *e;
    struct rng rng;
    struct job jobs[N_THREADS];
    pthread_t threads[N_THREADS];

    rng_init(&rng, 3);
    assert_int_equal(kind->create(&e, net).code, ST_OK);
    for (int k = 0; k < N_THREADS; k++) {
        inputs[k] = xcalloc(n_in, sizeof(float));
        wanted[k] = xcalloc(n_out, sizeof(float));
        for (size_t i = 0; i < n_in; i++)
            inputs[k][i] = (float)rng_uniform(&rng);
        engine_forward(e, inputs[k]);
        memcpy(wanted[k], e->heads[1], n_out * sizeof(float));
    }
    for (int k = 0; k < N_THREADS; k++) {
        jobs[k] = (struct job){e, net, k, 0};
        threads[k] = thread_start("engine", 0, run, &jobs[k]);
    }
    for (int k = 0; k < N_THREADS; k++) {
        pthread_join(threads[k], NULL);
        assert_int_equal(jobs[k].n_wrong, 0);
    }
    for (int k = 0; k < N_THREADS; k++) {
        free(inputs[k]);
        free(wanted[k]);
    }
    engine_free(e);
    network_free(net);
}

static void test_engines_of_one_network_do_not_disturb_each_other(void **state)
{
    (void)state;
    run_in_threads(&engine_openblas);
    run_in_threads(&engine_fp32);
}

struct patience {
    int asked, until;
};

static bool impatient(void *ctx)
{
    struct patience *p = ctx;

    return ++p->asked > p->until;
}

/* Given up after a few layers, and not asked again; and the next pass knows nothing of it. */
static void test_a_pass_may_be_given_up(void **state)
{
    static const struct engine_kind *const kinds[] = {&engine_fp32, &engine_openblas};
    struct network *net = small_network();
    float *input = xcalloc(cfg_shape_size(net->cfg->input), sizeof *input);
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        struct patience some = {0, 2}, endless = {0, 1000000};
        struct engine *e;
        assert_int_equal(kinds[k]->create(&e, net).code, ST_OK);
        assert_false(engine_forward_until(e, input, impatient, &some));
        assert_int_equal(some.asked, 3);
        assert_true(engine_forward_until(e, input, impatient, &endless));
        assert_true(endless.asked > 5);
        assert_false(engine_stop_asked());
        engine_free(e);
    }
    free(input);
    network_free(net);
}

/* Layers that are computed together in bands of rows are given up between two bands. */
static void test_a_chain_may_be_given_up(void **state)
{
    static const char cfg[] =
        "[net]\nwidth=256\nheight=256\nchannels=3\n"
        "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
        "[convolutional]\nbatch_normalize=1\nfilters=16\ngroups=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
        "[maxpool]\nsize=2\nstride=2\n"
        "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n"
        "[yolo]\nmask = 0,1,2\n" SMALL_HEADS;
    struct network *net = small_network_of(cfg);
    float *input = xcalloc(cfg_shape_size(net->cfg->input), sizeof *input);
    struct patience some = {0, 4}, endless = {0, 1000000};
    struct engine *e;
    (void)state;
    or_die(engine_fp32.create(&e, net));
    assert_true(engine_forward_until(e, input, impatient, &endless));
    assert_true(endless.asked > 2 * (int)net->cfg->n_layers); /* for each band, not only for each layer */
    assert_false(engine_forward_until(e, input, impatient, &some));
    assert_int_equal(some.asked, 5);
    engine_free(e);
    free(input);
    network_free(net);
}

static void test_names(void **state)
{
    (void)state;
    assert_ptr_equal(engine_kind_find("openblas"), &engine_openblas);
    assert_ptr_equal(engine_kind_find("darknet"), &engine_darknet);
    assert_null(engine_kind_find("auto"));
}

int main(int argc, char **argv)
{
    (void)argc;
    nn_setup_blas(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openblas_computes_what_darknet_computes),
        cmocka_unit_test(test_fp32_computes_what_darknet_computes),
        cmocka_unit_test(test_bf16_computes_nearly_that),
        cmocka_unit_test(test_bf16_is_where_it_can_be),
        cmocka_unit_test(test_yolo4_is_the_same_with_engines_of_our_own),
        cmocka_unit_test(test_trial_refuses_a_wrong_engine),
        cmocka_unit_test(test_engines_of_one_network_do_not_disturb_each_other),
        cmocka_unit_test(test_a_pass_may_be_given_up),
        cmocka_unit_test(test_a_chain_may_be_given_up),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
