/* flight_test.c - who may have the value of a flight, by when it boarded. One thread is enough: only waiting blocks, and
 * what has landed is not waited for. */
#include "redis/flight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct flights flights;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    flights_init(&flights);
    arena_init(&arena, 4096);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    flights_fini(&flights);
    return 0;
}

static struct landing wait_for(const struct seat *seat, bool later)
{
    return flight_wait(&flights, seat, later, CLOCK_NEVER, &arena);
}

static void land(const struct seat *pilot, const char *value, bool fresh)
{
    struct status st = status_ok();

    flight_land(&flights, pilot, &st, value, strlen(value), fresh);
}

static void test_one_pilot_for_a_key(void **state)
{
    struct seat a = flight_board(&flights, "k", 1), b = flight_board(&flights, "k", 1),
                other = flight_board(&flights, "l", 1), longer = flight_board(&flights, "kk", 2);

    (void)state;
    assert_true(a.pilot && !b.pilot && other.pilot && longer.pilot);
    land(&other, "", true);
    land(&longer, "", true);
    land(&a, "value", true);
    struct landing l = wait_for(&b, false);
    assert_true(l.landed && l.usable && !l.st.code);
    assert_int_equal(l.size, 5);
    assert_memory_equal(l.value, "value", 5);
    a = flight_board(&flights, "k", 1);
    assert_true(a.pilot); /* the other one is over */
    land(&a, "", true);
}

static void test_a_value_that_may_be_old_is_for_later_wishes_only(void **state)
{
    struct seat a = flight_board(&flights, "k", 1), b = flight_board(&flights, "k", 1),
                c = flight_board(&flights, "k", 1);

    (void)state;
    land(&a, "value", false);
    struct landing l = wait_for(&b, false);
    assert_true(l.landed && !l.usable && !l.value);
    assert_true(wait_for(&c, true).usable);
}

static void test_who_boards_after_the_close_may_not_share(void **state)
{
    struct seat a = flight_board(&flights, "k", 1), b = flight_board(&flights, "k", 1), c, d;

    (void)state;
    flight_close(&flights, &a);
    c = flight_board(&flights, "k", 1);
    d = flight_board(&flights, "k", 1);
    assert_true(!c.pilot); /* but there is still only one who makes it */
    land(&a, "value", true);
    assert_true(wait_for(&b, false).usable);
    assert_false(wait_for(&c, false).usable);
    assert_true(wait_for(&d, true).usable);
}

static void test_an_error_reaches_all(void **state)
{
    struct seat a = flight_board(&flights, "k", 1), b = flight_board(&flights, "k", 1);
    struct status st = status_errorf(ST_NOT_FOUND, "no such post");

    (void)state;
    flight_land(&flights, &a, &st, NULL, 0, false);
    struct landing l = wait_for(&b, false);
    assert_true(l.landed && !l.value);
    assert_int_equal(l.st.code, ST_NOT_FOUND);
    assert_string_equal(l.st.msg, "no such post");
}

static void test_waiting_has_a_deadline(void **state)
{
    struct seat a = flight_board(&flights, "k", 1), b = flight_board(&flights, "k", 1);

    (void)state;
    assert_false(flight_wait(&flights, &b, false, clock_after_ms(20), &arena).landed);
    land(&a, "value", true);
}

static void test_a_full_arena_is_told(void **state)
{
    struct seat a = flight_board(&flights, "k", 1), b = flight_board(&flights, "k", 1);
    struct arena small;

    (void)state;
    arena_init(&small, 4);
    land(&a, "value", true);
    struct landing l = flight_wait(&flights, &b, false, CLOCK_NEVER, &small);
    assert_true(l.landed && l.usable && !l.value && !l.st.code);
    arena_fini(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_pilot_for_a_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_value_that_may_be_old_is_for_later_wishes_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_boards_after_the_close_may_not_share, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_error_reaches_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_has_a_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_arena_is_told, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
