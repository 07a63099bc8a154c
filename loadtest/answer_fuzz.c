/* answer_fuzz.c - any bytes as an answer, whole and cut at any place: the same result, and all bounds hold. */
#include "answer.h"
#include "verdict.h"

#include <stdlib.h>
#include <string.h>

static void require(int holds)
{
    if (!holds)
        abort();
}

/* Feeds all of it in pieces of at most `piece` bytes; how many were taken, and in *st how that ended. */
static size_t feed(struct answer *a, const char *data, size_t size, size_t piece, struct status *st)
{
    size_t taken = 0, used;

    do {
        size_t n = size - taken < piece ? size - taken : piece;

        *st = answer_take(a, data + taken, n, &used);
        require(used <= n && (used == n || a->done || st->code));
        taken += used;
    } while (taken < size && !a->done && !st->code);
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct answer whole, cut;
    struct status st, again;
    uint32_t n_objects;

    if (size < 2)
        return 0;
    answer_init(&whole);
    answer_init(&cut);
    size_t taken = feed(&whole, (const char *)data + 1, size - 1, size, &st);
    size_t retaken = feed(&cut, (const char *)data + 1, size - 1, 1u + data[0] % 7, &again);
    require(st.code == again.code && (st.code || (taken == retaken && whole.done == cut.done)));
    require(whole.body.size <= ANSWER_BODY_MAX && strlen(whole.served_by) < ANSWER_NAME_MAX);
    if (!st.code) {
        require(whole.body.size == cut.body.size && whole.code == cut.code);
        require(!whole.done || (whole.code >= 200 && whole.code <= 599));
        (void)verdict_of(&whole, "00000000-0000-4000-8000-000000000000", false, &n_objects);
    }
    answer_fini(&whole);
    answer_fini(&cut);
    return 0;
}
