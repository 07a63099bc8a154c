/* route_test.c - decoding and routing, without a server. */
#include "http/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct status nothing(struct http_call *call)
{
    (void)call;
    return status_ok();
}

static const struct http_route routes[] = {
    {"GET", "/", nothing, 0},
    {"GET", "/v2/models/{m}", nothing, 0},
    {"POST", "/v2/models/{m}/versions/{v}", nothing, 10},
    {"GET", "/static/*", nothing, 0},
    {"PUT", "/v2/models/{m}", nothing, 10},
};

static const struct http_route *find(struct route_match *m, const char *verb, const char *path)
{
    static struct arena arena;

    arena_fini(&arena);
    arena_init(&arena, 4096);
    assert_true(route_find(m, routes, COUNT_OF(routes), verb, path, &arena));
    return m->route;
}

static void test_routes_are_found(void **state)
{
    struct route_match m;

    (void)state;
    assert_ptr_equal(find(&m, "GET", "/"), &routes[0]);
    assert_ptr_equal(find(&m, "HEAD", "/v2/models/x"), &routes[1]);
    assert_string_equal(m.params[0].value, "x");
    assert_ptr_equal(find(&m, "PUT", "/v2/models/x"), &routes[4]);
    assert_ptr_equal(find(&m, "POST", "/v2/models/a b/versions/7"), &routes[2]);
    assert_int_equal(m.n_params, 2);
    assert_string_equal(m.params[0].value, "a b");
    assert_string_equal(m.params[1].value, "7");
    assert_ptr_equal(find(&m, "GET", "/static/a/b.js"), &routes[3]);
    assert_string_equal(m.params[0].value, "a/b.js");
}

static void test_other_paths_and_verbs_are_not(void **state)
{
    static const char *const paths[] = {"",           "/v2",          "/v2/",
                                        "/v2/models", "/v2/models/",  "/v2/models/x/",
                                        "/static",    "/static/",     "/v2/models/x/versions",
                                        "//",         "/v2//models/x"};
    struct route_match m;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        assert_null(find(&m, "GET", paths[i]));
        assert_false(m.path_known);
    }
    assert_null(find(&m, "DELETE", "/v2/models/x"));
    assert_true(m.path_known);
    assert_null(find(&m, "get", "/"));
}

static void test_allow_lists_the_verbs(void **state)
{
    struct buf b = BUF_INIT(100);

    (void)state;
    route_allow(&b, routes, COUNT_OF(routes), "/v2/models/x");
    assert_string_equal(b.data, "GET, HEAD, PUT");
    buf_fini(&b);
}

static void test_paths_are_decoded_strictly(void **state)
{
    static const char *const bad[] = {"",     "x",     "*",       "/%",         "/%4",           "/%zz", "/%00",
                                      "/%0a", "/\x01", "/%c0%af", "/%ed%a0%80", "/%f4%90%80%80", "/%ff", "/%7f"};
    static const char *const nowhere[] = {"/a/..", "/../a", "/.", "/a/%2e%2E/b", "/a%2fb"};
    char out[64];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(route_path(bad[i], out).code, ST_INVALID);
    for (size_t i = 0; i < COUNT_OF(nowhere); i++)
        assert_int_equal(route_path(nowhere[i], out).code, ST_NOT_FOUND);
    assert_int_equal(route_path("/a%20b+c/%E6%9D%A0/...//%25", out).code, ST_OK);
    assert_string_equal(out, "/a b+c/杠/...//%");
}

static void test_queries(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096);
    assert_string_equal(route_query("a=1&b=2+3%26&b=4", "b", &arena), "2 3&");
    assert_string_equal(route_query("&&a&c=", "a", &arena), "");
    assert_string_equal(route_query("%61=x", "a", &arena), "x");
    assert_null(route_query("ab=1", "a", &arena));
    assert_null(route_query("a=%ff", "a", &arena));
    assert_null(route_query(NULL, "a", &arena));
    assert_null(route_query("", "a", &arena));
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes_are_found),
        cmocka_unit_test(test_other_paths_and_verbs_are_not),
        cmocka_unit_test(test_allow_lists_the_verbs),
        cmocka_unit_test(test_paths_are_decoded_strictly),
        cmocka_unit_test(test_queries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
