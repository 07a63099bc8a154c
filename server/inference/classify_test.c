/* classify_test.c - the service over real gRPC: answers, refusals, health, and models that change under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "classify.h"
#include "metrics/metrics.h"
#include "oip.h"
#include "testing.h"

#include "bloginfer/v1/classify.pb-c.h"
#include "inference/grpc_service.pb-c.h"

#include <pthread.h>
#include <unistd.h>

#define SERVICE (&bloginfer__v1__classify_service__descriptor)

static struct rpc_server *server;
static struct rpc_client *client;
static struct served *served;
static struct batcher *batcher;
static struct classify service;
static struct oip oip;
static struct arena arena;

static int start(void **state, bool on_poller)
{
    struct rpc_server_config config = {.listen = (char *)"127.0.0.1", .workers = 2, .queue = 64, .drain_ms = 5000};
    char target[64];

    testing_setup(state);
    batcher_start(&batcher, &(struct batcher_config){.threads = 1});
    if (on_poller)
        config.work = (struct rpc_work){batcher_due, batcher_run, batcher};
    CHECK_OK(rpc_server_new(&server, &config));
    CHECK_OK(rpc_server_add(server, SERVICE, classify_methods, classify_n_methods, &service));
    CHECK_OK(rpc_server_add(server, &inference__grpcinference_service__descriptor, oip_methods, oip_n_methods, &oip));
    served_start(&served, &(struct served_config){.dir = testing_dir, .poll_ms = 10});
    classify_init(&service, served, batcher);
    oip_init(&oip, served, batcher);
    CHECK_OK(rpc_server_start(server));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(server));
    CHECK_OK(rpc_client_new(&client, &(struct rpc_client_config){.target = target}));
    arena_init(&arena, 64 << 20);
    return 0;
}

static int setup(void **state)
{
    return start(state, false);
}

/* As on one CPU: the poller computes. */
static int setup_polled(void **state)
{
    return start(state, true);
}

static int teardown(void **state)
{
    rpc_client_free(client);
    rpc_server_stop(server);
    batcher_stop(batcher);
    served_stop(served);
    arena_fini(&arena);
    return testing_teardown(state);
}

static struct status ask(struct arena *a, const char *task, const char *const *texts, size_t n,
                         const Bloginfer__V1__ClassifyResponse **rep)
{
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const struct rpc_options options = {.arena = a, .timeout_ms = 20000};
    const void *out = NULL;

    req.task = (char *)task;
    req.texts = (char **)texts;
    req.n_texts = n;
    struct status st = rpc_unary(client, SERVICE, "Classify", &req, &out, &options);
    *rep = out;
    return st;
}

/* One text. */
static struct status ask_version(const char *version, const char *text, const Bloginfer__V1__ClassifyResponse **rep)
{
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const struct rpc_options options = {.arena = &arena, .timeout_ms = 20000};
    const void *out = NULL;
    char *texts[] = {(char *)text};

    req.version = (char *)version;
    req.texts = texts;
    req.n_texts = 1;
    struct status st = rpc_unary(client, SERVICE, "Classify", &req, &out, &options);
    *rep = out;
    return st;
}

/* Publishes, promotes and waits until it is in service. */
static void serve(const char *task, const char *labels, uint32_t classes, uint64_t mark)
{
    uint64_t version = testing_publish(task, task, labels, classes, mark), now = 0;
    int64_t end = clock_after_ms(120000);
    struct served_model *m;

    testing_promote(task, version);
    while (now != version && clock_now() < end) {
        now = testing_acquire(served, task, &m).code ? 0 : m->version;
        served_release(m);
        clock_sleep_ms(1);
    }
    assert_int_equal(now, version);
}

static void test_without_a_model(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep;
    const char *texts[] = {"好"};
    struct status st = ask(&arena, "", texts, 1, &rep);

    assert_int_equal(st.code, ST_PRECONDITION);
    assert_non_null(strstr(st.msg, "sentiment"));
    assert_int_equal(ask(&arena, "weather", texts, 1, &rep).code, ST_NOT_FOUND);
    assert_int_equal(ask(&arena, "../x", texts, 1, &rep).code, ST_INVALID);
}

static void test_two_labels(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep;
    const char *texts[] = {"很好", "", "Ｆｕｌｌ　ｗｉｄｔｈ"};

    serve("sentiment", "negative,positive", 2, 3);
    CHECK_OK(ask(&arena, "", texts, 3, &rep));
    assert_string_equal(rep->task, "sentiment");
    assert_int_equal(rep->version, 1);
    assert_int_equal(rep->n_results, 3);
    for (size_t i = 0; i < 3; i++) {
        const Bloginfer__V1__Classification *r = rep->results[i];
        assert_string_equal(r->label, "positive");
        assert_true(fabsf(r->prob - testing_prob(3)) < 1e-4f);
        assert_int_equal(r->n_probabilities, 2);
        assert_string_equal(r->probabilities[0]->label, "negative");
        assert_true(fabsf(r->probabilities[0]->probability + r->probabilities[1]->probability - 1) < 1e-5f);
    }
}

static void test_more_labels(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep;
    const char *texts[] = {"天气"};

    serve("weather", "dry,wet,snow", 3, 8);
    CHECK_OK(ask(&arena, "weather", texts, 1, &rep));
    assert_string_equal(rep->results[0]->label, "wet");
    assert_true(rep->results[0]->prob > 0.5f);
    assert_true(rep->results[0]->prob == rep->results[0]->probabilities[1]->probability);
    assert_int_equal(rep->results[0]->n_probabilities, 3);
}

/* A model whose answer depends on the text. Waits until it serves. */
static void serve_random(uint32_t hidden, uint32_t max_tokens)
{
    testing_promote("sentiment", testing_publish_random("sentiment", hidden, max_tokens));
    int64_t end = clock_after_ms(120000);
    while (served_ready(served).code && clock_now() < end)
        clock_sleep_ms(1);
}

static void test_many_texts_answer_like_each_alone(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *all, *one;
    static char texts[CLASSIFY_MAX][3 * 80 + 1];
    const char *pointers[CLASSIFY_MAX];
    struct rng rng;

    serve_random(8, 60);
    rng_init(&rng, 3);
    for (size_t i = 0; i < CLASSIFY_MAX; i++) {
        size_t n = (size_t)rng_below(&rng, 80); /* some are clipped */
        for (size_t k = 0; k < n; k++)
            sprintf(texts[i] + 3 * k, "%c%c%c", 0xe4 + (int)rng_below(&rng, 5), 0x80 + (int)rng_below(&rng, 64),
                    0x80 + (int)rng_below(&rng, 64));
        pointers[i] = texts[i];
    }
    CHECK_OK(ask(&arena, "sentiment", pointers, CLASSIFY_MAX, &all));
    assert_int_equal(all->n_results, CLASSIFY_MAX);
    float least = 1, most = 0;
    for (size_t i = 0; i < CLASSIFY_MAX; i++) {
        CHECK_OK(ask(&arena, "sentiment", &pointers[i], 1, &one));
        assert_true(fabsf(one->results[0]->prob - all->results[i]->prob) < 1e-4f);
        assert_string_equal(one->results[0]->label, all->results[i]->label);
        least = fminf(least, one->results[0]->prob);
        most = fmaxf(most, one->results[0]->prob);
    }
    assert_true(least < 0.3f && most > 0.7f); /* the texts do differ */
}

static void test_bad_requests_are_refused(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep;
    const char *too_many[CLASSIFY_MAX + 1], *two[] = {"好", ""};
    char *large = xcalloc(TEXT_MAX_BYTES + 2, 1);

    serve("sentiment", "negative,positive", 2, 1);
    for (size_t i = 0; i < COUNT_OF(too_many); i++)
        too_many[i] = "x";
    assert_int_equal(ask(&arena, "", NULL, 0, &rep).code, ST_INVALID);
    assert_int_equal(ask(&arena, "", too_many, COUNT_OF(too_many), &rep).code, ST_INVALID);
    CHECK_OK(ask(&arena, "", too_many, CLASSIFY_MAX, &rep));
    memset(large, 'x', TEXT_MAX_BYTES + 1);
    two[1] = large;
    struct status st = ask(&arena, "", two, 2, &rep);
    assert_int_equal(st.code, ST_INVALID);
    assert_non_null(strstr(st.msg, "texts[1]"));
    large[TEXT_MAX_BYTES] = '\0';
    CHECK_OK(ask(&arena, "", two, 2, &rep));
    free(large);
}

static void test_a_version_answers_by_its_name(void **state)
{
    (void)state;
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const struct rpc_options options = {.arena = &arena, .timeout_ms = 20000};
    const Bloginfer__V1__ClassifyResponse *rep;
    char *texts[] = {(char *)"好"};
    const void *out = NULL;
    int64_t end = clock_after_ms(120000);
    struct status st;

    serve("sentiment", "negative,positive", 2, 3);
    uint64_t second = testing_publish("sentiment", "sentiment", "negative,positive", 2, 5);
    CHECK_OK(store_set_pointer(testing_dir, "sentiment", STORE_CANDIDATE, second));
    req.texts = texts;
    req.n_texts = 1;
    req.priority = BLOGINFER__V1__PRIORITY__PRIORITY_BULK;
    req.version = (char *)"candidate";
    while ((st = rpc_unary(client, SERVICE, "Classify", &req, &out, &options)).code == ST_NOT_FOUND &&
           clock_now() < end)
        clock_sleep_ms(1);
    CHECK_OK(st);
    rep = out;
    assert_int_equal(rep->version, second);
    assert_true(fabsf(rep->results[0]->prob - testing_prob(5)) < 1e-4f);
    req.version = (char *)"production";
    CHECK_OK(rpc_unary(client, SERVICE, "Classify", &req, &out, &options));
    rep = out;
    assert_int_equal(rep->version, 1);
    req.version = (char *)"77";
    assert_int_equal(rpc_unary(client, SERVICE, "Classify", &req, &out, &options).code, ST_NOT_FOUND);
    req.version = (char *)"";
    req.priority = (Bloginfer__V1__Priority)9;
    assert_int_equal(rpc_unary(client, SERVICE, "Classify", &req, &out, &options).code, ST_INVALID);
}

/* The threshold is a parameter of the task that changes while it serves. */
static void test_the_threshold_decides(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep = NULL;
    struct model_parameters p = model_parameters_default();
    const char *texts[] = {"好"};
    int64_t end = clock_after_ms(120000);

    serve("sentiment", "negative,positive", 2, 3);
    CHECK_OK(ask(&arena, "", texts, 1, &rep));
    assert_string_equal(rep->results[0]->label, "positive");
    p.threshold = 0.99;
    CHECK_OK(store_set_parameters(testing_dir, "sentiment", &p));
    while (strcmp(rep->results[0]->label, "negative") != 0 && clock_now() < end)
        CHECK_OK(ask(&arena, "", texts, 1, &rep));
    assert_string_equal(rep->results[0]->label, "negative");
    assert_true(fabsf(rep->results[0]->prob - testing_prob(3)) < 1e-4f);
}

/* On a busy machine a deadline may be over before the call gets here: then the next has more time, until one is over
 * while its texts wait or are computed. */
static void test_a_call_that_is_over_computes_no_further(void **state)
{
    (void)state;
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    struct rpc_options options = {.arena = &arena, .timeout_ms = 10};
    char text[200], *texts[CLASSIFY_MAX];
    const void *out = NULL;
    int n_calls = 0;

    serve_random(128, 199);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        texts[i] = text;
    req.texts = texts;
    req.n_texts = COUNT_OF(texts);
    struct metric *dropped = metric_counter("bloginfer_batch_dropped_total", "", "task,reason");
    struct series *late = metric_series(dropped, "sentiment", "deadline");
    struct series *in_flight = metric_series(metric_gauge("bloginfer_rpc_server_in_flight", "", NULL));
    double before = series_value(late);
    while (series_value(late) == before) {
        struct status st = rpc_unary(client, SERVICE, "Classify", &req, &out, &options);
        assert_true(++n_calls < 200 && (st.code == ST_DEADLINE || !st.code));
        options.timeout_ms = st.code ? options.timeout_ms + 10 : 10;
        arena_reset(&arena);
        while (series_value(in_flight) > 0) /* the server learns of it by itself */
            clock_sleep_ms(1);
    }
}

static void test_list_of_models(void **state)
{
    (void)state;
    Bloginfer__V1__ListServedModelsRequest req = BLOGINFER__V1__LIST_SERVED_MODELS_REQUEST__INIT;
    const struct rpc_options options = {.arena = &arena};
    const Bloginfer__V1__ListServedModelsResponse *rep;
    const void *out = NULL;

    CHECK_OK(rpc_unary(client, SERVICE, "ListServedModels", &req, &out, &options));
    rep = out;
    assert_int_equal(rep->n_models, 0);
    serve("sentiment", "negative,positive", 2, 1);
    serve("troll", "normal,troll", 2, 1);
    serve("troll", "normal,troll", 2, 2);
    CHECK_OK(rpc_unary(client, SERVICE, "ListServedModels", &req, &out, &options));
    rep = out;
    assert_int_equal(rep->n_models, 2);
    const Bloginfer__V1__ServedModel *m = rep->models[strcmp(rep->models[0]->task, "troll") == 0 ? 0 : 1];
    assert_string_equal(m->task, "troll");
    assert_int_equal(m->version, 2);
    assert_string_equal(m->architecture, "lstm");
    assert_true(strcmp(m->engine, "fp32") == 0 || strcmp(m->engine, "int8") == 0);
    assert_true(m->production && !m->candidate && m->settings->threshold == 0.5);
    assert_string_equal(m->labels[1], "troll");
    assert_int_equal(strlen(m->sha256), 64);
    assert_true(m->parameters > TEXT_N_IDS);
}

/* A model that is fine but for one character, on which both logits are infinite. */
#define RARE "龘"
static uint64_t publish_without_a_number(void)
{
    const struct nn_shape shape = {.family = NN_LSTM,
                                   .vocab = TEXT_N_IDS,
                                   .embed = 4,
                                   .hidden = 4,
                                   .buckets = 65536,
                                   .classes = 2,
                                   .max_tokens = 50};
    const uint32_t point = 0x9f98;
    struct nn_tensor tensors[NN_MAX_TENSORS];
    struct classifier *c = NULL;

    CHECK_OK(classifier_new(&c, "sentiment", "negative,positive", &shape));
    size_t n = nn_tensors(&shape, tensors);
    float *row = c->params + nn_tensor_find(tensors, n, "ngram")->offset + (size_t)2 * text_ngram(&point, 1, 65536);
    row[0] = row[1] = 3e38f;
    return testing_store("sentiment", c);
}

static void set_parameters(double canary, double shadow_share, double threshold)
{
    struct model_parameters p = model_parameters_default();
    int64_t end = clock_after_ms(120000);
    bool in_force = false;

    p.canary_percent = canary;
    p.shadow_percent = shadow_share;
    p.threshold = threshold;
    CHECK_OK(store_set_parameters(testing_dir, "sentiment", &p));
    while (!in_force && clock_now() < end) {
        struct served_model *m;
        CHECK_OK(testing_acquire(served, "sentiment", &m));
        const struct model_parameters now = served_parameters(m);
        in_force = model_parameters_equal(&now, &p);
        served_release(m);
        clock_sleep_ms(1);
    }
    assert_true(in_force);
}

static const Bloginfer__V1__ServedModel *listed(uint64_t version)
{
    Bloginfer__V1__ListServedModelsRequest req = BLOGINFER__V1__LIST_SERVED_MODELS_REQUEST__INIT;
    const struct rpc_options options = {.arena = &arena};
    const Bloginfer__V1__ListServedModelsResponse *rep;
    const void *out = NULL;

    CHECK_OK(rpc_unary(client, SERVICE, "ListServedModels", &req, &out, &options));
    rep = out;
    for (size_t i = 0; i < rep->n_models; i++)
        if (rep->models[i]->version == version)
            return rep->models[i];
    return NULL;
}

/* Points at the candidate and waits until it is in service. */
static void set_candidate(uint64_t version)
{
    int64_t end = clock_after_ms(120000);

    CHECK_OK(store_set_pointer(testing_dir, "sentiment", STORE_CANDIDATE, version));
    while (!listed(version) && clock_now() < end)
        clock_sleep_ms(1);
    assert_true(listed(version)->candidate);
}

/* ModelInfer of one text without a version; the version that answered. */
static const char *infer(const char *text)
{
    Inference__ModelInferRequest req = INFERENCE__MODEL_INFER_REQUEST__INIT;
    Inference__ModelInferRequest__InferInputTensor input = INFERENCE__MODEL_INFER_REQUEST__INFER_INPUT_TENSOR__INIT,
                                                   *inputs[] = {&input};
    Inference__InferTensorContents contents = INFERENCE__INFER_TENSOR_CONTENTS__INIT;
    ProtobufCBinaryData bytes = {strlen(text), (uint8_t *)text};
    const struct rpc_options options = {.arena = &arena, .timeout_ms = 20000};
    int64_t shape = 1;
    const void *out = NULL;

    contents.bytes_contents = &bytes;
    contents.n_bytes_contents = 1;
    input.name = (char *)"text";
    input.datatype = (char *)"BYTES";
    input.shape = &shape;
    input.n_shape = 1;
    input.contents = &contents;
    req.model_name = (char *)"sentiment";
    req.inputs = inputs;
    req.n_inputs = 1;
    CHECK_OK(rpc_unary(client, &inference__grpcinference_service__descriptor, "ModelInfer", &req, &out, &options));
    return ((const Inference__ModelInferResponse *)out)->model_version;
}

static void test_production_stands_in_for_a_candidate_over_v2(void **state)
{
    (void)state;
    serve("sentiment", "negative,positive", 2, 1);
    set_candidate(publish_without_a_number());
    set_parameters(100, 0, 0.5);
    assert_string_equal(infer("好"), "2");
    assert_string_equal(infer(RARE), "1");
    assert_int_equal(listed(2)->comparison->candidate_calls->failures, 1);
}

/* Its calls are answered by production meanwhile. */
static void test_a_candidate_that_gives_no_number_is_rolled_back(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep;
    const char *texts[] = {"好", RARE};
    uint64_t n_failed;
    int n_candidate = 0;

    serve("sentiment", "negative,positive", 2, 1);
    set_candidate(publish_without_a_number());
    set_parameters(50, 0, 0.5);
    for (int i = 0; i < 50; i++) { /* nothing is wrong with other texts */
        CHECK_OK(ask(&arena, "", texts, 1, &rep));
        n_candidate += rep->version == 2;
    }
    assert_in_range(n_candidate, 5, 45);
    for (int i = 0; i < 400; i++) {
        CHECK_OK(ask(&arena, "", texts, 2, &rep));
        assert_int_equal(rep->version, 1);
    }
    const Bloginfer__V1__ServedModel *m = listed(2);
    n_failed = m->comparison->candidate_calls->failures;
    assert_in_range(n_failed, 1, 60); /* of about 200 that it would have been given */
    assert_true(m->candidate && !m->production && m->comparison->rolled_back);
    assert_non_null(strstr(m->comparison->why, "fails"));
    assert_int_equal(m->comparison->production_calls->failures, 0);
    assert_int_equal(ask_version("candidate", RARE, &rep).code, ST_INTERNAL); /* whoever asks for it gets it */
    assert_true(m->settings->canary_percent == 50);
    assert_true(listed(1)->production && !listed(1)->comparison);
    for (int i = 0; i < 100; i++) {
        CHECK_OK(ask(&arena, "", texts, 2, &rep));
        assert_int_equal(rep->version, 1);
    }
}

static void test_the_shadow_of_a_call(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep;
    const char *texts[] = {"好", "不好", RARE};
    int64_t end = clock_after_ms(120000);

    serve("sentiment", "negative,positive", 2, 1);
    set_candidate(publish_without_a_number());
    set_parameters(0, 100, 0.52); /* the candidate says 0.5, production more */
    CHECK_OK(ask(&arena, "", texts, 3, &rep));
    assert_int_equal(rep->version, 1);
    assert_string_equal(rep->results[0]->label, "positive");
    while (listed(2)->comparison->shadow_texts < 3 && clock_now() < end)
        clock_sleep_ms(1);
    const Bloginfer__V1__Comparison *c = listed(2)->comparison;
    assert_int_equal(c->shadow_texts, 3);
    assert_int_equal(c->shadow_agreed, 0);
    assert_int_equal(c->shadow_failed, 1);
    assert_true(fabs(c->shadow_largest_difference - (double)(testing_prob(1) - 0.5f)) < 1e-3);
    assert_false(c->rolled_back);
}

static void test_the_threshold_is_the_tasks(void **state)
{
    (void)state;
    const Bloginfer__V1__ClassifyResponse *rep;
    const char *texts[] = {"好"};

    serve("sentiment", "negative,positive", 2, 1);
    CHECK_OK(ask(&arena, "", texts, 1, &rep));
    assert_string_equal(rep->results[0]->label, "positive");
    set_parameters(0, 0, 0.75);
    CHECK_OK(ask(&arena, "", texts, 1, &rep));
    assert_string_equal(rep->results[0]->label, "negative");
    assert_true(fabsf(rep->results[0]->prob - testing_prob(1)) < 1e-4f);
}

struct caller {
    atomic_bool *stop;
    int n_calls, n_failed, n_wrong;
};

static void *call_for_ever(void *arg)
{
    struct caller *c = arg;
    const char *texts[] = {"一条评论", "another one"};
    const Bloginfer__V1__ClassifyResponse *rep;
    struct arena a;

    arena_init(&a, 1 << 20);
    for (; !*c->stop; c->n_calls++) {
        if (ask(&a, "sentiment", texts, 2, &rep).code)
            c->n_failed++;
        else if (fabsf(rep->results[1]->prob - testing_prob(rep->version)) > 1e-4f)
            c->n_wrong++;
        arena_reset(&a);
    }
    arena_fini(&a);
    return NULL;
}

static void test_no_call_fails_while_versions_change(void **state)
{
    (void)state;
    atomic_bool stop = false;
    struct caller callers[3];
    pthread_t threads[3];

    serve("sentiment", "negative,positive", 2, 1);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        callers[i] = (struct caller){&stop, 0, 0, 0};
        threads[i] = thread_start("caller", 0, call_for_ever, &callers[i]);
    }
    for (uint64_t v = 2; v <= 8; v++)
        serve("sentiment", "negative,positive", 2, v);
    stop = true;
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].n_failed, 0);
        assert_int_equal(callers[i].n_wrong, 0);
        assert_true(callers[i].n_calls > 0);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define POLLED(f)                                                                                                      \
    {                                                                                                                  \
#f " (polled)", f, setup_polled, teardown, NULL                                                                \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_model),
        TEST(test_two_labels),
        TEST(test_more_labels),
        TEST(test_many_texts_answer_like_each_alone),
        TEST(test_bad_requests_are_refused),
        TEST(test_a_version_answers_by_its_name),
        TEST(test_the_threshold_decides),
        TEST(test_a_call_that_is_over_computes_no_further),
        TEST(test_list_of_models),
        TEST(test_a_candidate_that_gives_no_number_is_rolled_back),
        TEST(test_production_stands_in_for_a_candidate_over_v2),
        TEST(test_the_shadow_of_a_call),
        TEST(test_the_threshold_is_the_tasks),
        TEST(test_no_call_fails_while_versions_change),
        POLLED(test_many_texts_answer_like_each_alone),
        POLLED(test_production_stands_in_for_a_candidate_over_v2),
        POLLED(test_a_call_that_is_over_computes_no_further),
        POLLED(test_no_call_fails_while_versions_change),
    };

    rpc_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
