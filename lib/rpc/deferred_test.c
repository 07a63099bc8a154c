/* deferred_test.c - unary calls that are answered after their handler has returned. */
#include "rpc/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_PENDING 16

typedef Bloginfer__V1__DetectRequest detect_request;
typedef Bloginfer__V1__DetectResponse detect_response;

struct pending {
    struct rpc_call *call;
    const detect_request *in;
    detect_response *out;
};

/* Detect, on the one worker, and DescribeDetector, on a poller, leave their calls to the answering thread, which
 * answers them once the gate is open or they are cancelled; the id "now" is answered inside of the handler, "fail"
 * with a failure. */
struct fixture {
    struct rpc_server *server;
    struct rpc_client *client;
    pthread_t thread;
    atomic_int n_taken, n_cancelled;
    pthread_mutex_t mu; /* guards all below */
    bool open, quit;
    struct pending pending[MAX_PENDING];
    size_t n_pending;
};

static struct fixture f;

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        struct status ok_st = (expression);                                                                            \
        if (ok_st.code)                                                                                                \
            fail_msg("%s: %s %s", #expression, code_name(ok_st.code), ok_st.msg);                                      \
    } while (0)

static void answer(const struct pending *p)
{
    struct status st = status_ok();

    if (p->in && !strcmp(p->in->id, "fail"))
        st = status_errorf(ST_PRECONDITION, "no detector 模型");
    if (p->in && !st.code) {
        p->out->id = arena_printf(rpc_arena(p->call), "%s!", p->in->id);
        p->out->image_width = (uint32_t)p->in->image.len;
        rpc_set_trailer(p->call, "x-answer", "later");
    }
    rpc_answer(p->call, st);
}

/* One of the calls that can be answered now. */
static bool take(struct pending *p, bool *cancelled)
{
    bool found = false;

    pthread_mutex_lock(&f.mu);
    for (size_t i = 0; i < f.n_pending && !found; i++) {
        *cancelled = rpc_cancelled(f.pending[i].call);
        found = f.open || *cancelled;
        if (found) {
            *p = f.pending[i];
            f.pending[i] = f.pending[--f.n_pending];
        }
    }
    pthread_mutex_unlock(&f.mu);
    return found;
}

static bool quit(void)
{
    pthread_mutex_lock(&f.mu);
    bool yes = f.quit;
    pthread_mutex_unlock(&f.mu);
    return yes;
}

static void *answer_all(void *arg)
{
    struct pending p;
    bool cancelled;

    while (!quit()) {
        if (!take(&p, &cancelled)) {
            clock_sleep_ms(1);
            continue;
        }
        if (cancelled) {
            atomic_fetch_add(&f.n_cancelled, 1);
            rpc_answer(p.call, status_errorf(ST_CANCELLED, "seen"));
        } else
            answer(&p);
    }
    return arg;
}

static void defer(struct pending p)
{
    pthread_mutex_lock(&f.mu);
    assert_true(f.n_pending < MAX_PENDING);
    f.pending[f.n_pending++] = p;
    pthread_mutex_unlock(&f.mu);
    atomic_fetch_add(&f.n_taken, 1);
}

static void detect(struct rpc_call *call, const void *in, void *out)
{
    struct pending p = {call, in, out};

    if (!strcmp(p.in->id, "now"))
        answer(&p);
    else
        defer(p);
}

static void describe(struct rpc_call *call, const void *in, void *out)
{
    (void)in, (void)out;
    defer((struct pending){.call = call});
}

static struct status no_stream(struct rpc_call *call, const void *in)
{
    (void)call, (void)in;
    return status_ok();
}

static const struct rpc_method methods[] = {
    RPC_DEFERRED("Detect", detect, .max_request = 64 << 10),
    RPC_DEFERRED("DescribeDetector", describe, .on_poller = true),
    RPC_DEFERRED("ListDetectors", describe),
    RPC_STREAM("DetectStream", no_stream),
};

static void open_gate(void)
{
    pthread_mutex_lock(&f.mu);
    f.open = true;
    pthread_mutex_unlock(&f.mu);
}

static int setup_with(struct rpc_server_config config)
{
    char target[64];

    f = (struct fixture){.open = false};
    pthread_mutex_init(&f.mu, NULL);
    OK(rpc_server_new(&f.server, &config));
    OK(rpc_server_add(f.server, DETECT, methods, COUNT_OF(methods), NULL));
    OK(rpc_server_start(f.server));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(f.server));
    f.client = testing_client(target);
    f.thread = thread_start("answers", 0, answer_all, NULL);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with((struct rpc_server_config){.workers = 1, .queue = 1, .drain_ms = 20000});
}

static int setup_hasty(void **state)
{
    (void)state;
    return setup_with((struct rpc_server_config){.workers = 1, .queue = 1, .drain_ms = 50});
}

static int teardown(void **state)
{
    (void)state;
    open_gate();
    rpc_client_free(f.client);
    rpc_server_stop(f.server); /* needs the answers */
    pthread_mutex_lock(&f.mu);
    f.quit = true;
    pthread_mutex_unlock(&f.mu);
    pthread_join(f.thread, NULL);
    pthread_mutex_destroy(&f.mu);
    return 0;
}

/* ---- the callers ---- */

struct caller {
    const char *id, *method;
    int64_t timeout_ms;
    struct status st;
    bool right; /* the answer is the one of this request, with its trailer */
};

static void *call(void *arg)
{
    struct caller *c = arg;
    detect_request req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    struct rpc_trailer trailer = {.key = "x-answer"};
    struct rpc_options options = {.timeout_ms = c->timeout_ms, .trailers = &trailer, .n_trailers = 1};
    struct arena arena;
    const void *out;
    uint8_t image[100] = {0};

    arena_init(&arena, 1 << 20);
    options.arena = &arena;
    req.id = (char *)c->id;
    req.image.data = image;
    req.image.len = strlen(c->id);
    if (strcmp(c->method, "Detect"))
        req = (detect_request)BLOGINFER__V1__DETECT_REQUEST__INIT;
    c->st = rpc_unary(f.client, DETECT, c->method, &req, &out, &options);
    if (!c->st.code && !strcmp(c->method, "Detect")) {
        const detect_response *rep = out;

        c->right = !strncmp(rep->id, c->id, strlen(c->id)) && rep->image_width == strlen(c->id) &&
                   !strcmp(trailer.value, "later");
    }
    arena_fini(&arena);
    return NULL;
}

static struct caller detect_now(const char *id, int64_t timeout_ms)
{
    struct caller c = {.id = id, .method = "Detect", .timeout_ms = timeout_ms};

    call(&c);
    return c;
}

/* ---- the promises ---- */

static void test_an_answer_before_the_handler_returns(void **state)
{
    (void)state;
    struct caller c = detect_now("now", 5000);
    OK(c.st);
    assert_true(c.right);
}

/* One worker, room for one in its queue: a pending answer holds neither. */
static void test_pending_answers_hold_no_thread(void **state)
{
    struct caller callers[8];
    pthread_t threads[COUNT_OF(callers)];
    const char *const ids[] = {"a", "bb", "ccc", "dddd"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        callers[i] = (struct caller){.id = ids[i % 4], .method = i < 4 ? "Detect" : "DescribeDetector"};
        callers[i].timeout_ms = 20000;
        threads[i] = thread_start("caller", 0, call, &callers[i]);
        testing_await(&f.n_taken, (int)i + 1);
    }
    open_gate();
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        pthread_join(threads[i], NULL);
        OK(callers[i].st);
        assert_true(i >= 4 || callers[i].right);
    }
}

static void test_a_later_failure_arrives(void **state)
{
    (void)state;
    open_gate();
    struct caller c = detect_now("fail", 5000);
    assert_int_equal(c.st.code, ST_PRECONDITION);
    assert_string_equal(c.st.msg, "no detector 模型");
}

static void test_requests_are_still_checked_before_the_handler(void **state)
{
    Bloginfer__V1__DetectRequest req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    struct arena arena;
    const void *out;

    (void)state;
    arena_init(&arena, 1 << 20);
    req.image.len = 100 << 10;
    req.image.data = xcalloc(1, req.image.len);
    struct rpc_options options = {.arena = &arena};
    assert_int_equal(rpc_unary(f.client, DETECT, "Detect", &req, &out, &options).code, ST_EXHAUSTED);
    assert_int_equal(atomic_load(&f.n_taken), 0);
    free(req.image.data);
    arena_fini(&arena);
}

static void test_the_end_of_a_pending_call_is_seen(void **state)
{
    (void)state;
    /* On a busy machine a deadline may be over before its call is pending. */
    for (int64_t ms = 50; ms < 20000 && !atomic_load(&f.n_taken); ms *= 2)
        assert_int_equal(detect_now("waits", ms).st.code, ST_DEADLINE);
    testing_await(&f.n_cancelled, 1);
}

static void *stop(void *arg)
{
    rpc_server_stop(f.server);
    return arg;
}

/* A call that waits with the server's stop under way; begun is when a new one is refused. */
static struct caller stopped_with_one_pending(bool opens)
{
    struct caller c = {.id = "last", .method = "Detect", .timeout_ms = 20000};
    pthread_t caller = thread_start("caller", 0, call, &c), stopper;

    testing_await(&f.n_taken, 1);
    stopper = thread_start("stopper", 0, stop, NULL);
    while (opens && detect_now("now", 1000).st.code != ST_UNAVAILABLE)
        ;
    if (opens)
        open_gate();
    pthread_join(caller, NULL);
    pthread_join(stopper, NULL);
    f.server = NULL;
    return c;
}

static void test_a_stopping_server_waits_for_pending_answers(void **state)
{
    (void)state;
    struct caller c = stopped_with_one_pending(true);
    OK(c.st);
    assert_true(c.right);
    assert_int_equal(atomic_load(&f.n_cancelled), 0);
}

static void test_a_stopping_server_cancels_what_is_not_answered(void **state)
{
    (void)state;
    struct caller c = stopped_with_one_pending(false);
    assert_int_not_equal(c.st.code, ST_OK);
    assert_int_equal(atomic_load(&f.n_cancelled), 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_an_answer_before_the_handler_returns),
        CASE(test_pending_answers_hold_no_thread),
        CASE(test_a_later_failure_arrives),
        CASE(test_requests_are_still_checked_before_the_handler),
        CASE(test_the_end_of_a_pending_call_is_seen),
        CASE(test_a_stopping_server_waits_for_pending_answers),
        cmocka_unit_test_setup_teardown(test_a_stopping_server_cancels_what_is_not_answered, setup_hasty, teardown),
    };

    rpc_init();
    int failed = cmocka_run_group_tests_name("deferred", tests, NULL, NULL);
    rpc_fini();
    return failed;
}
