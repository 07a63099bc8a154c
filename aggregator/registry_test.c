/* registry_test.c - what is promoted and what is not, and the service over real gRPC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry.h"

#include "bloginfer/v1/registry.pb-c.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        struct status check_ = (call);                                                                                 \
        if (check_.code)                                                                                               \
            fail_msg("%s: %s", #call, check_.msg);                                                                     \
    } while (0)

static char dir[PATH_MAX], target[64];
static struct registry *registry;
static struct rpc_server *server;
static struct rpc_client *client;
static struct arena arena;

static int setup(void **state)
{
    const struct rpc_server_config config = {
        .listen = (char *)"127.0.0.1", .workers = 2, .queue = 16, .drain_ms = 5000};

    (void)state;
    strcpy(dir, "/tmp/registry_test.XXXXXX");
    assert_non_null(mkdtemp(dir));
    CHECK_OK(registry_open(&registry, dir, 3));
    CHECK_OK(rpc_server_new(&server, &config));
    CHECK_OK(rpc_server_add(server, &bloginfer__v1__model_registry_service__descriptor, registry_methods,
                            registry_n_methods, registry));
    CHECK_OK(rpc_server_start(server));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(server));
    CHECK_OK(rpc_client_new(&client, &(struct rpc_client_config){.target = target}));
    arena_init(&arena, 8 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rpc_client_free(client);
    rpc_server_stop(server);
    registry_close(registry);
    arena_fini(&arena);
    return (int)fs_remove_tree(dir).code;
}

/* Publishes a small model of this run with what was measured. */
static struct registry_verdict publish(const char *run, double accuracy, uint64_t production, double baseline)
{
    struct model *m = model_new();
    const float value = 1;
    char *data = NULL;
    size_t size = 0;
    struct registry_verdict v;

    model_set(m, "run", run);
    model_set(m, "labels", "negative,positive");
    model_reserve(m, 1);
    model_add(m, "w", NULL, 0, &value);
    CHECK_OK(model_encode(m, &data, &size));
    const struct store_file files[] = {{STORE_MODEL_FILE, data, size}, {"metrics.jsonl", "{}\n", 3}};
    const struct registry_candidate c = {"sentiment", run, files, 2, accuracy, baseline, production};
    CHECK_OK(registry_publish(registry, &c, &v));
    assert_true(v.reason[0]);
    free(data);
    model_free(m);
    return v;
}

static uint64_t pointer(enum store_pointer which)
{
    uint64_t version;

    CHECK_OK(store_get_pointer(dir, "sentiment", which, &version));
    return version;
}

static struct status ask(const char *method, const void *in, const void **out)
{
    const struct rpc_options options = {.arena = &arena, .timeout_ms = 20000};

    *out = NULL;
    return rpc_unary(client, &bloginfer__v1__model_registry_service__descriptor, method, in, out, &options);
}

/* ---- the rule ---- */

static void test_the_first_goes_into_production(void **state)
{
    (void)state;
    struct registry_verdict v = publish("a", 0.6, 0, NAN);

    assert_true(v.version == 1 && v.promoted);
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
    assert_int_equal(pointer(STORE_CANDIDATE), 1);
}

static void test_at_most_half_a_point_below(void **state)
{
    (void)state;
    publish("a", 0.875, 0, NAN);
    assert_false(publish("b", 0.8699, 1, 0.875).promoted);
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
    assert_int_equal(pointer(STORE_CANDIDATE), 2);
    assert_true(publish("c", 0.870, 1, 0.875).promoted);
    assert_int_equal(pointer(STORE_PRODUCTION), 3);
    assert_true(publish("d", 0.9, 3, 0.870).promoted);
}

static void test_what_was_not_compared_stays_candidate(void **state)
{
    (void)state;
    publish("a", 0.7, 0, NAN);
    assert_false(publish("b", 0.9, 1, NAN).promoted);
    assert_false(publish("c", NAN, 1, 0.7).promoted);
    assert_false(publish("d", INFINITY, 1, 0.7).promoted);
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
}

static void test_a_comparison_with_another_production_does_not_count(void **state)
{
    (void)state;
    publish("a", 0.7, 0, NAN);
    publish("b", 0.8, 1, 0.7);
    assert_false(publish("c", 0.75, 1, 0.7).promoted); /* 2 came while it ran */
    assert_int_equal(pointer(STORE_PRODUCTION), 2);
}

static void test_a_run_has_one_version(void **state)
{
    (void)state;
    assert_int_equal(publish("a", 0.7, 0, NAN).version, 1);
    assert_int_equal(publish("b", 0.6, 1, 0.7).version, 2);
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_CANDIDATE, 0)); /* as a crash before the pointers leaves it */
    struct registry_verdict v = publish("b", 0.6, 1, 0.7);
    assert_true(v.version == 2 && !v.promoted);
    assert_int_equal(pointer(STORE_CANDIDATE), 2);
    v = publish("a", 0.7, 0, NAN);
    assert_true(v.version == 1 && v.promoted); /* it is in production, and stays */
}

static void test_old_versions_go_but_not_those_in_use(void **state)
{
    (void)state;
    uint64_t *versions = NULL;
    size_t n;

    publish("a", 0.7, 0, NAN);
    publish("b", 0.8, 1, 0.7); /* production; 1 is where a rollback would go */
    publish("c", 0.1, 2, 0.8);
    publish("d", 0.1, 2, 0.8);
    publish("e", 0.1, 2, 0.8);
    CHECK_OK(store_list(dir, "sentiment", &versions, &n));
    assert_int_equal(n, 3);
    assert_true(versions[0] == 1 && versions[1] == 2 && versions[2] == 5);
    free(versions);
}

/* ---- the service ---- */

static const char *metadata(const Bloginfer__V1__ModelVersion *m, const char *key)
{
    for (size_t i = 0; i < m->n_metadata; i++)
        if (strcmp(m->metadata[i]->key, key) == 0)
            return m->metadata[i]->value;
    return "";
}

static void test_list(void **state)
{
    (void)state;
    Bloginfer__V1__ListModelsRequest req = BLOGINFER__V1__LIST_MODELS_REQUEST__INIT;
    const void *out;

    CHECK_OK(ask("ListModels", &req, &out));
    assert_int_equal(((const Bloginfer__V1__ListModelsResponse *)out)->n_models, 0);
    publish("a", 0.7, 0, NAN);
    publish("b", 0.1, 1, 0.7);
    CHECK_OK(ask("ListModels", &req, &out));
    const Bloginfer__V1__ListModelsResponse *rep = out;
    assert_int_equal(rep->n_models, 2);
    const Bloginfer__V1__ModelVersion *first = rep->models[0], *second = rep->models[1];
    assert_string_equal(first->task, "sentiment");
    assert_true(first->version == 1 && first->production && !first->candidate);
    assert_true(second->version == 2 && !second->production && second->candidate);
    assert_int_equal(strlen(first->sha256), 64);
    assert_true(first->size_bytes > 20);
    assert_string_equal(metadata(first, "run"), "a");
    assert_string_equal(metadata(second, "labels"), "negative,positive");
    req.task = (char *)"troll";
    CHECK_OK(ask("ListModels", &req, &out));
    assert_int_equal(((const Bloginfer__V1__ListModelsResponse *)out)->n_models, 0);
    req.task = (char *)"../..";
    assert_int_equal(ask("ListModels", &req, &out).code, ST_INVALID);
}

static void test_a_damaged_version_is_listed_as_such(void **state)
{
    (void)state;
    Bloginfer__V1__ListModelsRequest req = BLOGINFER__V1__LIST_MODELS_REQUEST__INIT;
    Bloginfer__V1__PromoteModelRequest promote = BLOGINFER__V1__PROMOTE_MODEL_REQUEST__INIT;
    char path[PATH_MAX];
    const void *out;

    publish("a", 0.7, 0, NAN);
    publish("b", 0.1, 1, 0.7);
    CHECK_OK(fs_write_atomic(store_path(path, sizeof path, dir, "sentiment", 2, STORE_MODEL_FILE), "junk", 4));
    CHECK_OK(ask("ListModels", &req, &out));
    const Bloginfer__V1__ListModelsResponse *rep = out;
    assert_int_equal(rep->n_models, 2);
    assert_string_equal(metadata(rep->models[0], "damaged"), "");
    assert_non_null(strstr(metadata(rep->models[1], "damaged"), "sentiment/2"));
    promote.task = (char *)"sentiment";
    promote.version = 2;
    struct status st = ask("PromoteModel", &promote, &out);
    assert_int_equal(st.code, ST_DATA_LOSS);
    assert_null(strstr(st.msg, dir)); /* no path of ours */
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
}

static void test_get(void **state)
{
    (void)state;
    Bloginfer__V1__GetModelRequest req = BLOGINFER__V1__GET_MODEL_REQUEST__INIT;
    const void *out;

    req.task = (char *)"sentiment";
    assert_int_equal(ask("GetModel", &req, &out).code, ST_NOT_FOUND);
    publish("a", 0.7, 0, NAN);
    publish("b", 0.1, 1, 0.7);
    CHECK_OK(ask("GetModel", &req, &out));
    assert_int_equal(((const Bloginfer__V1__GetModelResponse *)out)->model->version, 1);
    req.version = 2;
    CHECK_OK(ask("GetModel", &req, &out));
    assert_string_equal(metadata(((const Bloginfer__V1__GetModelResponse *)out)->model, "run"), "b");
    req.version = 3;
    assert_int_equal(ask("GetModel", &req, &out).code, ST_NOT_FOUND);
    req.task = (char *)"";
    assert_int_equal(ask("GetModel", &req, &out).code, ST_INVALID);
}

static void test_promote_and_roll_back(void **state)
{
    (void)state;
    Bloginfer__V1__PromoteModelRequest promote = BLOGINFER__V1__PROMOTE_MODEL_REQUEST__INIT;
    Bloginfer__V1__RollbackModelRequest rollback = BLOGINFER__V1__ROLLBACK_MODEL_REQUEST__INIT;
    const void *out;

    promote.task = rollback.task = (char *)"sentiment";
    promote.version = 3;
    assert_int_equal(ask("RollbackModel", &rollback, &out).code, ST_PRECONDITION);
    publish("a", 0.7, 0, NAN);
    publish("b", 0.1, 1, 0.7); /* never in production: passed over by the rollback */
    publish("c", 0.1, 1, 0.7);
    CHECK_OK(ask("PromoteModel", &promote, &out));
    const Bloginfer__V1__ModelVersion *m = ((const Bloginfer__V1__PromoteModelResponse *)out)->model;
    assert_true(m->version == 3 && m->production);
    CHECK_OK(ask("PromoteModel", &promote, &out)); /* again */
    CHECK_OK(ask("RollbackModel", &rollback, &out));
    m = ((const Bloginfer__V1__RollbackModelResponse *)out)->model;
    assert_true(m->version == 1 && m->production);
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
    assert_int_equal(ask("RollbackModel", &rollback, &out).code, ST_PRECONDITION);
    promote.version = 9;
    assert_int_equal(ask("PromoteModel", &promote, &out).code, ST_NOT_FOUND);
    promote.version = 0;
    assert_int_equal(ask("PromoteModel", &promote, &out).code, ST_INVALID);
    promote.version = 1;
    promote.task = (char *)"troll";
    assert_int_equal(ask("PromoteModel", &promote, &out).code, ST_NOT_FOUND);
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_first_goes_into_production),
        TEST(test_at_most_half_a_point_below),
        TEST(test_what_was_not_compared_stays_candidate),
        TEST(test_a_comparison_with_another_production_does_not_count),
        TEST(test_a_run_has_one_version),
        TEST(test_old_versions_go_but_not_those_in_use),
        TEST(test_list),
        TEST(test_a_damaged_version_is_listed_as_such),
        TEST(test_get),
        TEST(test_promote_and_roll_back),
    };

    rpc_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
