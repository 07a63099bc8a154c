/* channel.h - a client's connections, for this folder alone. */
#ifndef RPC_CHANNEL_H
#define RPC_CHANNEL_H

#include "rpc/rpc.h"

#include <grpc/grpc.h>

/* What a completion on the clients' queue carries: a step for the thread behind it, which must not block. */
struct io_tag {
    void (*done)(struct io_tag *tag);
};

struct rpc_client {
    grpc_channel *channel;
    char *target;
    size_t max_message;
    struct io_tag changed; /* the channel's state */
    bool watched, closing; /* guarded by the mutex of channel.c */
};

/* The one queue of unary calls; there as long as a client is. */
grpc_completion_queue *channel_queue(void);

#endif
