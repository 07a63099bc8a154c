/* models_test.c - models and training over real HTTP, in front of a real gRPC server and a real trainer's port of this
 * process whose answers the tests choose. The true services are met in tests/test_models.py. */
#include "models/models.h"

#include "bloginfer/v1/classify.pb-c.h"
#include "bloginfer/v1/federation.pb-c.h"
#include "bloginfer/v1/registry.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testing.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#define TOKEN "0123456789abcdef-of-the-test"
#define ADMIN "Authorization: Bearer " TOKEN "\r\n"
#define ETAG  "0123456789abcdef0123456789abcdef"

/* What the backends answer, and what they saw. */
static _Atomic enum code answer_code;
static atomic_int n_calls, n_watching;
static atomic_int n_rounds;  /* rounds that a watcher is told */
static atomic_bool run_over; /* and that the run has ended */
static atomic_int trainer_code;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* guards the texts below */
static char seen[512], trainer_seen[512];

static void note(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    pthread_mutex_lock(&mu);
    vsnprintf(seen, sizeof seen, format, ap);
    pthread_mutex_unlock(&mu);
    va_end(ap);
}

/* Words about what was asked for are for callers, those about the inside are not. */
static struct status answer(void)
{
    enum code code = atomic_load(&answer_code);
    bool inside = code == ST_UNAVAILABLE || code == ST_INTERNAL || code == ST_DATA_LOSS;

    atomic_fetch_add(&n_calls, 1);
    return code ? status_errorf(code, "words of the backend%s", inside ? " at 10.0.0.7" : "") : status_ok();
}

/* ---- the registry ---- */

static Bloginfer__V1__ModelParameters parameters = BLOGINFER__V1__MODEL_PARAMETERS__INIT;
static Bloginfer__V1__TaskParameters tasks[2] = {BLOGINFER__V1__TASK_PARAMETERS__INIT,
                                                 BLOGINFER__V1__TASK_PARAMETERS__INIT};
static Bloginfer__V1__ModelMetadata accuracy = BLOGINFER__V1__MODEL_METADATA__INIT;
static Bloginfer__V1__ModelMetadata *metadata[] = {&accuracy};
static Bloginfer__V1__ModelVersion version = BLOGINFER__V1__MODEL_VERSION__INIT;
static Bloginfer__V1__ModelVersion *versions[] = {&version};
static Bloginfer__V1__TaskParameters *all_tasks[] = {&tasks[0], &tasks[1]};

static void fill(void)
{
    parameters.threshold = 0.5;
    parameters.max_batch = 32;
    tasks[0].task = "sentiment";
    tasks[0].version = 3;
    tasks[0].candidate = 4;
    tasks[1].task = "troll";
    tasks[0].parameters = tasks[1].parameters = &parameters;
    accuracy.key = "eval_accuracy";
    accuracy.value = "0.91";
    version.task = "sentiment";
    version.version = 3;
    version.production = true;
    version.sha256 = "ab";
    version.metadata = metadata;
    version.n_metadata = 1;
}

static struct status list_models(struct rpc_call *call, const void *in, void *out)
{
    Bloginfer__V1__ListModelsResponse *rep = out;

    (void)call;
    (void)in;
    rep->models = versions;
    rep->n_models = 1;
    return answer();
}

static struct status get_model(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__GetModelRequest *req = in;

    (void)call;
    note("get %s %d", req->task, (int)req->version);
    ((Bloginfer__V1__GetModelResponse *)out)->model = &version;
    return answer();
}

static struct status promote(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__PromoteModelRequest *req = in;

    (void)call;
    note("promote %s %d", req->task, (int)req->version);
    ((Bloginfer__V1__PromoteModelResponse *)out)->model = &version;
    return answer();
}

static struct status rollback(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    note("rollback %s", ((const Bloginfer__V1__RollbackModelRequest *)in)->task);
    ((Bloginfer__V1__RollbackModelResponse *)out)->model = &version;
    return answer();
}

static struct status prune(struct rpc_call *call, const void *in, void *out)
{
    static uint64_t removed[] = {1, 2};
    const Bloginfer__V1__PruneModelsRequest *req = in;
    Bloginfer__V1__PruneModelsResponse *rep = out;

    (void)call;
    note("prune %s %d", req->task, (int)req->keep);
    rep->removed = removed;
    rep->n_removed = 2;
    return answer();
}

static struct status list_parameters(struct rpc_call *call, const void *in, void *out)
{
    Bloginfer__V1__ListModelParametersResponse *rep = out;

    (void)call;
    rep->tasks = all_tasks;
    rep->n_tasks = ((const Bloginfer__V1__ListModelParametersRequest *)in)->task[0] ? 1 : 2;
    rep->etag = ETAG;
    return answer();
}

static struct status change_parameters(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__ChangeModelParametersRequest *req = in;
    Bloginfer__V1__ChangeModelParametersResponse *rep = out;
    struct buf text = BUF_INIT(400);

    (void)call;
    buf_printf(&text, "[%s]", req->task);
    for (size_t i = 0; i < req->n_changes; i++) {
        buf_printf(&text, " %s v%d %g", req->changes[i]->task, (int)req->changes[i]->version,
                   req->changes[i]->parameters->threshold);
        for (size_t k = 0; k < req->changes[i]->n_fields; k++)
            buf_printf(&text, " .%s", req->changes[i]->fields[k]);
    }
    for (size_t i = 0; i < req->n_if_match; i++)
        buf_printf(&text, " =%s", req->if_match[i]);
    note("%s", text.data);
    buf_fini(&text);
    rep->tasks = all_tasks;
    rep->n_tasks = req->task[0] ? 1 : 2;
    rep->etag = ETAG;
    return answer();
}

static struct status refuse(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    (void)in;
    (void)out;
    return status_errorf(ST_UNIMPLEMENTED, "not in this test");
}

static struct status refuse_stream(struct rpc_call *call, const void *in)
{
    (void)call;
    (void)in;
    return status_errorf(ST_UNIMPLEMENTED, "not in this test");
}

static const struct rpc_method registry_methods[] = {
    RPC_UNARY("ListModels", list_models),
    RPC_UNARY("GetModel", get_model),
    RPC_UNARY("PromoteModel", promote),
    RPC_UNARY("RollbackModel", rollback),
    RPC_UNARY("GetModelParameters", refuse),
    RPC_UNARY("SetModelParameters", refuse),
    RPC_UNARY("ListModelParameters", list_parameters),
    RPC_UNARY("ChangeModelParameters", change_parameters),
    RPC_UNARY("PruneModels", prune),
    RPC_STREAM("ExportModel", refuse_stream),
    RPC_STREAM("ImportModel", refuse_stream),
};

/* ---- runs ---- */

static Bloginfer__V1__RunConfig config = BLOGINFER__V1__RUN_CONFIG__INIT;
static Bloginfer__V1__Run run = BLOGINFER__V1__RUN__INIT;

static struct status list_runs(struct rpc_call *call, const void *in, void *out)
{
    static Bloginfer__V1__Run *runs[] = {&run};
    const Bloginfer__V1__ListRunsRequest *req = in;
    Bloginfer__V1__ListRunsResponse *rep = out;

    (void)call;
    note("list %d %d", req->active_only, (int)req->limit);
    rep->runs = runs;
    rep->n_runs = 1;
    return answer();
}

static struct status get_run(struct rpc_call *call, const void *in, void *out)
{
    (void)call;
    (void)in;
    ((Bloginfer__V1__GetRunResponse *)out)->run = &run;
    return answer();
}

static struct status stop_run(struct rpc_call *call, const void *in, void *out)
{
    const Bloginfer__V1__StopRunRequest *req = in;

    (void)call;
    note("stop %s because %s", req->run_id, req->reason);
    ((Bloginfer__V1__StopRunResponse *)out)->run = &run;
    return answer();
}

static struct status send_state(struct rpc_call *call, enum _Bloginfer__V1__RunState state)
{
    Bloginfer__V1__WatchRunResponse event = BLOGINFER__V1__WATCH_RUN_RESPONSE__INIT;
    Bloginfer__V1__Run now = run;

    now.state = state;
    event.event_case = BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_RUN;
    event.run = &now;
    return rpc_send(call, &event);
}

static struct status send_round(struct rpc_call *call, uint32_t n)
{
    Bloginfer__V1__WatchRunResponse event = BLOGINFER__V1__WATCH_RUN_RESPONSE__INIT;
    Bloginfer__V1__RoundResult round = BLOGINFER__V1__ROUND_RESULT__INIT;

    round.round = n;
    round.train_loss = 0.25;
    round.samples = 1000;
    event.event_case = BLOGINFER__V1__WATCH_RUN_RESPONSE__EVENT_ROUND;
    event.round = &round;
    return rpc_send(call, &event);
}

/* As the aggregator does: all rounds so far, the run, then what is new, then the end. */
static struct status watch(struct rpc_call *call)
{
    struct status st = status_ok();
    const void *in;
    int sent = 0;

    for (; sent < atomic_load(&n_rounds) && !st.code; sent++)
        st = send_round(call, (uint32_t)sent + 1);
    if (!st.code && !atomic_load(&run_over))
        st = send_state(call, BLOGINFER__V1__RUN_STATE__RUN_STATE_TRAINING);
    while (!st.code && !(atomic_load(&run_over) && sent == atomic_load(&n_rounds))) {
        if (sent < atomic_load(&n_rounds))
            st = send_round(call, (uint32_t)++sent);
        else if (rpc_wait(call, &in, clock_after_ms(2)) == RPC_CANCELLED)
            st = status_errorf(ST_CANCELLED, "the watcher has gone");
    }
    return st.code ? st : send_state(call, BLOGINFER__V1__RUN_STATE__RUN_STATE_FINISHED);
}

static struct status watch_run(struct rpc_call *call, const void *in)
{
    struct status st = answer();

    (void)in;
    if (st.code)
        return st;
    atomic_fetch_add(&n_watching, 1);
    st = watch(call);
    atomic_fetch_sub(&n_watching, 1);
    return st;
}

static const struct rpc_method federation_methods[] = {
    RPC_UNARY("StartRun", refuse),
    RPC_UNARY("StopRun", stop_run),
    RPC_UNARY("GetRun", get_run),
    RPC_UNARY("ListRuns", list_runs),
    RPC_STREAM("WatchRun", watch_run, .endless = true),
    RPC_STREAM("Control", refuse_stream),
    RPC_STREAM("Fetch", refuse_stream),
    RPC_STREAM("Submit", refuse_stream),
};

/* ---- inference and the trainer ---- */

static struct status classify(struct rpc_call *call, const void *in, void *out)
{
    static Bloginfer__V1__Classification one = BLOGINFER__V1__CLASSIFICATION__INIT;
    static Bloginfer__V1__Classification *results[] = {&one};
    const Bloginfer__V1__ClassifyRequest *req = in;
    Bloginfer__V1__ClassifyResponse *rep = out;

    (void)call;
    if (strcmp(req->task, "sentiment") != 0)
        return status_errorf(ST_NOT_FOUND, "task %.20s is not known here", req->task);
    note("classify %s", req->texts[0]);
    one.label = "positive";
    one.prob = 0.75F;
    rep->results = results;
    rep->n_results = 1;
    rep->version = 3;
    return answer();
}

static const struct rpc_method classify_methods[] = {
    RPC_UNARY("Classify", classify),
    RPC_UNARY("Explain", refuse),
    RPC_UNARY("ListServedModels", refuse),
};

static struct status trainer_train(struct http_call *call)
{
    static const char started[] = "{\"run_id\": \"r-1\", \"state\": \"waiting\", \"created\": true}";
    static const char refused[] = "{\"code\": 409, \"message\": \"run r-0 of sentiment is active\"}";
    int code = atomic_load(&trainer_code);

    pthread_mutex_lock(&mu);
    snprintf(trainer_seen, sizeof trainer_seen, "%s %s", http_request_id(call), http_body(call, NULL));
    pthread_mutex_unlock(&mu);
    if (code == 202)
        http_reply(call, code, "application/json", started, sizeof started - 1);
    else
        http_reply(call, code, "application/json", refused, sizeof refused - 1);
    return status_ok();
}

/* ---- one gateway before all of them ---- */

static struct rpc_server *backends;
static struct http_server *trainer;
static struct gateway gateway = {.deadline_ms = 20000, .beat_ms = 100};
static char target[32], trainer_target[32];
static int port;

static void start_backends(void)
{
    struct rpc_server_config server = {.listen = "127.0.0.1", .port = port, .workers = 2, .queue = 8, .drain_ms = 100};

    ok(rpc_server_new(&backends, &server));
    ok(rpc_server_add(backends, &bloginfer__v1__model_registry_service__descriptor, registry_methods,
                      COUNT_OF(registry_methods), NULL));
    ok(rpc_server_add(backends, &bloginfer__v1__federation_service__descriptor, federation_methods,
                      COUNT_OF(federation_methods), NULL));
    ok(rpc_server_add(backends, &bloginfer__v1__classify_service__descriptor, classify_methods,
                      COUNT_OF(classify_methods), NULL));
    ok(rpc_server_start(backends));
    port = rpc_server_port(backends);
}

static void start_trainer(void)
{
    static const struct http_route routes[] = {{"POST", "/train", trainer_train, 1 << 16, .light = true}};
    const struct http_config web = {.listen = "127.0.0.1", .routes = routes, .n_routes = 1, .quiet = true};

    ok(http_start(&trainer, &web));
    snprintf(trainer_target, sizeof trainer_target, "127.0.0.1:%d", http_port(trainer));
    gateway.trainer = trainer_target;
}

static void start_gateway(void)
{
    static struct http_route routes[64];
    struct http_config web = {
        .listen = "127.0.0.1", .routes = routes, .service = &gateway, .quiet = true, .streams = 2};

    memcpy(routes, models_routes, models_n_routes * sizeof *routes);
    routes[models_n_routes] =
        (struct http_route){"POST", "/{model}/predict", predict_model_post, 1 << 16, .light = true};
    web.n_routes = models_n_routes + 1;
    ok(http_start(&http, &web));
}

static int set_up(void **state)
{
    (void)state;
    rpc_init();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    fill();
    run.run_id = "r-1";
    run.config = &config;
    start_backends();
    start_trainer();
    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    connect_to(&gateway.aggregator, "aggregator", target, "bloginfer.v1.ModelRegistryService");
    connect_to(&gateway.inference, "inference", target, "bloginfer.v1.ClassifyService");
    ok(admin_token_set(&gateway.admin_token, TOKEN));
    start_gateway();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_stop(http);
    http_stop(trainer);
    rpc_client_free(gateway.aggregator.client);
    rpc_client_free(gateway.inference.client);
    rpc_server_stop(backends);
    curl_global_cleanup();
    rpc_fini();
    return 0;
}

static int reset(void **state)
{
    (void)state;
    atomic_store(&answer_code, ST_OK);
    atomic_store(&trainer_code, 202);
    atomic_store(&n_rounds, 0);
    atomic_store(&run_over, false);
    atomic_store(&n_calls, 0);
    seen[0] = trainer_seen[0] = '\0';
    return 0;
}

static void check(const char *verb, const char *path, const char *headers, const char *body, const char *code,
                  const char *part)
{
    char *text = ask(verb, path, headers, body), line[32];

    snprintf(line, sizeof line, "HTTP/1.1 %s", code); /* "20": any that went well */
    expect(text, line);
    expect(text, part);
    assert_null(strstr(text, "10.0.0.7"));
    free(text);
}

static void assert_text(const char *text, const char *wanted)
{
    pthread_mutex_lock(&mu);
    assert_string_equal(text, wanted);
    pthread_mutex_unlock(&mu);
}

/* ---- who may ---- */

static const struct {
    const char *verb, *path, *body;
} changes[] = {
    {"PUT", "/params", "{\"models\": {\"troll\": {\"threshold\": 0.5}}}"},
    {"PUT", "/api/models/sentiment/params", "{\"parameters\": {\"threshold\": 0.5}}"},
    {"POST", "/api/models/sentiment/3/promote", ""},
    {"POST", "/api/models/sentiment/rollback", "{}"},
    {"POST", "/api/models/sentiment/prune", "{\"keep\": 3}"},
    {"POST", "/api/train", "{}"},
    {"POST", "/api/runs/r-1/stop", ""},
};

static void test_changes_need_the_token(void **state)
{
    static const char *const wrong[] = {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer\r\n",
                                        "Authorization: Basic " TOKEN "\r\n", "Authorization: Bearer " TOKEN "x\r\n"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        for (size_t k = 0; k < COUNT_OF(wrong); k++) {
            check(changes[i].verb, changes[i].path, wrong[k], changes[i].body, "401", "WWW-Authenticate: Bearer");
            check(changes[i].verb, changes[i].path, wrong[k], changes[i].body, "401", "UNAUTHENTICATED");
        }
        assert_int_equal(n_calls, 0);
        assert_text(trainer_seen, "");
        check(changes[i].verb, changes[i].path, "authorization: bearer " TOKEN "\r\n", changes[i].body, "20", "{");
        reset(state);
    }
}

static void test_without_a_token_changes_are_off(void **state)
{
    const struct admin_token token = gateway.admin_token;

    (void)state;
    ok(admin_token_set(&gateway.admin_token, ""));
    for (size_t i = 0; i < COUNT_OF(changes); i++)
        check(changes[i].verb, changes[i].path, ADMIN, changes[i].body, "403", "BLOGINFER_ADMIN_TOKEN");
    gateway.admin_token = token;
    assert_int_equal(n_calls, 0);
    assert_int_equal(admin_token_set(&(struct admin_token){0}, "short").code, ST_INVALID);
    assert_int_equal(admin_token_set(&(struct admin_token){0}, "with a space in the middle").code, ST_INVALID);
}

/* ---- models ---- */

static void test_models_are_shown(void **state)
{
    (void)state;
    check("GET", "/api/models", "", "", "200", "\"task\":\"sentiment\",\"production\":3,\"candidate\":4");
    check("GET", "/api/models", "", "", "200", "\"metadata\":{\"eval_accuracy\":\"0.91\"}");
    check("GET", "/api/models", "", "", "200", "\"task\":\"troll\",\"production\":0,\"candidate\":0");
    check("GET", "/api/models/sentiment", "", "", "200", "{\"task\":\"sentiment\",");
    check("GET", "/api/models/sentiment/versions/3", "", "", "200", "\"sha256\":\"ab\"");
    assert_text(seen, "get sentiment 3");
    check("GET", "/api/models/sentiment/versions/0", "", "", "404", "NOT_FOUND");
    check("GET", "/api/models/sentiment/versions/3x", "", "", "404", "NOT_FOUND");
    check("GET", "/api/models/sentiment/versions/99999999999999999999", "", "", "404", "NOT_FOUND");
}

static void test_versions_are_moved(void **state)
{
    (void)state;
    check("POST", "/api/models/sentiment/4/promote", ADMIN, "", "200", "\"version\":3");
    assert_text(seen, "promote sentiment 4");
    check("POST", "/api/models/sentiment/x/promote", ADMIN, "", "404", "a number from 1");
    check("POST", "/api/models/sentiment/4/promote", ADMIN, "{\"force\": true}", "400", "force");
    check("POST", "/api/models/sentiment/rollback", ADMIN, "", "200", "\"production\":true");
    assert_text(seen, "rollback sentiment");
    check("POST", "/api/models/sentiment/prune", ADMIN, "{\"keep\": 5}", "200", "{\"removed\":[1,2]}");
    assert_text(seen, "prune sentiment 5");
    check("POST", "/api/models/sentiment/prune", ADMIN, "{\"keep\": 0}", "400", "keep");
    check("POST", "/api/models/sentiment/prune", ADMIN, "{\"keep\": 1.5}", "400", "keep");
    check("POST", "/api/models/sentiment/prune", ADMIN, "{}", "400", "keep");
    check("POST", "/api/models/sentiment/prune", ADMIN, "[", "400", "JSON");
}

static void test_errors_of_the_registry(void **state)
{
    static const struct {
        enum code code;
        const char *http, *http_of_params;
    } cases[] = {
        {ST_NOT_FOUND, "404", "404"}, {ST_INVALID, "400", "400"},     {ST_PRECONDITION, "409", "412"},
        {ST_DATA_LOSS, "409", "409"}, {ST_UNAVAILABLE, "503", "503"}, {ST_INTERNAL, "502", "502"},
        {ST_EXHAUSTED, "503", "503"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char line[32], *text;

        atomic_store(&answer_code, cases[i].code);
        text = ask("POST", "/api/models/sentiment/rollback", ADMIN, "");
        snprintf(line, sizeof line, "HTTP/1.1 %s ", cases[i].http);
        expect(text, line);
        free(text);
        text = ask("PUT", "/params", ADMIN, changes[0].body);
        snprintf(line, sizeof line, "HTTP/1.1 %s ", cases[i].http_of_params);
        expect(text, line);
        free(text);
    }
}

/* Done twice it would go back two versions. */
static void test_a_rollback_is_sent_once(void **state)
{
    (void)state;
    atomic_store(&answer_code, ST_UNAVAILABLE);
    check("POST", "/api/models/sentiment/rollback", ADMIN, "", "503", "Retry-After");
    assert_int_equal(n_calls, 1);
    check("POST", "/api/models/sentiment/3/promote", ADMIN, "", "503", "Retry-After");
    assert_true(n_calls > 2);
    atomic_store(&n_calls, 0);
    check("PUT", "/params", ADMIN "If-Match: \"" ETAG "\"\r\n", changes[0].body, "503", "Retry-After");
    assert_int_equal(n_calls, 1);
}

/* ---- parameters ---- */

static void test_parameters_are_shown_with_their_etag(void **state)
{
    char *text = ask("GET", "/params", "", "");

    (void)state;
    expect(text, "ETag: \"" ETAG "\"\r\n");
    expect(text, "{\"etag\":\"" ETAG "\",\"models\":{\"sentiment\":{\"threshold\":0.5,\"max_batch\":32,"
                 "\"max_queue_delay_us\":0,\"canary_percent\":0.0,\"shadow_percent\":0.0,\"version\":3},\"troll\":{");
    free(text);
    text = ask("GET", "/api/models/sentiment/params", "", "");
    expect(text, "{\"task\":\"sentiment\",\"etag\":\"" ETAG "\",\"parameters\":{\"threshold\":0.5,");
    free(text);
    check("GET", "/params", "If-None-Match: \"" ETAG "\"\r\n", "", "304", "ETag");
    check("GET", "/params", "If-None-Match: \"old\"\r\n", "", "200", "models");
}

static void test_parameters_are_changed(void **state)
{
    (void)state;
    check("PUT", "/params", ADMIN, "{\"models\": {\"troll\": {\"threshold\": 0.75}, \"sentiment\": {\"version\": 4}}}",
          "200", "ETag: \"" ETAG "\"");
    assert_text(seen, "[] troll v0 0.75 .threshold sentiment v4 0 .version");
    check("PUT", "/params", ADMIN, "{\"etag\": \"x1\", \"models\": {\"troll\": {\"max_batch\": 8}}}", "200", "models");
    assert_text(seen, "[] troll v0 0 .max_batch =x1");
    check("PUT", "/params", ADMIN "If-Match: \"a\", W/\"b\" , \"c\"\r\n",
          "{\"etag\": \"x1\", \"models\": {\"troll\": {}}}", "200", "models");
    assert_text(seen, "[] troll v0 0 =a =W/b =c");
    check("PUT", "/params", ADMIN "If-Match: *\r\n", "{\"models\": {\"troll\": {}}}", "200", "models");
    assert_text(seen, "[] troll v0 0");
    check("PUT", "/api/models/sentiment/params", ADMIN,
          "{\"task\": \"sentiment\", \"etag\": \"x2\", \"parameters\": {\"threshold\": 0.25}}", "200", "parameters");
    assert_text(seen, "[sentiment] sentiment v0 0.25 .threshold =x2");
}

static void test_wrong_parameters_are_refused_here(void **state)
{
    static const struct {
        const char *path, *body, *part;
    } cases[] = {
        {"/params", "", "models"},
        {"/params", "{\"models\": {}}", "models"},
        {"/params", "{\"models\": []}", "models"},
        {"/params", "{\"models\": {\"troll\": 5}}", "troll"},
        {"/params", "{\"models\": {\"troll\": {\"weight\": 5}}}", "weight"},
        {"/params", "{\"models\": {\"troll\": {\"threshold\": \"high\"}}}", "threshold"},
        {"/params", "{\"models\": {\"troll\": {\"max_batch\": 1.5}}}", "max_batch"},
        {"/params", "{\"models\": {\"troll\": {\"version\": -1}}}", "version"},
        {"/params", "{\"models\": {\"troll\": {\"version\": \"3\"}}}", "version"},
        {"/params", "{\"models\": {\"troll\": {}}, \"more\": 1}", "more"},
        {"/params", "{\"etag\": 5, \"models\": {\"troll\": {}}}", "etag"},
        {"/params", "{\"models\": {\"troll\": {\"threshold\": 1, \"threshold\": 0}}}", "duplicate"},
        {"/api/models/troll/params", "{}", "parameters"},
        {"/api/models/troll/params", "{\"task\": \"sentiment\", \"parameters\": {}}", "path"},
        {"/api/models/troll/params", "{\"models\": {}}", "models"},
    };
    static const char *const conditions[] = {"If-Match: x\r\n", "If-Match: \"x\r\n", "If-Match: \"a\" \"b\"\r\n",
                                             "If-Match: \"\"\r\n", "If-Match: \"a\",\r\n"};
    char headers[128];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check("PUT", cases[i].path, ADMIN, cases[i].body, "400", cases[i].part);
    for (size_t i = 0; i < COUNT_OF(conditions); i++) {
        snprintf(headers, sizeof headers, "%s%s", ADMIN, conditions[i]);
        check("PUT", "/params", headers, changes[0].body, "400", "If-Match");
    }
    assert_int_equal(n_calls, 0);
}

/* ---- prediction by name ---- */

static void test_a_model_predicts_by_its_name(void **state)
{
    (void)state;
    check("POST", "/sentiment/predict", "", "{\"input\": \"hi\"}", "200",
          "{\"output\":\"positive\",\"label\":\"positive\",\"prob\":0.75,\"version\":3,\"model\":\"sentiment\"}");
    assert_text(seen, "classify hi");
    check("POST", "/sentiment/predict", "", "{\"text\": \"ho\"}", "200", "\"output\":\"positive\"");
    assert_text(seen, "classify ho");
    check("POST", "/model_a/predict", "", "{\"input\": \"hi\"}", "400", "\"Invalid model!\"");
    check("POST", "/sentiment/predict", "", "{}", "400", "input");
    check("POST", "/sentiment/predict", "", "{\"input\": 5}", "400", "input");
    check("POST", "/sentiment/predict", "", "{\"input\": \"a\", \"text\": \"b\"}", "400", "once");
    atomic_store(&answer_code, ST_UNAVAILABLE);
    check("POST", "/sentiment/predict", "", "{\"input\": \"hi\"}", "503", "Retry-After");
}

/* ---- runs ---- */

static void test_a_run_is_started_by_the_trainer(void **state)
{
    (void)state;
    check("POST", "/api/train", ADMIN "X-Request-Id: q-1\r\n", "{\"rounds\": 3, \"run_id\": \"r-1\"}", "202",
          "\"created\":true");
    assert_text(trainer_seen, "q-1 {\"rounds\":3,\"run_id\":\"r-1\"}");
    check("POST", "/api/train", ADMIN, "", "202", "Location: /api/runs/r-1\r\n");
    atomic_store(&trainer_code, 409);
    check("POST", "/api/train", ADMIN, "{}", "409", "run r-0 of sentiment is active");
    atomic_store(&trainer_code, 412);
    check("POST", "/api/train", ADMIN, "{}", "409", "FAILED_PRECONDITION");
    atomic_store(&trainer_code, 503);
    check("POST", "/api/train", ADMIN, "{}", "503", "Retry-After");
    atomic_store(&trainer_code, 500);
    check("POST", "/api/train", ADMIN, "{}", "502", "trainer failed");
    gateway.trainer = "127.0.0.1:1";
    check("POST", "/api/train", ADMIN, "{}", "503", "cannot be reached");
    gateway.trainer = trainer_target;
}

static void test_wrong_options_never_reach_the_trainer(void **state)
{
    static const char *const bodies[][2] = {
        {"[", "JSON"},
        {"[]", "object"},
        {"{\"rounds\": \"many\"}", "rounds"},
        {"{\"rounds\": -1}", "rounds"},
        {"{\"speed\": 1}", "speed"},
        {"{\"run_id\": \"Not One\"}", "run_id"},
        {"{\"run_id\": 5}", "run_id"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bodies); i++)
        check("POST", "/api/train", ADMIN, bodies[i][0], "400", bodies[i][1]);
    assert_text(trainer_seen, "");
}

static void test_a_trainers_answer_is_not_trusted(void **state)
{
    static const struct {
        long code;
        const char *body;
        int http_code;
    } cases[] = {{202, "{}", 202},
                 {202, "[]", 502},
                 {202, "", 502},
                 {302, "{}", 502},
                 {409, "{}", 502},
                 {409, "{\"message\": 5}", 502},
                 {400, "{\"message\": \"x\"}", 400},
                 {503, "", 503},
                 {0, "", 502}};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        json_t *out = NULL;
        int code = 0;

        assert_int_equal(!train_answer(cases[i].code, cases[i].body, strlen(cases[i].body), &out, &code).code, i == 0);
        assert_int_equal(code, cases[i].http_code);
        json_decref(out);
    }
}

static void test_runs_are_shown_and_stopped(void **state)
{
    (void)state;
    check("GET", "/api/runs", "", "", "200", "{\"runs\":[{\"run_id\":\"r-1\"");
    assert_text(seen, "list 0 20");
    check("GET", "/api/runs?active=true&limit=5", "", "", "200", "runs");
    assert_text(seen, "list 1 5");
    check("GET", "/api/runs?limit=0", "", "", "400", "limit");
    check("GET", "/api/runs?limit=101", "", "", "400", "limit");
    check("GET", "/api/runs?limit=x", "", "", "400", "limit");
    check("GET", "/api/runs?active=yes", "", "", "400", "active");
    check("GET", "/api/runs/r-1", "", "", "200", "\"run_id\":\"r-1\"");
    check("GET", "/api/runs/Not%20One", "", "", "404", "no such run");
    check("POST", "/api/runs/r-1/stop", ADMIN, "{\"reason\": \"enough\"}", "200", "run_id");
    assert_text(seen, "stop r-1 because enough");
    check("POST", "/api/runs/r-1/stop", ADMIN, "{\"why\": \"enough\"}", "400", "why");
    atomic_store(&answer_code, ST_NOT_FOUND);
    check("GET", "/api/runs/r-2", "", "", "404", "NOT_FOUND");
    check("GET", "/api/runs/r-2/events", "", "", "404", "NOT_FOUND");
    check("GET", "/api/runs/Not%20One/events", "", "", "404", "no such run");
    atomic_store(&answer_code, ST_EXHAUSTED);
    check("GET", "/api/runs/r-2/events", "", "", "503", "Retry-After");
}

/* ---- events ---- */

/* What comes until the text has come. */
static char *read_until(int fd, const char *text)
{
    struct buf b = BUF_INIT((size_t)1 << 20);
    char c;

    while ((!b.data || !strstr(b.data, text)) && recv(fd, &c, 1, 0) == 1)
        buf_putc(&b, c);
    if (!b.data || !strstr(b.data, text))
        fail_msg("no \"%s\" in:\n%s", text, b.data ? b.data : "");
    return buf_take(&b);
}

static void await_watchers(int n)
{
    for (int64_t until = clock_after_ms(60000); atomic_load(&n_watching) != n && clock_now() < until;)
        clock_sleep_ms(1);
    assert_int_equal(n_watching, n);
}

static void test_events_come_as_they_happen(void **state)
{
    int fd;
    char *text;

    (void)state;
    atomic_store(&n_rounds, 1);
    fd = ask_on("GET", "/api/runs/r-1/events", "", "");
    text = read_until(fd, "\"state\":\"training\"");
    expect(text, "Content-Type: text/event-stream\r\n");
    expect(text, "Cache-Control: no-cache\r\n");
    expect(text, "retry: 2000\n\n");
    expect(text, "id: 1\nevent: round\ndata: {\"round\":1,\"train_loss\":0.25,");
    expect(text, "event: run\ndata: {\"run_id\":\"r-1\"");
    assert_null(strstr(text, "\"rounds\":["));
    free(text);
    free(read_until(fd, ":\n\n")); /* a comment while nothing happens */
    atomic_store(&n_rounds, 2);
    free(read_until(fd, "id: 2\nevent: round\n"));
    atomic_store(&run_over, true);
    text = read_until(fd, "\r\n0\r\n\r\n"); /* the end of the body */
    expect(text, "id: 2.end\nevent: run\n");
    expect(text, "\"state\":\"finished\"");
    free(text);
    close(fd);
    await_watchers(0);
}

static void test_a_reader_that_comes_back_hears_the_rest(void **state)
{
    char *text;

    (void)state;
    atomic_store(&n_rounds, 3);
    atomic_store(&run_over, true);
    text = ask("GET", "/api/runs/r-1/events", "Last-Event-ID: 2\r\n", "");
    assert_null(strstr(text, "id: 2\n"));
    expect(text, "id: 3\nevent: round\n");
    expect(text, "id: 3.end\nevent: run\n");
    free(text);
    check("GET", "/api/runs/r-1/events", "Last-Event-ID: 3.end\r\n", "", "204", "");
    text = ask("GET", "/api/runs/r-1/events", "Last-Event-ID: nonsense\r\n", "");
    expect(text, "id: 1\nevent: round\n");
    free(text);
}

static void test_ids_of_events(void **state)
{
    bool ended;

    (void)state;
    assert_int_equal(event_seen(NULL, &ended), 0);
    assert_int_equal(event_seen("", &ended), 0);
    assert_int_equal(event_seen("12", &ended), 12);
    assert_false(ended);
    assert_int_equal(event_seen("12.end", &ended), 12);
    assert_true(ended);
    assert_int_equal(event_seen("12.ends", &ended), 0);
    assert_false(ended);
    assert_int_equal(event_seen("9999999999", &ended), 0);
    assert_int_equal(event_seen("-1", &ended), 0);
}

static void test_a_watch_ends_with_its_reader(void **state)
{
    int fd = ask_on("GET", "/api/runs/r-1/events", "", "");

    (void)state;
    free(read_until(fd, "event: run\n"));
    await_watchers(1);
    close(fd);
    await_watchers(0);
}

static void test_streams_are_bounded(void **state)
{
    int first = ask_on("GET", "/api/runs/r-1/events", "", ""), second;

    (void)state;
    free(read_until(first, "event: run\n"));
    second = ask_on("GET", "/api/runs/r-1/events", "", "");
    free(read_until(second, "event: run\n"));
    check("GET", "/api/runs/r-1/events", "", "", "503", "too many streams");
    check("GET", "/api/runs/r-1", "", "", "200", "run_id"); /* and all else goes on */
    close(first);
    close(second);
    await_watchers(0);
}

/* The stream stays, and no round comes twice or is left out. */
static void test_the_aggregator_may_be_restarted_meanwhile(void **state)
{
    int fd;
    char *text;

    (void)state;
    atomic_store(&n_rounds, 2);
    fd = ask_on("GET", "/api/runs/r-1/events", "", "");
    free(read_until(fd, "event: run\n"));
    rpc_server_stop(backends);
    atomic_store(&n_rounds, 4);
    start_backends();
    text = read_until(fd, "id: 4\nevent: round\n");
    assert_null(strstr(text, "id: 2\n"));
    expect(text, "id: 3\nevent: round\n");
    free(text);
    close(fd);
    await_watchers(0);
}

#define TEST(f) cmocka_unit_test_setup(f, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_changes_need_the_token),
        TEST(test_without_a_token_changes_are_off),
        TEST(test_models_are_shown),
        TEST(test_versions_are_moved),
        TEST(test_errors_of_the_registry),
        TEST(test_a_rollback_is_sent_once),
        TEST(test_parameters_are_shown_with_their_etag),
        TEST(test_parameters_are_changed),
        TEST(test_wrong_parameters_are_refused_here),
        TEST(test_a_model_predicts_by_its_name),
        TEST(test_a_run_is_started_by_the_trainer),
        TEST(test_wrong_options_never_reach_the_trainer),
        TEST(test_a_trainers_answer_is_not_trusted),
        TEST(test_runs_are_shown_and_stopped),
        TEST(test_events_come_as_they_happen),
        TEST(test_a_reader_that_comes_back_hears_the_rest),
        TEST(test_ids_of_events),
        TEST(test_a_watch_ends_with_its_reader),
        TEST(test_streams_are_bounded),
        TEST(test_the_aggregator_may_be_restarted_meanwhile),
    };

    log_init("models_test", "error");
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
