/* federation_internal.h - the handlers of FederationService, whose table stands in federation.c. */
#ifndef AGGREGATOR_FEDERATION_INTERNAL_H
#define AGGREGATOR_FEDERATION_INTERNAL_H

#include "rpc/rpc.h"
#include "run.h"

/* ST_NOT_FOUND: no such run. *run: the caller's reference. */
struct status federation_find(struct rpc_call *call, const char *run_id, struct run **run);

/* The next message of a worker, or *in = NULL at their end. ST_DEADLINE: none came until then (clock_now() scale), so that
 * nobody holds a place by saying nothing; ST_CANCELLED: the call is over. */
struct status federation_recv(struct rpc_call *call, const void **in, int64_t until);
#define FEDERATION_FIRST_MS 10000 /* for the first message of a stream */

struct status federation_control(struct rpc_call *call, const void *in); /* control.c */
struct status federation_fetch(struct rpc_call *call, const void *in);   /* bulk.c */
struct status federation_submit(struct rpc_call *call, const void *in);  /* bulk.c */

#endif
