/* channel.h - a client's connections, for this folder alone. */
#ifndef RPC_CHANNEL_H
#define RPC_CHANNEL_H

#include "rpc/rpc.h"

#include <grpc/grpc.h>

struct rpc_client {
    grpc_channel *channel;
    char *target;
    size_t max_message;
    bool watched, closing; /* guarded by the watcher's mutex */
};

#endif
