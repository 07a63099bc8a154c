/* served_list.h - the answer of ClassifyService/ListServedModels: every version in service, what stands on it, and how a
 * candidate compares with production. */
#ifndef INFERENCE_SERVED_LIST_H
#define INFERENCE_SERVED_LIST_H

#include "served.h"

#include "bloginfer/v1/classify.pb-c.h"

/* Everything in the arena. ST_EXHAUSTED: it is full. */
struct status served_list(struct served *s, struct arena *a, Bloginfer__V1__ListServedModelsResponse *out);

#endif
