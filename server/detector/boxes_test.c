/* boxes_test.c - boxes placed by hand into the raw outputs come out where they belong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "boxes.h"
#include "network/small_model.h"

#include <math.h>

#include <cmocka.h>

#define WIDTH  640
#define HEIGHT 480

struct heads {
    struct cfg *cfg;
    float *data[2];
};

static void setup(struct heads *h)
{
    h->cfg = small_cfg_parse();
    for (size_t i = 0; i < 2; i++) {
        size_t n = cfg_shape_size(h->cfg->layers[h->cfg->head_layer[i]].out);
        h->data[i] = xcalloc(n, sizeof(float));
        for (size_t k = 0; k < n; k++)
            h->data[i][k] = -20;
    }
}

static void teardown(struct heads *h)
{
    free(h->data[0]);
    free(h->data[1]);
    free(h->cfg);
}

static float logit(double p)
{
    return (float)log(p / (1 - p));
}

/* A box in the centre of cell x, y of a head, of its anchor's size. */
static void place(struct heads *h, size_t head, size_t anchor, size_t x, size_t y, double objectness, int class_id,
                  double probability)
{
    struct cfg_shape grid = h->cfg->layers[h->cfg->head_layer[head]].out;
    size_t plane = grid.h * grid.w;
    float *cell = h->data[head] + anchor * 7 * plane + y * grid.w + x;

    for (int i = 0; i < 4; i++)
        cell[(size_t)i * plane] = 0;
    cell[4 * plane] = logit(objectness);
    cell[(size_t)(5 + class_id) * plane] = logit(probability);
}

static size_t find(struct heads *h, float threshold, struct box_object *objects)
{
    struct boxes_request r = {threshold, 0.45f, WIDTH, HEIGHT, {0, 0, 1, 1}};
    return boxes_find(h->cfg, (const float *const *)h->data, &r, objects);
}

static void assert_near(float have, double want)
{
    if (fabs((double)have - want) > 1e-3)
        fail_msg("%g, not %g", (double)have, want);
}

static void test_place_size_and_confidence(void **state)
{
    struct box_object o[BOXES_MAX];
    struct heads h;
    (void)state;
    setup(&h);
    place(&h, 0, 1, 4, 6, 0.9, 1, 0.8);  /* head 0: 16 x 12 cells of 40 x 40 pixels; anchor 4: 24 x 30 of 64 x 48 */
    place(&h, 1, 0, 20, 3, 0.5, 0, 0.9); /* head 1: 32 x 24 cells of 20 x 20; anchor 0: 4 x 5 */
    assert_int_equal(find(&h, 0.25f, o), 2);
    assert_int_equal(o[0].class_id, 1);
    assert_near(o[0].confidence, 0.72);
    assert_near(o[0].width, 240);
    assert_near(o[0].height, 300);
    assert_near(o[0].left, 180 - 120);
    assert_near(o[0].top, 260 - 150);
    assert_int_equal(o[1].class_id, 0);
    assert_near(o[1].confidence, 0.45);
    assert_near(o[1].left, 410 - 20);
    assert_near(o[1].top, 70 - 25);
    assert_int_equal(find(&h, 0.5f, o), 1);
    assert_int_equal(find(&h, 0.8f, o), 0);
    teardown(&h);
}

static void test_suppression_is_within_a_class(void **state)
{
    struct box_object o[BOXES_MAX];
    struct heads h;
    (void)state;
    setup(&h);
    place(&h, 0, 2, 7, 5, 0.9, 0, 0.9);
    place(&h, 0, 2, 8, 5, 0.9, 0, 0.8); /* 40 of 400 pixels aside: the same object */
    place(&h, 0, 2, 7, 6, 0.9, 1, 0.7); /* another class: stays */
    assert_int_equal(find(&h, 0.25f, o), 2);
    assert_near(o[0].confidence, 0.81);
    assert_int_equal(o[1].class_id, 1);
    teardown(&h);
}

static void test_suppression_as_asked(void **state)
{
    struct boxes_request r = {0.25f, 0.99f, WIDTH, HEIGHT, {0, 0, 1, 1}};
    struct box_object o[BOXES_MAX];
    struct heads h;
    (void)state;
    setup(&h);
    place(&h, 0, 2, 7, 5, 0.9, 0, 0.9);
    place(&h, 0, 2, 8, 5, 0.9, 0, 0.8);
    assert_int_equal(boxes_find(h.cfg, (const float *const *)h.data, &r, o), 2);
    r.nms = 0.45f;
    assert_int_equal(boxes_find(h.cfg, (const float *const *)h.data, &r, o), 1);
    teardown(&h);
}

/* The picture fills the middle half of the input's height: its boxes are twice as high, and counted from its top. */
static void test_letterbox_is_undone(void **state)
{
    struct boxes_request r = {0.25f, 0.45f, WIDTH, HEIGHT, {0, 0.25f, 1, 0.5f}};
    struct box_object o[BOXES_MAX];
    struct heads h;
    (void)state;
    setup(&h);
    place(&h, 1, 0, 20, 11, 0.9, 0, 0.9); /* at 20.5 / 32 of the width, 11.5 / 24 of the height; 4 x 5 of 64 x 48 */
    assert_int_equal(boxes_find(h.cfg, (const float *const *)h.data, &r, o), 1);
    assert_near(o[0].left, 410 - 20);
    assert_near(o[0].width, 40);
    assert_near(o[0].height, 100);
    assert_near(o[0].top + o[0].height / 2, (11.5 / 24 - 0.25) * 2 * HEIGHT);
    teardown(&h);
}

static void test_clipped_to_the_picture(void **state)
{
    struct box_object o[BOXES_MAX];
    struct heads h;
    (void)state;
    setup(&h);
    place(&h, 0, 2, 0, 0, 0.9, 0, 0.9); /* 400 x 360 around 20, 20 */
    place(&h, 0, 2, 15, 11, 0.9, 1, 0.9);
    assert_int_equal(find(&h, 0.25f, o), 2);
    for (int i = 0; i < 2; i++) {
        assert_true(o[i].left >= 0 && o[i].top >= 0);
        assert_true(o[i].left + o[i].width <= WIDTH + 1e-3f && o[i].top + o[i].height <= HEIGHT + 1e-3f);
    }
    assert_near(o[0].width, 220);
    assert_near(o[0].height, 200);
    teardown(&h);
}

/* Numbers that a damaged network might produce stay numbers, and the answer stays bounded. */
static void test_extreme_outputs(void **state)
{
    static const float values[] = {1e30f, -1e30f, INFINITY, -INFINITY, NAN, 88, 0};
    struct box_object o[BOXES_MAX];
    struct heads h;
    (void)state;
    setup(&h);
    for (size_t v = 0; v < COUNT_OF(values); v++) {
        for (size_t i = 0; i < 2; i++)
            for (size_t k = 0; k < cfg_shape_size(h.cfg->layers[h.cfg->head_layer[i]].out); k++)
                h.data[i][k] = values[(v + k * 7919) % COUNT_OF(values)];
        size_t n = find(&h, 0.001f, o);
        assert_true(n <= BOXES_MAX);
        for (size_t i = 0; i < n; i++) {
            assert_true(o[i].left >= 0 && o[i].width > 0 && o[i].left + o[i].width <= WIDTH * 1.001f);
            assert_true(o[i].top >= 0 && o[i].height > 0 && o[i].top + o[i].height <= HEIGHT * 1.001f);
            assert_true(o[i].confidence >= 0.001f && o[i].confidence <= 1);
            assert_true(o[i].class_id < 2);
        }
    }
    teardown(&h);
}

/* The head of YOLO 2: anchors in cells, classes that share one. */
static void test_region(void **state)
{
    struct cfg *c = small_cfg_parse_text(small_cfg_yolo2);
    struct cfg_shape grid = c->layers[c->head_layer[0]].out;
    size_t plane = grid.h * grid.w;
    float *data = xcalloc(cfg_shape_size(grid), sizeof *data);
    struct box_object o[BOXES_MAX];
    (void)state;
    for (size_t i = 0; i < cfg_shape_size(grid); i++)
        data[i] = -20;
    float *cell = data + 1 * 7 * plane + 2 * grid.w + 3; /* anchor 1: 1.8 x 2 cells; 12 x 8 cells in all */
    for (size_t i = 0; i < 4; i++)
        cell[i * plane] = 0;
    cell[4 * plane] = logit(0.9);
    cell[5 * plane] = 1;
    cell[6 * plane] = 3;
    assert_int_equal(
        boxes_find(c, (const float *const *)&data, &(struct boxes_request){0.25f, 0.45f, 600, 400, {0, 0, 1, 1}}, o),
        1);
    assert_int_equal(o[0].class_id, 1);
    assert_near(o[0].confidence, 0.9 / (1 + exp(-2)));
    assert_near(o[0].width, 90);
    assert_near(o[0].height, 100);
    assert_near(o[0].left, 175 - 45);
    assert_near(o[0].top, 125 - 50);
    free(data);
    free(c);
}

/* YOLO 4: with scale 1.05 the middle lies up to 0.025 cells outside. */
static void test_scale_xy(void **state)
{
    struct cfg *c = small_cfg_parse_text(small_cfg_yolo4);
    struct cfg_shape grid = c->layers[c->head_layer[0]].out;
    size_t plane = grid.h * grid.w;
    float *data = xcalloc(cfg_shape_size(grid), sizeof *data);
    struct box_object o[BOXES_MAX];
    (void)state;
    for (size_t i = 0; i < cfg_shape_size(grid); i++)
        data[i] = -20;
    float *cell = data + 4 * grid.w + 5; /* 12 x 8 cells */
    cell[0] = 20;
    cell[2 * plane] = cell[3 * plane] = -2;
    cell[4 * plane] = cell[5 * plane] = logit(0.9);
    assert_int_equal(
        boxes_find(c, (const float *const *)&data, &(struct boxes_request){0.25f, 0.45f, 1200, 800, {0, 0, 1, 1}}, o),
        1);
    assert_near(o[0].left + o[0].width / 2, 600 + 2.5);
    assert_near(o[0].top + o[0].height / 2, 400 - 2.5);
    free(data);
    free(c);
}

static void test_overlap(void **state)
{
    struct box_object a = {0, 0, 10, 10, 0, 0}, b = {5, 0, 10, 10, 0, 0}, c = {20, 20, 1, 1, 0, 0};
    (void)state;
    assert_near(boxes_overlap(&a, &a), 1);
    assert_near(boxes_overlap(&a, &b), 50.0 / 150);
    assert_near(boxes_overlap(&a, &c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place_size_and_confidence),
        cmocka_unit_test(test_suppression_is_within_a_class),
        cmocka_unit_test(test_suppression_as_asked),
        cmocka_unit_test(test_letterbox_is_undone),
        cmocka_unit_test(test_clipped_to_the_picture),
        cmocka_unit_test(test_extreme_outputs),
        cmocka_unit_test(test_region),
        cmocka_unit_test(test_scale_xy),
        cmocka_unit_test(test_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
