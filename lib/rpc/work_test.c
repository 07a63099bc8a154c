/* work_test.c - work that a poller does between calls: deferred calls, answered by it alone. */
#include "rpc/testing.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define CALLERS 4
#define SMALL   1000 /* bytes of a request that a poller takes at most */

typedef Bloginfer__V1__DetectRequest detect_request;

/* Only the poller touches what is not atomic: a server of up to three CPUs has one. */
struct fixture {
    struct rpc_server *server;
    struct rpc_client *client;
    struct rpc_call *waiting[CALLERS];
    size_t n_waiting;
    atomic_size_t at_least; /* calls that have to wait before work is due at once; 0: it is due whenever one does */
    _Atomic int64_t delay;  /* after the first call; work is due then */
    int64_t first;          /* when it came */
    atomic_int n_run;       /* times that work was done */
    atomic_int most;        /* calls answered by one of them */
    _Atomic int64_t early;  /* the least time from the first call to the work */
    atomic_int n_large;     /* large requests in their handler */
    sem_t gate;             /* lets one of them go */
};

static struct fixture f;

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        struct status ok_st = (expression);                                                                            \
        if (ok_st.code)                                                                                                \
            fail_msg("%s: %s %s", #expression, code_name(ok_st.code), ok_st.msg);                                      \
    } while (0)

static int64_t due(void *ctx)
{
    (void)ctx;
    if (!f.n_waiting)
        return CLOCK_NEVER;
    if (f.delay)
        return f.first + f.delay;
    return !f.at_least ? 0 : f.n_waiting >= f.at_least ? RPC_WORK_NOW : CLOCK_NEVER;
}

static void run(void *ctx)
{
    (void)ctx;
    f.early = clock_now() - f.first;
    if ((int)f.n_waiting > f.most)
        f.most = (int)f.n_waiting;
    atomic_fetch_add(&f.n_run, 1);
    while (f.n_waiting)
        rpc_answer(f.waiting[--f.n_waiting], status_ok());
}

static void wait_for_work(struct rpc_call *call, const void *in, void *out)
{
    (void)in, (void)out;
    if (!f.n_waiting)
        f.first = clock_now();
    f.waiting[f.n_waiting++] = call;
}

static void detect(struct rpc_call *call, const void *in, void *out)
{
    const detect_request *req = in;

    if (req->image.len <= SMALL) {
        wait_for_work(call, in, out);
        return;
    }
    atomic_fetch_add(&f.n_large, 1);
    sem_wait(&f.gate);
    rpc_answer(call, status_ok());
}

static struct status no_stream(struct rpc_call *call, const void *in)
{
    (void)call, (void)in;
    return status_ok();
}

static const struct rpc_method methods[] = {
    RPC_DEFERRED("Detect", detect, .on_poller = true, .poller_max = SMALL),
    RPC_DEFERRED("DescribeDetector", wait_for_work, .on_poller = true),
    RPC_DEFERRED("ListDetectors", wait_for_work),
    RPC_STREAM("DetectStream", no_stream),
};

static int setup(void **state)
{
    const struct rpc_server_config config = {.work = {due, run, NULL}, .drain_ms = 2000};
    char target[64];

    (void)state;
    f = (struct fixture){.at_least = 0};
    sem_init(&f.gate, 0, 0);
    OK(rpc_server_new(&f.server, &config));
    OK(rpc_server_add(f.server, DETECT, methods, COUNT_OF(methods), NULL));
    OK(rpc_server_start(f.server));
    snprintf(target, sizeof target, "127.0.0.1:%d", rpc_server_port(f.server));
    f.client = testing_client(target);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rpc_client_free(f.client);
    rpc_server_stop(f.server);
    sem_destroy(&f.gate);
    return 0;
}

static struct status detect_image(size_t size)
{
    static uint8_t image[2 * SMALL];
    detect_request req = BLOGINFER__V1__DETECT_REQUEST__INIT;
    struct arena arena;
    const void *out;

    req.image = (ProtobufCBinaryData){size, image};
    arena_init(&arena, 1 << 16);
    struct status st = rpc_unary(f.client, DETECT, "Detect", &req, &out,
                                 &(struct rpc_options){.arena = &arena, .timeout_ms = 20000, .wait_for_ready = true});
    arena_fini(&arena);
    return st;
}

static void *call(void *st)
{
    *(struct status *)st = detect_image(0);
    return NULL;
}

static void *call_large(void *st)
{
    *(struct status *)st = detect_image(2 * SMALL);
    return NULL;
}

static void call_together(void)
{
    struct status st[CALLERS];
    pthread_t threads[CALLERS];

    for (size_t i = 0; i < CALLERS; i++)
        threads[i] = thread_start("caller", 0, call, &st[i]);
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        OK(st[i]);
    }
}

static void test_a_lone_call_is_answered(void **state)
{
    struct status st;

    (void)state;
    for (int i = 0; i < 20; i++) {
        call(&st);
        OK(st);
    }
    assert_int_equal(f.n_run, 20);
    call_together();
}

static void test_work_that_is_due_at_once_answers_all(void **state)
{
    (void)state;
    f.at_least = CALLERS;
    call_together();
    assert_int_equal(f.n_run, 1);
    assert_int_equal(f.most, CALLERS);
}

static void test_work_waits_for_its_time(void **state)
{
    (void)state;
    f.delay = 30 * CLOCK_MS;
    call_together();
    assert_true(f.early >= f.delay);
}

static void test_a_large_request_delays_no_other(void **state)
{
    struct status st;
    pthread_t large = thread_start("large", 0, call_large, &st);

    (void)state;
    testing_await(&f.n_large, 1);
    OK(detect_image(0));
    sem_post(&f.gate);
    pthread_join(large, NULL);
    OK(st);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_lone_call_is_answered),
        TEST(test_work_that_is_due_at_once_answers_all),
        TEST(test_work_waits_for_its_time),
        TEST(test_a_large_request_delays_no_other),
    };

    rpc_init();
    int failed = cmocka_run_group_tests_name("work", tests, NULL, NULL);
    rpc_fini();
    return failed;
}
