/* reflection.h - grpc.reflection.v1 and v1alpha of a server, for this folder alone. */
#ifndef RPC_REFLECTION_H
#define RPC_REFLECTION_H

#include "base/status.h"

struct rpc_server;

struct status reflection_register(struct rpc_server *s);

#endif
