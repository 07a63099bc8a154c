/* budget_test.c - who gets room when, with threads that really wait. */
#include "http/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

struct taker {
    struct budget *budget;
    size_t size;
    int64_t timeout_ms;
    atomic_bool give_up;
    bool taken;
    int rank; /* among those that got room */
    pthread_t thread;
};

static atomic_int n_taken, n_asked;

static bool asked(void *taker)
{
    atomic_fetch_add(&n_asked, 1);
    return atomic_load(&((struct taker *)taker)->give_up);
}

static void *take(void *arg)
{
    struct taker *t = arg;

    t->taken = budget_wait(t->budget, t->size, clock_after_ms(t->timeout_ms), asked, t);
    if (t->taken)
        t->rank = atomic_fetch_add(&n_taken, 1);
    return NULL;
}

/* And waits until it stands in the queue, which is when nothing passes any more. */
static void start(struct taker *t)
{
    pthread_create(&t->thread, NULL, take, t);
    while (budget_try(t->budget, 0)) {
        budget_give(t->budget, 0);
        clock_sleep_ms(1);
    }
}

static void test_what_fits_is_taken_at_once(void **state)
{
    struct budget *b = budget_new(10);

    (void)state;
    assert_true(budget_try(b, 6));
    assert_false(budget_try(b, 5));
    assert_true(budget_wait(b, 4, CLOCK_NEVER, NULL, NULL));
    budget_give(b, 10);
    assert_false(budget_wait(b, 11, CLOCK_NEVER, NULL, NULL));
    budget_free(b);
}

static void test_first_come_first_served_and_nobody_passes(void **state)
{
    struct budget *b = budget_new(10);
    struct taker large = {b, 8, 60000}, small = {b, 1, 60000};

    (void)state;
    atomic_store(&n_taken, 0);
    assert_true(budget_try(b, 6));
    start(&large);
    pthread_create(&small.thread, NULL, take, &small);
    assert_false(budget_try(b, 1));
    clock_sleep_ms(20);
    assert_int_equal(n_taken, 0);
    budget_give(b, 6);
    pthread_join(large.thread, NULL);
    pthread_join(small.thread, NULL);
    assert_true(large.taken && small.taken);
    budget_give(b, 9);
    budget_free(b);
}

static void test_a_deadline_ends_the_wait_and_lets_the_next_one_in(void **state)
{
    struct budget *b = budget_new(10);
    struct taker large = {b, 8, 100}, small = {b, 2, 60000};

    (void)state;
    assert_true(budget_try(b, 6));
    start(&large);
    pthread_create(&small.thread, NULL, take, &small);
    pthread_join(large.thread, NULL);
    pthread_join(small.thread, NULL);
    assert_false(large.taken);
    assert_true(small.taken);
    budget_give(b, 8);
    assert_true(budget_try(b, 10));
    budget_give(b, 10);
    budget_free(b);
}

static void test_who_gives_up_is_gone(void **state)
{
    struct budget *b = budget_new(10);
    struct taker one = {b, 8, 60000, .give_up = true};

    (void)state;
    assert_true(budget_try(b, 6));
    start(&one);
    pthread_join(one.thread, NULL);
    assert_false(one.taken);
    assert_true(n_asked > 0);
    assert_true(budget_try(b, 4));
    budget_give(b, 10);
    budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_fits_is_taken_at_once),
        cmocka_unit_test(test_first_come_first_served_and_nobody_passes),
        cmocka_unit_test(test_a_deadline_ends_the_wait_and_lets_the_next_one_in),
        cmocka_unit_test(test_who_gives_up_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
