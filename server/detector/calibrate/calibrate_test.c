/* calibrate_test.c - the small model over a few pictures: every layer's extremes are there, what passes values on has
 * its producer's, and the loader takes the file that results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "calibrate.h"
#include "executor/engine.h"
#include "executor/quant.h"
#include "image/picture.h"
#include "network/small_model.h"
#include "nn/nn.h"

#include <math.h>
#include <stdio.h>

#include <cmocka.h>

#define N_PICTURES 3

static char *folder;
static struct model *model;
static struct pictures pictures;

static void put(const char *name, const void *data, size_t size)
{
    char *path = xasprintf("%s/%s", folder, name);
    or_die(fs_write_atomic(path, data, size));
    free(path);
}

static int setup(void **state)
{
    (void)state;
    folder = small_folder();
    or_die(loader_load(&model, "small", folder));
    char *sub = xasprintf("%s/pictures", folder);
    or_die(fs_mkdirs(sub));
    for (int i = 0; i < N_PICTURES; i++) {
        char name[40];
        size_t size;
        uint8_t *file = picture_jpeg(&(struct picture_jpeg){90 + 40 * i, 70, i == 1 ? 1 : 3, false, 0}, &size);
        snprintf(name, sizeof name, "pictures/%d.jpg", i);
        put(name, file, size);
        free(file);
    }
    put("pictures/readme.txt", "no picture", 10);
    or_die(pictures_open(&pictures, sub, model->network->cfg->input));
    free(sub);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pictures_close(&pictures);
    model_free(model);
    or_die(fs_remove_tree(folder));
    free(folder);
    return 0;
}

static void test_only_pictures_are_taken(void **state)
{
    struct pictures none;
    (void)state;
    assert_int_equal(pictures.n, N_PICTURES);
    assert_int_equal(pictures_open(&none, folder, model->network->cfg->input).code, ST_INVALID);
}

static void test_ranges_hold_what_the_engine_computes(void **state)
{
    struct calibration *cal = xcalloc(1, sizeof *cal);
    const struct cfg *c = model->network->cfg;
    float *input = xcalloc(cfg_shape_size(c->input), sizeof *input);
    struct engine *e;
    (void)state;
    assert_int_equal(calibrate(cal, model, &pictures, NULL).code, ST_OK);
    assert_int_equal(cal->ranges.n_layers, c->n_layers);
    assert_int_equal(engine_openblas.create(&e, model->network).code, ST_OK);
    for (size_t i = 0; i < pictures.n; i++) {
        assert_int_equal(pictures_read(&pictures, i, input).code, ST_OK);
        engine_forward(e, input);
        for (size_t h = 0; h < c->n_heads; h++) {
            const struct range *r = &cal->ranges.layers[c->head_layer[h]];
            for (size_t k = 0; k < cfg_shape_size(c->layers[c->head_layer[h]].out); k++)
                assert_true(e->heads[h][k] >= r->min && e->heads[h][k] <= r->max);
        }
    }
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct range *r = &cal->ranges.layers[i];
        assert_true(r->min <= r->low && r->low <= r->high && r->high <= r->max);
        assert_true((c->layers[i].kind == CFG_CONVOLUTION && i > 0) == (cal->errors[i] > 0));
        if (c->layers[i].kind == CFG_MAXPOOL)
            assert_memory_equal(r, &cal->ranges.layers[c->layers[i].from[0]], sizeof(float) * 4);
    }
    engine_free(e);
    free(input);
    free(cal);
}

static void test_the_file_is_found_beside_the_model(void **state)
{
    struct calibration *cal = xcalloc(1, sizeof *cal);
    struct buf text = BUF_INIT(RANGES_MAX_BYTES);
    struct quant *q = xcalloc(1, sizeof *q);
    struct model *again;
    (void)state;
    assert_int_equal(quant_assign(q, model->network, TENSOR_S16).code, ST_UNAVAILABLE);
    assert_int_equal(calibrate(cal, model, &pictures, NULL).code, ST_OK);
    ranges_print(&cal->ranges, &text);
    put("small.ranges", text.data, text.size);
    assert_int_equal(loader_load(&again, "small", folder).code, ST_OK);
    assert_non_null(again->network->ranges);
    assert_int_equal(quant_assign(q, again->network, TENSOR_S16).code, ST_OK);
    for (size_t i = 0; i < again->network->cfg->n_heads; i++)
        assert_int_equal(q->layers[again->network->cfg->head_layer[i]].type, TENSOR_F32);
    model_free(again);

    text.data[strlen("bloginfer-ranges 1\nweights ")] ^= 1; /* of other weights: left alone */
    put("small.ranges", text.data, text.size);
    assert_int_equal(loader_load(&again, "small", folder).code, ST_OK);
    assert_null(again->network->ranges);
    model_free(again);
    buf_fini(&text);
    free(q);
    free(cal);
}

/* Root mean square difference over all heads, relative to that of the values. */
static double engine_error(const struct engine_kind *kind, const struct network *net)
{
    float *input = xcalloc(cfg_shape_size(net->cfg->input), sizeof *input);
    struct engine *exact, *e;
    double sum = 0, all = 0;

    assert_int_equal(engine_openblas.create(&exact, net).code, ST_OK);
    assert_int_equal(kind->create(&e, net).code, ST_OK);
    for (size_t i = 0; i < pictures.n; i++) {
        assert_int_equal(pictures_read(&pictures, i, input).code, ST_OK);
        engine_forward(exact, input);
        engine_forward(e, input);
        for (size_t h = 0; h < net->cfg->n_heads; h++)
            for (size_t k = 0; k < cfg_shape_size(net->cfg->layers[net->cfg->head_layer[h]].out); k++) {
                double want = (double)exact->heads[h][k], off = (double)e->heads[h][k] - want;
                sum += off * off;
                all += want * want;
            }
    }
    engine_free(e);
    engine_free(exact);
    free(input);
    return sqrt(sum / all);
}

static void test_quantised_engines_are_close(void **state)
{
    struct calibration *cal = xcalloc(1, sizeof *cal);
    struct ranges *ranges = xcalloc(1, sizeof *ranges);
    struct model *m;
    struct engine *e;
    (void)state;
    if (strcmp(nn_kernel_isa(), "portable") == 0)
        skip();
    assert_int_equal(loader_load(&m, "small", folder).code, ST_OK);
    assert_int_equal(network_set_ranges(m->network, NULL).code, ST_OK);
    assert_int_equal(engine_int16.create(&e, m->network).code, ST_UNAVAILABLE);
    assert_int_equal(calibrate(cal, m, &pictures, NULL).code, ST_OK);
    *ranges = cal->ranges;
    assert_int_equal(network_set_ranges(m->network, ranges).code, ST_OK);
    double wide = engine_error(&engine_int16, m->network), narrow = engine_error(&engine_int8, m->network);
    if (!(wide < 0.005 && narrow < 0.08 && narrow > wide))
        fail_msg("int16 %g, int8 %g", wide, narrow);
    model_free(m);
    free(cal);
}

int main(int argc, char **argv)
{
    (void)argc;
    nn_setup_blas(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_pictures_are_taken),
        cmocka_unit_test(test_ranges_hold_what_the_engine_computes),
        cmocka_unit_test(test_quantised_engines_are_close),
        cmocka_unit_test(test_the_file_is_found_beside_the_model),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
