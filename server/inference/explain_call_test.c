/* explain_call_test.c - the call over real gRPC, with models whose contributions are known beforehand. (lib/nn has a test
 * called explain.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "classify.h"
#include "testing.h"

#include "bloginfer/v1/classify.pb-c.h"

#define SERVICE (&bloginfer__v1__classify_service__descriptor)
#define BUCKETS (1u << 16)
#define LIMIT   12

static struct rpc_server *server;
static struct rpc_client *client;
static struct served *served;
static struct batcher *batcher;
static struct classify service;
static struct arena arena;

static int setup(void **state)
{
    const struct rpc_server_config config = {
        .listen = (char *)"127.0.0.1", .workers = 2, .queue = 64, .drain_ms = 5000};
    char target[64];

    testing_setup(state);
    CHECK_OK(rpc_server_new(&server, &config));
    CHECK_OK(rpc_server_add(server, SERVICE, classify_methods, classify_n_methods, &service));
    served_start(&served, &(struct served_config){.dir = testing_dir, .poll_ms = 10});
    batcher_start(&batcher, &(struct batcher_config){.threads = 1});
    classify_init(&service, served, batcher);
    CHECK_OK(rpc_server_start(server));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(server));
    CHECK_OK(rpc_client_new(&client, &(struct rpc_client_config){.target = target}));
    arena_init(&arena, 64 << 20);
    return 0;
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

static struct status ask(const char *task, const char *text, const char *version, uint32_t max_ngrams,
                         const Bloginfer__V1__ExplainResponse **rep)
{
    Bloginfer__V1__ExplainRequest req = BLOGINFER__V1__EXPLAIN_REQUEST__INIT;
    const struct rpc_options options = {.arena = &arena, .timeout_ms = 20000};
    const void *out = NULL;

    req.task = (char *)task;
    req.text = (char *)text;
    req.version = (char *)version;
    req.max_ngrams = max_ngrams;
    struct status st = rpc_unary(client, SERVICE, "Explain", &req, &out, &options);
    *rep = out;
    return st;
}

static void await_version(const char *task, uint64_t version)
{
    struct served_model *m = NULL;
    uint64_t now = 0;

    testing_promote(task, version);
    for (int64_t end = clock_after_ms(20000); now != version && clock_now() < end; clock_sleep_ms(1)) {
        now = testing_acquire(served, task, &m).code ? 0 : m->version;
        served_release(m);
    }
    assert_int_equal(now, version);
}

struct weight {
    const char *ngram;
    float value; /* of the second label */
};

/* Serves a linear model that knows these n-grams alone. */
static void serve_linear(const struct weight *weights, size_t n_weights, float bias)
{
    const struct nn_shape shape = {.family = NN_LINEAR, .buckets = BUCKETS, .classes = 2, .max_tokens = LIMIT};
    struct nn_tensor tensors[NN_MAX_TENSORS];
    struct classifier *c = NULL;
    uint32_t points[8];

    CHECK_OK(classifier_new(&c, "sentiment", "negative,positive", &shape));
    size_t n = nn_tensors(&shape, tensors);
    float *table = c->params + nn_tensor_find(tensors, n, "ngram")->offset;
    for (size_t i = 0; i < n_weights; i++) {
        size_t length = text_decode(weights[i].ngram, strlen(weights[i].ngram), points);
        table[2 * (size_t)text_ngram(points, length, BUCKETS) + 1] = weights[i].value;
    }
    c->params[nn_tensor_find(tensors, n, "out.b")->offset + 1] = bias;
    await_version("sentiment", testing_store("sentiment", c));
}

static void assert_near(float a, double b)
{
    if (!(fabs((double)a - b) < 1e-4))
        fail_msg("%g is not %g", (double)a, b);
}

static double total(const Bloginfer__V1__ExplainResponse *rep)
{
    double sum = (double)rep->bias + (double)rep->remainder;

    for (size_t i = 0; i < rep->n_characters; i++)
        sum += (double)rep->characters[i]->contribution;
    return sum;
}

static void test_contributions_are_led_back_to_the_text(void **state)
{
    static const struct weight weights[] = {{"好", 2}, {"很好", 1}, {"差", -3}};
    static const char text[] = " 很好,Ａ　　好差";
    static const char *const read[] = {"很", "好", ",", "a", " ", "好", "差"};
    static const uint32_t places[] = {1, 2, 3, 4, 5, 7, 8};
    const Bloginfer__V1__ExplainResponse *rep;

    (void)state;
    serve_linear(weights, COUNT_OF(weights), 0.5f);
    CHECK_OK(ask("", text, "", 0, &rep));
    /* 7 characters: 6 different ones, 6 pairs and 5 triples; 5 / sqrt(17) of each weight */
    double unit = 5 / sqrt(17);
    assert_string_equal(rep->task, "sentiment");
    assert_string_equal(rep->about, "positive");
    assert_int_equal(rep->version, 1);
    assert_near(rep->bias, 0.5);
    assert_near(rep->score, 0.5 + (2 + 1 - 3) * unit);
    assert_near(rep->remainder, 0);
    assert_near(rep->prob, 1 / (1 + exp(-(double)rep->score)));
    assert_string_equal(rep->label, "positive");
    assert_false(rep->clipped);
    assert_int_equal(rep->n_characters, COUNT_OF(read));
    /* "好" stands twice and is shared out; "很好" goes to two characters */
    const double expected[] = {0.5, 0.5 + 1, 0, 0, 0, 1, -3};
    for (size_t i = 0; i < COUNT_OF(read); i++) {
        assert_string_equal(rep->characters[i]->text, read[i]);
        assert_int_equal(rep->characters[i]->position, places[i]);
        assert_near(rep->characters[i]->contribution, expected[i] * unit);
    }
    assert_near(rep->score, total(rep));
    assert_int_equal(rep->n_ngrams, 3); /* those without weight are not listed */
    assert_string_equal(rep->ngrams[0]->text, "差");
    assert_near(rep->ngrams[0]->contribution, -3 * unit);
    assert_string_equal(rep->ngrams[1]->text, "好");
    assert_int_equal(rep->ngrams[1]->n_positions, 2);
    assert_int_equal(rep->ngrams[1]->positions[0], 2);
    assert_int_equal(rep->ngrams[1]->positions[1], 7);
    assert_string_equal(rep->ngrams[2]->text, "很好");
    assert_int_equal(rep->ngrams[2]->positions[0], 1);
}

static void test_a_long_text_is_clipped_and_says_so(void **state)
{
    static const struct weight weights[] = {{"x", 1}, {"中", 5}, {"尾", -2}};
    const Bloginfer__V1__ExplainResponse *rep;

    (void)state;
    serve_linear(weights, COUNT_OF(weights), 0);
    CHECK_OK(ask("sentiment", "头xxxxxxxxx中中中中尾尾", "", 2, &rep)); /* the first 9 and the last 3 are read */
    assert_true(rep->clipped);
    assert_int_equal(rep->n_characters, LIMIT);
    assert_int_equal(rep->characters[8]->position, 8);
    assert_int_equal(rep->characters[9]->position, 13);
    assert_string_equal(rep->characters[9]->text, "中");
    assert_int_equal(rep->n_ngrams, 2); /* as asked for */
    assert_string_equal(rep->ngrams[0]->text, "中");
    assert_int_equal(rep->ngrams[0]->positions[0], 13);
    assert_near(rep->score, total(rep));
    CHECK_OK(ask("sentiment", "", "", 0, &rep)); /* an empty text is read as a space */
    assert_int_equal(rep->n_characters, 1);
    assert_string_equal(rep->characters[0]->text, " ");
}

static void test_every_part_of_an_lstm_is_accounted_for(void **state)
{
    const Bloginfer__V1__ExplainResponse *rep;
    float most = 0;

    (void)state;
    await_version("sentiment", testing_publish_random("sentiment", 8, 60));
    CHECK_OK(ask("sentiment", "早餐很好吃，房间又脏又旧", "1", 1000, &rep));
    assert_near(rep->score, log((double)rep->prob / (1 - (double)rep->prob)));
    assert_near(rep->score, total(rep));
    for (size_t i = 0; i < rep->n_characters; i++)
        most = fmaxf(most, fabsf(rep->characters[i]->contribution));
    assert_true(most > 0.1f);
    assert_true(rep->n_ngrams > 20);
    for (size_t i = 1; i < rep->n_ngrams; i++)
        assert_true(fabsf(rep->ngrams[i]->contribution) <= fabsf(rep->ngrams[i - 1]->contribution));
}

static void test_with_more_labels_the_answer_is_explained(void **state)
{
    const Bloginfer__V1__ExplainResponse *rep;

    (void)state;
    await_version("weather", testing_publish("weather", "weather", "dry,wet,snow", 3, 8));
    CHECK_OK(ask("weather", "雨", "", 0, &rep));
    assert_string_equal(rep->label, "wet");
    assert_string_equal(rep->about, "wet");
    assert_near(rep->bias, 1); /* 1 for wet, 0 for the others */
    assert_near(rep->score, 1);
    assert_int_equal(rep->n_probabilities, 3);
    assert_near(rep->prob, (double)rep->probabilities[1]->probability);
}

static void test_bad_requests_are_refused(void **state)
{
    static const struct weight weights[] = {{"好", 2}};
    const Bloginfer__V1__ExplainResponse *rep;
    char *large = xcalloc(TEXT_MAX_BYTES + 2, 1);

    (void)state;
    CHECK_CODE(ST_PRECONDITION, ask("", "好", "", 0, &rep));
    serve_linear(weights, 1, 0);
    CHECK_CODE(ST_NOT_FOUND, ask("cats", "好", "", 0, &rep));
    CHECK_CODE(ST_NOT_FOUND, ask("", "好", "7", 0, &rep));
    CHECK_CODE(ST_INVALID, ask("", "好", "", 1001, &rep));
    memset(large, 'x', TEXT_MAX_BYTES + 1);
    CHECK_CODE(ST_INVALID, ask("", large, "", 0, &rep));
    large[TEXT_MAX_BYTES] = '\0';
    CHECK_OK(ask("", large, "production", 0, &rep));
    assert_int_equal(rep->n_characters, LIMIT);
    free(large);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_contributions_are_led_back_to_the_text),
        TEST(test_a_long_text_is_clipped_and_says_so),
        TEST(test_every_part_of_an_lstm_is_accounted_for),
        TEST(test_with_more_labels_the_answer_is_explained),
        TEST(test_bad_requests_are_refused),
    };

    rpc_init();
    int failed = cmocka_run_group_tests_name("explain_call", tests, NULL, NULL);
    rpc_fini();
    return failed;
}
