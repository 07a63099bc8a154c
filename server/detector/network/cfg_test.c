/* cfg_test.c - the shapes of known networks, and a table of damaged files with what is said about each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "small_model.h"

#include <stdio.h>

#include <cmocka.h>

static void test_small_network(void **state)
{
    struct cfg *c = small_cfg_parse();
    (void)state;
    assert_int_equal(c->n_layers, 18);
    assert_int_equal(c->n_heads, 2);
    assert_int_equal(c->head_layer[0], 10);
    assert_int_equal(c->head_layer[1], 16);
    assert_int_equal(c->heads[0].mask[0], 3);
    assert_int_equal(c->layers[5].from[1], 1);
    assert_int_equal(c->layers[15].from[0], 14);
    assert_int_equal(c->layers[15].from[1], 5);
    assert_int_equal(c->layers[15].out.c, 16);
    assert_int_equal(c->layers[15].out.w, 32);
    assert_int_equal(c->layers[8].out.w, 16); /* stride 1 keeps the size */
    assert_int_equal(c->layers[9].pad, 2);
    assert_int_equal(c->layers[7].n_params, 16 * 8 * 9 + 4 * 16);
    free(c);
}

/* The networks of the families that Debian's darknet ships, and how many parameters their published weights have. */
static void test_cfgs_of_debian(void **state)
{
    static const struct {
        const char *file;
        size_t n_params, side; /* of the last head */
    } cases[] = {{"yolov3-tiny", (35434956 - 20) / 4, 26},
                 {"yolov3", (248007048 - 20) / 4, 76},
                 {"yolov3-spp", (252209544 - 20) / 4, 76},
                 {"yolov2-tiny", (44948600 - 20) / 4, 13},
                 {"yolov2", (203934260 - 16) / 4, 19}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *path = xasprintf("/usr/share/darknet/cfg/%s.cfg", cases[i].file), *text;
        struct cfg *c = NULL;
        size_t size;
        or_die(fs_read(path, 1 << 20, &text, &size));
        struct status st = cfg_parse(&c, text, size);
        if (st.code)
            fail_msg("%s: %s", cases[i].file, st.msg);
        assert_int_equal(c->n_params, cases[i].n_params);
        assert_int_equal(c->layers[c->head_layer[c->n_heads - 1]].out.w, cases[i].side);
        free(c);
        free(text);
        free(path);
    }
}

static void test_yolo2(void **state)
{
    struct cfg *c = small_cfg_parse_text(small_cfg_yolo2);
    (void)state;
    assert_int_equal(c->layers[6].kind, CFG_REORG);
    assert_int_equal(c->layers[6].out.c, 64);
    assert_int_equal(c->layers[6].out.w, 24 / 2);
    assert_true(c->heads[0].region && c->heads[0].softmax);
    assert_int_equal(c->heads[0].n_mask, 3);
    free(c);
}

static void test_yolo4(void **state)
{
    struct cfg *c = small_cfg_parse_text(small_cfg_yolo4);
    (void)state;
    assert_int_equal(c->layers[1].out.c, 16);
    assert_int_equal(c->layers[1].group, 1);
    assert_true(c->heads[0].scale_xy > 1.04f && c->heads[0].scale_xy < 1.06f);
    free(c);
}

/* What darknet is given describes the same network. */
static void test_print_and_parse(void **state)
{
    static const char *const texts[] = {small_cfg, small_cfg_yolo2, small_cfg_yolo4};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct cfg *a = small_cfg_parse_text(texts[i]), *b;
        struct buf text = BUF_INIT(1 << 20);
        cfg_print(a, &text);
        or_die(cfg_parse(&b, text.data, text.size));
        assert_int_equal(a->n_params, b->n_params);
        assert_int_equal(a->n_layers, b->n_layers);
        assert_memory_equal(a->layers, b->layers, sizeof a->layers);
        assert_memory_equal(a->heads, b->heads, sizeof a->heads);
        assert_non_null(strstr(text.data, "batch=1\n"));
        buf_fini(&text);
        free(a);
        free(b);
    }
}

/* The small cfg with its n-th occurrence of `old` replaced. */
static char *edited(const char *old, int nth, const char *new)
{
    const char *p = small_cfg - 1;
    for (int i = 0; i < nth; i++) {
        p = strstr(p + 1, old);
        if (!p)
            fail_msg("\"%s\" is not there %d times", old, nth);
    }
    return xasprintf("%.*s%s%s", (int)(p - small_cfg), small_cfg, new, p + strlen(old));
}

static void test_damage(void **state)
{
    static const struct {
        const char *old;
        int nth;
        const char *new, *says;
    } cases[] = {
        {"[net]", 1, "[nets]", "[net] has to"},
        {"width=64\n", 1, "", "needs width"},
        {"width=64", 1, "width=0", "from 1 to 1024"},
        {"width=64", 1, "width=99999", "from 1 to 1024"},
        {"width=64", 1, "width=6x4", "not a whole number"},
        {"width=64", 1, "width=99999999999999999999", "not a whole number"},
        {"channels=3", 1, "channels=1", "from 3 to 3"},
        {"[net]", 1, "a=1\n[net]", "before the first"},
        {"[maxpool]", 1, "[maxpool", "written [name]"},
        {"[maxpool]", 1, "[]", "written [name]"},
        {"[maxpool]", 1, "[lstm]", "[lstm] is not a supported layer"},
        {"[maxpool]", 1, "[connected]", "not a supported layer"},
        {"[maxpool]", 1, "maxpool", "neither a [section] nor"},
        {"activation=leaky", 1, "activation=mish", "activation=mish"},
        {"activation=leaky", 1, "activation=", "is empty"},
        {"filters=8", 1, "filters=0", "filters=0"},
        {"filters=8", 1, "filters=-8", "filters=-8"},
        {"filters=8", 1, "filters=8\nfilters=8", "stands in line"},
        {"filters=8", 1, "filters=8\nantialiasing=1", "antialiasing is not supported"},
        {"filters=8", 1, "filters=8\nbinary=1", "binary other than 0"},
        {"size=3", 1, "size=1000", "size=1000"},
        {"stride=1", 1, "stride=0", "stride=0"},
        {"groups=8", 1, "groups=3", "does not divide"},
        {"groups=2", 1, "groups=5", "does not divide"},
        {"from=-4", 1, "from=-40", "not a layer before"},
        {"from=-4", 1, "from=5", "not a layer before"},
        {"from=-4", 1, "from=-5", "different shapes"},
        {"from=-4", 1, "from=a", "not a list"},
        {"from=-4\n", 1, "", "has no from"},
        {"layers = -1, 5", 1, "layers = -1, 0", "joins"},
        {"layers = -1, 5", 1, "layers = -1, 17", "not a layer before"},
        {"layers = -1, 5", 1, "layers = -1, 5,", "not a list"},
        {"layers = -1, 5", 1, "layers = -1 5", "not a list"},
        {"layers = -1, 5", 1, "layers = 1,1,1,1,1,1,1,1,1", "not a list"},
        {"layers = -3", 1, "layers = -1", "reads layer 11, a head"},
        {"stride=2\n[route]", 1, "stride=2\nscale=2\n[route]", "scale other than 1"},
        {"mask = 3,4,5", 1, "mask = 3,4,6", "anchor 6 of 6"},
        {"mask = 3,4,5", 1, "mask = 3,4", "needs 14 filters"},
        {"mask = 3,4,5", 1, "mask = -1,4,5", "not a list"},
        {"classes=2", 1, "classes=3", "needs 24 filters"},
        {"num=6", 1, "num=5", "needs 10 numbers"},
        {"num=6", 1, "num=1000", "num=1000"},
        {"anchors=4,5,", 1, "anchors=4,nan,", "not a list"},
        {"anchors=4,5,", 1, "anchors=4,0x5,", "not a list"},
        {"anchors=4,5,", 1, "anchors=4,-5,", "not a list"},
        {"jitter=.3", 1, "scale_x_y=3", "scale_x_y=3"},
        {"jitter=.3", 1, "new_coords=1", "new_coords other than 0"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *text = edited(cases[i].old, cases[i].nth, cases[i].new);
        struct cfg *c = NULL;
        struct status st = cfg_parse(&c, text, strlen(text));
        if (st.code != ST_INVALID || !strstr(st.msg, cases[i].says))
            fail_msg("case %zu (%s -> %s): %s \"%s\"", i, cases[i].old, cases[i].new, code_name(st.code), st.msg);
        free(text);
    }
}

static void assert_says(const char *text, size_t size, const char *says)
{
    struct cfg *c;
    struct status st = cfg_parse(&c, text, size);
    if (st.code != ST_INVALID || !strstr(st.msg, says))
        fail_msg("%s \"%s\" instead of \"%s\"", code_name(st.code), st.msg, says);
}

static void test_whole_files(void **state)
{
    char *large = xcalloc(1, (256 << 10) + 1);
    struct buf many = BUF_INIT(256 << 10);
    (void)state;
    assert_says("", 0, "no sections");
    assert_says("# nothing\n\n", 11, "no sections");
    assert_says("[net]\nwidth=32\nheight=32\nchannels=3\n", 36, "no [yolo]");
    assert_says("[net]\0width=32", 14, "not text");
    assert_says("\x7f"
                "ELF\x02\x01\x01",
                7, "not text");
    memset(large, '\n', 256 << 10);
    assert_says(large, (256 << 10) + 1, "at most");
    buf_puts(&many, "[net]\nwidth=32\nheight=32\nchannels=3\n");
    for (int i = 0; i < CFG_MAX_LAYERS + 1; i++)
        buf_puts(&many, "[maxpool]\nstride=1\n");
    assert_says(many.data, many.size, "one layer too many");
    buf_fini(&many);
    free(large);
}

/* Sizes multiply: each step is refused before a product could wrap. */
static void test_growth_is_bounded(void **state)
{
    struct buf text = BUF_INIT(256 << 10);
    (void)state;
    buf_puts(&text, "[net]\nwidth=1024\nheight=1024\nchannels=3\n");
    for (int i = 0; i < 20; i++)
        buf_puts(&text, "[upsample]\nstride=8\n");
    assert_says(text.data, text.size, "outputs");
    buf_clear(&text);
    buf_puts(&text, "[net]\nwidth=16\nheight=16\nchannels=3\n");
    for (int i = 0; i < 20; i++)
        buf_puts(&text, "[convolutional]\nfilters=16384\nsize=15\npad=1\nactivation=linear\n");
    assert_says(text.data, text.size, "parameters");
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_network), cmocka_unit_test(test_cfgs_of_debian),    cmocka_unit_test(test_yolo2),
        cmocka_unit_test(test_yolo4),         cmocka_unit_test(test_print_and_parse),   cmocka_unit_test(test_damage),
        cmocka_unit_test(test_whole_files),   cmocka_unit_test(test_growth_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
