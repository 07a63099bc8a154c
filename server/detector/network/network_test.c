/* network_test.c - which weights files are taken, and that folding keeps what the layer computes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "small_model.h"

#include <math.h>

#include <cmocka.h>

struct made {
    struct cfg *cfg;
    uint8_t *file;
    size_t size;
};

static struct made make(int version)
{
    struct made m = {.cfg = small_cfg_parse()};
    m.file = small_weights(m.cfg, version, &m.size);
    return m;
}

static void assert_refused(struct made m, const char *says)
{
    struct network *net;
    struct status st = network_new(&net, m.cfg, m.file, m.size);
    if (st.code != ST_INVALID || !strstr(st.msg, says))
        fail_msg("%s \"%s\" instead of \"%s\"", code_name(st.code), st.msg, says);
}

static void test_both_headers(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct made m = make(version);
        struct network *net;
        assert_int_equal(network_new(&net, m.cfg, m.file, m.size).code, ST_OK);
        network_free(net);
    }
}

static void test_wrong_sizes(void **state)
{
    static const struct {
        size_t size;
        const char *says;
    } cases[] = {{0, "only 0 bytes"}, {11, "only 11 bytes"}, {20, "20 bytes, the cfg asks for"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct made m = make(2);
        m.size = cases[i].size;
        assert_refused(m, cases[i].says);
    }
    struct made m = make(2);
    m.size -= 4;
    assert_refused(m, "the cfg asks for");
    m = make(2);
    m.file = xrealloc(m.file, m.size + 4, 1);
    m.size += 4;
    assert_refused(m, "the cfg asks for");
}

static void test_wrong_numbers(void **state)
{
    struct made m = make(2);
    const float bad = NAN, negative = -1;
    int32_t major = 1001; /* darknet would transpose the matrices */
    (void)state;
    memcpy(m.file, &major, 4);
    assert_refused(m, "unknown header");
    m = make(2);
    memcpy(m.file + m.size - 4, &bad, 4);
    assert_refused(m, "not finite");
    m = make(2);
    memcpy(m.file + 20 + 4 * (3 * 8 + 1), &negative, 4); /* the second variance of the first layer */
    assert_refused(m, "negative variance");
    m = make(2);
    for (size_t i = 20; i < m.size; i++)
        m.file[i] = (uint8_t)(i * 167 + i / 256);
    assert_refused(m, "not finite");
}

static void test_folding(void **state)
{
    struct made m = make(2);
    struct network *net;
    const float *p = (const float *)(const void *)(m.file + 20);
    float bias = p[3], scale = p[8 + 3], mean = p[16 + 3], variance = p[24 + 3], weights[27];
    (void)state;
    memcpy(weights, p + 32 + 27 * 3, sizeof weights);
    assert_int_equal(network_new(&net, m.cfg, m.file, m.size).code, ST_OK);
    double sum = 0, folded = (double)net->layers[0].bias[3];
    for (int i = 0; i < 27; i++) {
        sum += (double)weights[i] * (i - 13);
        folded += (double)net->layers[0].weights[27 * 3 + i] * (i - 13);
    }
    double want = (sum - (double)mean) / (sqrt((double)variance) + 1e-6) * (double)scale + (double)bias;
    assert_true(fabs(want - folded) < 1e-4);
    assert_null(net->layers[1].weights);
    network_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_headers),
        cmocka_unit_test(test_wrong_sizes),
        cmocka_unit_test(test_wrong_numbers),
        cmocka_unit_test(test_folding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
