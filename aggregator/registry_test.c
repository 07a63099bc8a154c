/* registry_test.c - what is promoted and what is not, and the service over real gRPC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "classifier/classifier.h"
#include "text/text.h"

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

/* ---- files ---- */

#define SERVICE (&bloginfer__v1__model_registry_service__descriptor)

/* A real, small model's bytes, to free(). */
static char *classifier_file(const char *task, const char *labels, size_t *size)
{
    const struct nn_shape shape = {
        .family = NN_LSTM, .vocab = TEXT_N_IDS, .embed = 8, .hidden = 4, .buckets = 64, .classes = 2, .max_tokens = 9};
    struct classifier *c;
    char *data;

    CHECK_OK(classifier_new(&c, task, labels, &shape));
    nn_init(c->params, &shape, 1);
    struct model *m = classifier_to_model(c);
    CHECK_OK(model_encode(m, &data, size));
    model_free(m);
    classifier_free(c);
    return data;
}

/* Sends what it is told, whether it fits together or not. */
static struct status import(const char *data, size_t size, uint64_t announced, const char *digest, uint64_t *version)
{
    Bloginfer__V1__ImportModelRequest req = BLOGINFER__V1__IMPORT_MODEL_REQUEST__INIT;
    Bloginfer__V1__ImportHeader header = BLOGINFER__V1__IMPORT_HEADER__INIT;
    uint8_t sum[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    struct rpc_call *call;
    const void *in = NULL;

    CHECK_OK(rpc_stream_open(&call, client, SERVICE, "ImportModel", &(struct rpc_options){.timeout_ms = 20000}));
    sha256(data, size, sum);
    header.total_bytes = announced;
    header.sha256 = digest ? (char *)digest : hex_encode(sum, sizeof sum, hex);
    req.body_case = BLOGINFER__V1__IMPORT_MODEL_REQUEST__BODY_HEADER;
    req.header = &header;
    if (announced)
        rpc_send(call, &req);
    req.body_case = BLOGINFER__V1__IMPORT_MODEL_REQUEST__BODY_DATA;
    for (size_t at = 0; at < size; at += req.data.len) {
        req.data.data = (uint8_t *)data + at;
        req.data.len = size - at < 100000 ? size - at : 100000;
        if (rpc_send(call, &req).code)
            break;
    }
    rpc_send_done(call);
    if (!rpc_recv(call, &in).code && in)
        *version = ((const Bloginfer__V1__ImportModelResponse *)in)->model->version;
    return rpc_stream_finish(call);
}

/* The bytes, to free(); NULL with the status when it failed. */
static char *export(uint64_t version, size_t *size, struct status *st)
{
    Bloginfer__V1__ExportModelRequest req = BLOGINFER__V1__EXPORT_MODEL_REQUEST__INIT;
    struct buf bytes = BUF_INIT(8 << 20);
    struct rpc_call *call;
    const void *in = NULL;

    req.task = (char *)"sentiment";
    req.version = version;
    CHECK_OK(rpc_stream_open(&call, client, SERVICE, "ExportModel", &(struct rpc_options){.timeout_ms = 20000}));
    rpc_send(call, &req);
    rpc_send_done(call);
    while (!rpc_recv(call, &in).code && in) {
        const Bloginfer__V1__ExportModelResponse *chunk = in;
        assert_int_equal(chunk->offset, bytes.size);
        assert_int_equal(strlen(chunk->sha256), 64);
        buf_add(&bytes, chunk->data.data, chunk->data.len);
        assert_true(bytes.size <= chunk->total_bytes);
    }
    *st = rpc_stream_finish(call);
    *size = bytes.size;
    if (!st->code)
        return buf_take(&bytes);
    buf_fini(&bytes);
    return NULL;
}

static void test_a_file_goes_out_and_comes_in_unchanged(void **state)
{
    (void)state;
    size_t size, out_size;
    char *data = classifier_file("sentiment", "negative,positive", &size);
    uint64_t version = 0;
    struct status st;

    CHECK_OK(import(data, size, size, NULL, &version));
    assert_int_equal(version, 1);
    assert_int_equal(pointer(STORE_CANDIDATE), 1);
    assert_int_equal(pointer(STORE_PRODUCTION), 0); /* that is for a person to say */
    char *out = export(1, &out_size, &st);
    CHECK_OK(st);
    assert_int_equal(out_size, size);
    assert_memory_equal(out, data, size);
    free(out);
    assert_null(export(0, &out_size, &st));
    assert_int_equal(st.code, ST_NOT_FOUND); /* nothing is in production */
    CHECK_OK(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, 1));
    out = export(0, &out_size, &st);
    CHECK_OK(st);
    free(out);
    assert_null(export(7, &out_size, &st));
    assert_int_equal(st.code, ST_NOT_FOUND);
    free(data);
}

static void test_a_damaged_file_does_not_go_out(void **state)
{
    (void)state;
    char path[PATH_MAX];
    size_t size;
    char *data = classifier_file("sentiment", "negative,positive", &size);
    uint64_t version = 0;
    struct status st;

    CHECK_OK(import(data, size, size, NULL, &version));
    data[size / 2] ^= 1;
    CHECK_OK(fs_write_atomic(store_path(path, sizeof path, dir, "sentiment", 1, STORE_MODEL_FILE), data, size));
    assert_null(export(1, &size, &st));
    assert_int_equal(st.code, ST_DATA_LOSS);
    free(data);
}

static void test_what_is_no_model_does_not_come_in(void **state)
{
    (void)state;
    size_t size, other_size, n;
    char *data = classifier_file("sentiment", "negative,positive", &size);
    char *turned = classifier_file("sentiment", "positive,negative", &other_size);
    char *foreign = classifier_file("weather", "dry,wet", &n);
    uint64_t version = 0, *versions = NULL;

    assert_int_equal(import(data, size, 0, NULL, &version).code, ST_INVALID); /* no header */
    assert_int_equal(import(data, size, size + 1, NULL, &version).code, ST_INVALID);
    assert_int_equal(import(data, size, size - 1, NULL, &version).code, ST_INVALID);
    assert_int_equal(import(data, size, UINT64_MAX, NULL, &version).code, ST_INVALID);
    assert_int_equal(import(data, size, size, "00", &version).code, ST_INVALID);
    const char *zeros = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_int_equal(import(data, size, size, zeros, &version).code, ST_INVALID);
    assert_int_equal(import(data, size / 2, size / 2, NULL, &version).code, ST_INVALID); /* cut */
    assert_int_equal(import(turned, other_size, other_size, NULL, &version).code, ST_INVALID);
    assert_int_equal(import(foreign, n, n, NULL, &version).code, ST_INVALID);
    CHECK_OK(store_list(dir, "sentiment", &versions, &n));
    assert_int_equal(n, 0);
    free(versions);
    free(data);
    free(turned);
    free(foreign);
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

static Bloginfer__V1__ModelParameters *parameters_of(const char *task)
{
    Bloginfer__V1__GetModelParametersRequest req = BLOGINFER__V1__GET_MODEL_PARAMETERS_REQUEST__INIT;
    const void *out = NULL;

    req.task = (char *)task;
    CHECK_OK(ask("GetModelParameters", &req, &out));
    return ((const Bloginfer__V1__GetModelParametersResponse *)out)->parameters;
}

static enum code set_parameters(const char *task, Bloginfer__V1__ModelParameters *p, const char *field,
                                const char *another)
{
    Bloginfer__V1__SetModelParametersRequest req = BLOGINFER__V1__SET_MODEL_PARAMETERS_REQUEST__INIT;
    char *fields[] = {(char *)field, (char *)another};
    const void *out = NULL;

    req.task = (char *)task;
    req.parameters = p;
    req.fields = fields;
    req.n_fields = field ? another ? 2 : 1 : 0;
    return ask("SetModelParameters", &req, &out).code;
}

static void test_parameters_change_one_by_one(void **state)
{
    (void)state;
    Bloginfer__V1__ModelParameters p = BLOGINFER__V1__MODEL_PARAMETERS__INIT;
    struct model_parameters stored;

    assert_true(parameters_of("sentiment")->threshold == 0.5); /* there is no version yet */
    p.threshold = 0.75;
    p.max_batch = 8;
    p.canary_percent = 200;
    assert_int_equal(set_parameters("sentiment", &p, "threshold", NULL), ST_OK);
    assert_int_equal(set_parameters("sentiment", &p, "max_batch", NULL), ST_OK);
    assert_true(parameters_of("sentiment")->threshold == 0.75);
    assert_int_equal(parameters_of("sentiment")->max_batch, 8);
    assert_true(parameters_of("sentiment")->canary_percent == 0);
    CHECK_OK(store_get_parameters(dir, "sentiment", &stored)); /* where every replica sees them */
    assert_true(stored.threshold == 0.75 && stored.max_batch == 8);
    assert_true(parameters_of("troll")->threshold == 0.5);

    p.threshold = 0.25;
    assert_int_equal(set_parameters("sentiment", &p, "threshold", "canary_percent"), ST_INVALID);
    assert_int_equal(set_parameters("sentiment", &p, "threshold", "weight"), ST_INVALID);
    assert_int_equal(set_parameters("sentiment", &p, NULL, NULL), ST_INVALID);
    assert_int_equal(set_parameters("sentiment", NULL, "threshold", NULL), ST_INVALID);
    assert_int_equal(set_parameters("weather", &p, "threshold", NULL), ST_NOT_FOUND);
    assert_int_equal(set_parameters("../x", &p, "threshold", NULL), ST_INVALID);
    assert_true(parameters_of("sentiment")->threshold == 0.75); /* all or none */
}

static void test_damaged_parameters_are_told_and_replaced(void **state)
{
    (void)state;
    Bloginfer__V1__ModelParameters p = BLOGINFER__V1__MODEL_PARAMETERS__INIT;
    Bloginfer__V1__GetModelParametersRequest req = BLOGINFER__V1__GET_MODEL_PARAMETERS_REQUEST__INIT;
    char path[PATH_MAX + 64];
    const void *out = NULL;

    p.threshold = 0.75;
    assert_int_equal(set_parameters("sentiment", &p, "threshold", NULL), ST_OK);
    snprintf(path, sizeof path, "%s/sentiment/%s", dir, PARAMETERS_FILE);
    CHECK_OK(fs_write_atomic(path, "{", 1));
    req.task = (char *)"sentiment";
    struct status st = ask("GetModelParameters", &req, &out);
    assert_int_equal(st.code, ST_DATA_LOSS);
    assert_non_null(strstr(st.msg, PARAMETERS_FILE));
    assert_null(strstr(st.msg, dir));
    p.shadow_percent = 5;
    assert_int_equal(set_parameters("sentiment", &p, "shadow_percent", NULL), ST_OK);
    assert_true(parameters_of("sentiment")->shadow_percent == 5);
    assert_true(parameters_of("sentiment")->threshold == 0.5);
}

/* ---- all tasks together ---- */

static const Bloginfer__V1__ListModelParametersResponse *settings_of(const char *task)
{
    Bloginfer__V1__ListModelParametersRequest req = BLOGINFER__V1__LIST_MODEL_PARAMETERS_REQUEST__INIT;
    const void *out = NULL;

    req.task = (char *)task;
    CHECK_OK(ask("ListModelParameters", &req, &out));
    return out;
}

/* A change of one task: its fields are separated by commas. */
static Bloginfer__V1__TaskChange *change_of(const char *task, const char *fields, double threshold, uint64_t version)
{
    Bloginfer__V1__TaskChange *c = arena_alloc(&arena, sizeof *c);
    Bloginfer__V1__ModelParameters *p = arena_alloc(&arena, sizeof *p);
    char *rest = arena_strdup(&arena, fields), *name;

    bloginfer__v1__task_change__init(c);
    bloginfer__v1__model_parameters__init(p);
    p->threshold = threshold;
    p->max_batch = 8;
    p->canary_percent = 200; /* out of range, where it is named */
    c->task = (char *)task;
    c->parameters = p;
    c->version = version;
    c->fields = arena_zalloc(&arena, 8, sizeof *c->fields);
    while ((name = strsep(&rest, ",")))
        c->fields[c->n_fields++] = name;
    return c;
}

static struct status change(const char *scope, Bloginfer__V1__TaskChange *a, Bloginfer__V1__TaskChange *b,
                            const char *etag, const Bloginfer__V1__ChangeModelParametersResponse **rep)
{
    Bloginfer__V1__ChangeModelParametersRequest req = BLOGINFER__V1__CHANGE_MODEL_PARAMETERS_REQUEST__INIT;
    Bloginfer__V1__TaskChange *changes[] = {a, b};
    char *etags[] = {(char *)"another", (char *)etag};
    const void *out = NULL;

    req.task = (char *)scope;
    req.changes = changes;
    req.n_changes = a ? b ? 2 : 1 : 0;
    req.if_match = etags;
    req.n_if_match = etag ? 2 : 0;
    struct status st = ask("ChangeModelParameters", &req, &out);
    if (rep)
        *rep = out;
    return st;
}

static const Bloginfer__V1__TaskParameters *of_task(const Bloginfer__V1__ListModelParametersResponse *all,
                                                    const char *task)
{
    for (size_t i = 0; i < all->n_tasks; i++)
        if (!strcmp(all->tasks[i]->task, task))
            return all->tasks[i];
    fail_msg("no task %s", task);
    return NULL;
}

static void test_all_settings_are_listed_with_an_etag(void **state)
{
    const Bloginfer__V1__ListModelParametersResponse *all = settings_of(""), *again, *one;

    (void)state;
    assert_int_equal(all->n_tasks, 2); /* there is no version yet */
    assert_string_equal(all->tasks[0]->task, "sentiment");
    assert_string_equal(all->tasks[1]->task, "troll");
    assert_true(all->tasks[0]->parameters->threshold == 0.5 && all->tasks[0]->version == 0);
    assert_int_equal(strlen(all->etag), 32);
    assert_string_equal(settings_of("")->etag, all->etag);
    publish("run-1", 0.8, 0, NAN);
    again = settings_of("");
    assert_int_equal(of_task(again, "sentiment")->version, 1);
    assert_int_equal(of_task(again, "sentiment")->candidate, 1);
    assert_string_not_equal(again->etag, all->etag);
    one = settings_of("troll");
    assert_int_equal(one->n_tasks, 1);
    assert_string_not_equal(one->etag, again->etag);
}

static void test_several_tasks_change_together(void **state)
{
    const Bloginfer__V1__ListModelParametersResponse *now;
    const Bloginfer__V1__ChangeModelParametersResponse *rep;
    struct model_parameters stored;

    (void)state;
    publish("run-1", 0.8, 0, NAN);
    publish("run-2", 0.1, 1, 0.8); /* stays candidate */
    CHECK_OK(change("", change_of("sentiment", "threshold,version", 0.75, 2), change_of("troll", "threshold", 0.25, 0),
                    NULL, &rep));
    assert_int_equal(rep->n_tasks, 2);
    assert_int_equal(pointer(STORE_PRODUCTION), 2);
    now = settings_of("");
    assert_string_equal(now->etag, rep->etag);
    assert_true(of_task(now, "sentiment")->parameters->threshold == 0.75);
    assert_int_equal(of_task(now, "sentiment")->parameters->max_batch, 32); /* it was not named */
    assert_true(of_task(now, "troll")->parameters->threshold == 0.25);
    CHECK_OK(store_get_parameters(dir, "troll", &stored)); /* where every replica sees them */
    assert_true(stored.threshold == 0.25);
}

/* Each of these is wrong in its second half. */
static void test_a_wrong_change_changes_nothing(void **state)
{
    Bloginfer__V1__TaskChange *good = change_of("sentiment", "threshold", 0.75, 0);
    const struct {
        Bloginfer__V1__TaskChange *bad;
        enum code code;
    } cases[] = {
        {change_of("troll", "threshold", 1.5, 0), ST_INVALID},
        {change_of("troll", "max_batch,canary_percent", 0, 0), ST_INVALID},
        {change_of("troll", "weight", 0, 0), ST_INVALID},
        {change_of("troll", "version", 0, 4), ST_NOT_FOUND},
        {change_of("weather", "threshold", 0.5, 0), ST_NOT_FOUND},
        {change_of("sentiment", "threshold", 0.25, 0), ST_INVALID}, /* twice */
    };
    char *before = xstrdup(settings_of("")->etag);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(change("", good, cases[i].bad, NULL, NULL).code, cases[i].code);
        assert_string_equal(settings_of("")->etag, before);
    }
    assert_int_equal(change("", NULL, NULL, NULL, NULL).code, ST_INVALID);
    assert_int_equal(change("troll", good, NULL, NULL, NULL).code, ST_NOT_FOUND); /* out of what was asked about */
    assert_int_equal(change("weather", good, NULL, NULL, NULL).code, ST_NOT_FOUND);
    free(before);
}

static void test_a_version_is_verified_before_anything_changes(void **state)
{
    char path[PATH_MAX + 64];

    (void)state;
    publish("run-1", 0.8, 0, NAN);
    publish("run-2", 0.1, 1, 0.8);
    CHECK_OK(fs_write_atomic(store_path(path, sizeof path, dir, "sentiment", 2, STORE_MODEL_FILE), "x", 1));
    assert_int_equal(
        change("", change_of("troll", "threshold", 0.25, 0), change_of("sentiment", "version", 0, 2), NULL, NULL).code,
        ST_DATA_LOSS);
    assert_int_equal(pointer(STORE_PRODUCTION), 1);
    assert_true(of_task(settings_of(""), "troll")->parameters->threshold == 0.5);
    assert_int_equal(change("", change_of("sentiment", "version", 0, 0), NULL, NULL, NULL).code, ST_INVALID);
    CHECK_OK(change("", change_of("sentiment", "version", 0, 1), NULL, NULL, NULL)); /* as it is */
}

/* Two have read the same; the second to write is told. */
static void test_editors_do_not_undo_each_other(void **state)
{
    char *seen = xstrdup(settings_of("")->etag), *of_troll = xstrdup(settings_of("troll")->etag);

    (void)state;
    CHECK_OK(change("", change_of("sentiment", "threshold", 0.75, 0), NULL, seen, NULL));
    assert_int_equal(change("", change_of("sentiment", "threshold", 0.25, 0), NULL, seen, NULL).code, ST_PRECONDITION);
    assert_true(parameters_of("sentiment")->threshold == 0.75);
    CHECK_OK(change("troll", change_of("troll", "threshold", 0.25, 0), NULL, of_troll, NULL)); /* another page */
    assert_int_equal(change("troll", change_of("troll", "threshold", 0.3, 0), NULL, of_troll, NULL).code,
                     ST_PRECONDITION);
    free(seen);
    free(of_troll);
}

static void test_damaged_settings_are_told_and_replaced(void **state)
{
    const Bloginfer__V1__ListModelParametersResponse *now;
    char path[PATH_MAX + 64];

    (void)state;
    CHECK_OK(change("", change_of("troll", "threshold", 0.25, 0), NULL, NULL, NULL));
    snprintf(path, sizeof path, "%s/troll/%s", dir, PARAMETERS_FILE);
    CHECK_OK(fs_write_atomic(path, "{", 1));
    now = settings_of("");
    assert_non_null(strstr(of_task(now, "troll")->damaged, PARAMETERS_FILE));
    assert_null(strstr(of_task(now, "troll")->damaged, dir));
    assert_string_equal(of_task(now, "sentiment")->damaged, "");
    CHECK_OK(change("", change_of("troll", "threshold", 0.5, 0), NULL, NULL, NULL)); /* the default, and yet written */
    assert_string_equal(of_task(settings_of(""), "troll")->damaged, "");
}

static void test_prune(void **state)
{
    Bloginfer__V1__PruneModelsRequest req = BLOGINFER__V1__PRUNE_MODELS_REQUEST__INIT;
    const Bloginfer__V1__PruneModelsResponse *rep;
    const void *out = NULL;

    (void)state;
    publish("run-1", 0.8, 0, NAN);
    publish("run-2", 0.1, 1, 0.8);
    publish("run-3", 0.1, 1, 0.8);
    req.task = (char *)"sentiment";
    req.keep = 1;
    CHECK_OK(ask("PruneModels", &req, &out));
    rep = out;
    assert_int_equal(rep->n_removed, 1); /* 1 is production and 3 the candidate */
    assert_int_equal(rep->removed[0], 2);
    CHECK_OK(ask("PruneModels", &req, &out));
    assert_int_equal(((const Bloginfer__V1__PruneModelsResponse *)out)->n_removed, 0);
    req.keep = 0;
    assert_int_equal(ask("PruneModels", &req, &out).code, ST_INVALID);
    req.keep = 1;
    req.task = (char *)"weather";
    assert_int_equal(ask("PruneModels", &req, &out).code, ST_NOT_FOUND);
    req.task = (char *)"troll"; /* known, and without a version */
    CHECK_OK(ask("PruneModels", &req, &out));
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
        TEST(test_parameters_change_one_by_one),
        TEST(test_damaged_parameters_are_told_and_replaced),
        TEST(test_all_settings_are_listed_with_an_etag),
        TEST(test_several_tasks_change_together),
        TEST(test_a_wrong_change_changes_nothing),
        TEST(test_a_version_is_verified_before_anything_changes),
        TEST(test_editors_do_not_undo_each_other),
        TEST(test_damaged_settings_are_told_and_replaced),
        TEST(test_prune),
        TEST(test_a_file_goes_out_and_comes_in_unchanged),
        TEST(test_a_damaged_file_does_not_go_out),
        TEST(test_what_is_no_model_does_not_come_in),
    };

    rpc_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
