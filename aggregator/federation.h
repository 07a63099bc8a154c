/* federation.h - FederationService: runs for operators, the control stream and the bulk transfers for workers. */
#ifndef AGGREGATOR_FEDERATION_H
#define AGGREGATOR_FEDERATION_H

#include "rpc/rpc.h"
#include "runs.h"

/* Adds the service to a server that has not started; runs: borrowed for the server's life. */
struct status federation_add(struct rpc_server *server, struct runs *runs);

#endif
