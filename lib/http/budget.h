/* budget.h - memory that the bodies of all requests share: those that fit are read, others are refused, or wait in the
 * order of their coming while their peers are held back by TCP. Private to lib/http. Thread-safe. */
#ifndef HTTP_BUDGET_H
#define HTTP_BUDGET_H

#include "base/base.h"

#include <stdbool.h>

struct budget;

struct budget *budget_new(size_t limit_bytes);
void budget_free(struct budget *b); /* nobody may wait */

/* At once or not at all, and never before those that wait. */
bool budget_try(struct budget *b, size_t size);

/* Waits for room. False: the deadline (clock_now() scale) came first, given_up(ctx) was true, or it is more than all there
 * is. given_up is asked about once a second, on the caller's thread. */
bool budget_wait(struct budget *b, size_t size, int64_t deadline, bool (*given_up)(void *ctx), void *ctx);

void budget_give(struct budget *b, size_t size);

#endif
