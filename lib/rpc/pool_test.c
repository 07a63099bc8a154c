/* pool_test.c - the queue before the workers: what it holds at most, in calls and in bytes. */
#include "rpc/account.h"
#include "rpc/call.h"
#include "rpc/pool.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct pool pool;
static sem_t begun, gate; /* a call has begun; one may end */
static atomic_int n_run;

static void run(struct rpc_call *call)
{
    (void)call;
    sem_post(&begun);
    sem_wait(&gate);
    atomic_fetch_add(&n_run, 1);
}

/* One worker, which is busy with a call of its own. */
static int setup(void **state)
{
    static struct rpc_call first;
    struct method_account account;

    (void)state;
    account_init(&account, "service", "method"); /* the gauge of what waits */
    atomic_store(&n_run, 0);
    sem_init(&begun, 0, 0);
    sem_init(&gate, 0, 0);
    pool_start(&pool, 1, 4, run);
    assert_true(pool_push(&pool, &first));
    sem_wait(&begun);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sem_destroy(&begun);
    sem_destroy(&gate);
    return 0;
}

/* Lets n calls end, which are all. */
static void stop_after(int n)
{
    for (int i = 0; i < n; i++)
        sem_post(&gate);
    pool_stop(&pool);
    assert_int_equal(atomic_load(&n_run), n);
}

static void test_so_many_calls_wait_at_most(void **state)
{
    struct rpc_call calls[5] = {{NULL}};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_true(pool_push(&pool, &calls[i]));
    assert_false(pool_push(&pool, &calls[4]));
    stop_after(5);
}

static void test_so_many_bytes_wait_at_most(void **state)
{
    struct rpc_call large = {.bytes_in = POOL_MAX_BYTES - 10}, small = {.bytes_in = 10}, more = {.bytes_in = 1};

    (void)state;
    assert_true(pool_push(&pool, &large));
    assert_true(pool_push(&pool, &small));
    assert_false(pool_push(&pool, &more));
    sem_post(&gate);
    sem_wait(&begun); /* the large one has left the queue */
    assert_true(pool_push(&pool, &more));
    stop_after(4);
}

static void test_one_call_alone_always_finds_room(void **state)
{
    struct rpc_call huge = {.bytes_in = POOL_MAX_BYTES + 1};

    (void)state;
    assert_true(pool_push(&pool, &huge));
    stop_after(2);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_so_many_calls_wait_at_most),
        TEST(test_so_many_bytes_wait_at_most),
        TEST(test_one_call_alone_always_finds_room),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
