/* timers_test.c - against a search through all of them. */
#include "timers.h"

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N 50

/* The earliest that is set; -1: none. */
static int64_t earliest(const struct timer *all)
{
    int64_t least = -1;

    for (int i = 0; i < N; i++)
        if (all[i].place && (least < 0 || all[i].due < least))
            least = all[i].due;
    return least;
}

static void test_the_first_is_always_the_earliest(void **state)
{
    struct timer all[N] = {{0}};
    struct timers t;
    struct rng rng;

    (void)state;
    rng_init(&rng, 1);
    timers_init(&t, N);
    for (int i = 0; i < 20000; i++) {
        struct timer *one = &all[rng_below(&rng, N)];

        if (rng_below(&rng, 3))
            timers_set(&t, one, (int64_t)rng_below(&rng, 1000));
        else
            timers_clear(&t, one);
        const struct timer *first = timers_first(&t);
        assert_int_equal(first ? first->due : -1, earliest(all));
    }
    timers_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_first_is_always_the_earliest)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
