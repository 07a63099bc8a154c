/* federation_internal.h - the handlers of FederationService, whose table stands in federation.c. */
#ifndef AGGREGATOR_FEDERATION_INTERNAL_H
#define AGGREGATOR_FEDERATION_INTERNAL_H

#include "rpc/rpc.h"
#include "run.h"

/* ST_NOT_FOUND: no such run. *run: the caller's reference. */
struct status federation_find(struct rpc_call *call, const char *run_id, struct run **run);

struct status federation_control(struct rpc_call *call, const void *in); /* control.c */
struct status federation_fetch(struct rpc_call *call, const void *in);   /* bulk.c */
struct status federation_submit(struct rpc_call *call, const void *in);  /* bulk.c */

#endif
