/* health.h - grpc.health.v1.Health of a server, for this folder alone. Check and List run on the pollers and a watch
 * is no more than a list entry: all answer while every worker is busy, and a thousand idle watches cost no thread. */
#ifndef RPC_HEALTH_H
#define RPC_HEALTH_H

#include "base/status.h"

#include <stdbool.h>

struct health;
struct rpc_server;

struct health *health_new(void);
void health_free(struct health *h); /* after the last call has gone */

struct status health_register(struct health *h, struct rpc_server *s);

/* Adds the service or changes it. Any thread. */
void health_set(struct health *h, const char *service, bool serving);

void health_set_all(struct health *h, bool serving);

/* Ends every watch, and every later one at once: UNAVAILABLE. */
void health_end_watches(struct health *h);

#endif
