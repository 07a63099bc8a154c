/* account.h - counting and logging of calls, for this folder alone. */
#ifndef RPC_ACCOUNT_H
#define RPC_ACCOUNT_H

#include "metrics/metrics.h"

#include <stdatomic.h>

struct rpc_call;

/* The series of one method of a server. */
struct method_account {
    const char *service, *method;
    _Atomic(struct series *) calls[ST_N_CODES]; /* made when a code first happens */
    struct series *seconds, *bytes_in, *bytes_out;
};

void account_init(struct method_account *a, const char *service, const char *method);

/* A server's call has come; it is answered, once each. */
void account_begin(void);
void account_end(struct rpc_call *call, const struct status *st);

/* The length of a server's queue changes by that. */
void account_queued(int change);

void account_client(const char *service, const char *method, enum code code);

#endif
