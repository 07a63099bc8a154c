/* rpc.c - the library's beginning and end. */
#include "rpc/rpc.h"

#include "rpc/call.h"

#include <assert.h>
#include <grpc/support/log.h>
#include <malloc.h>

static_assert((int)ST_CANCELLED == GRPC_STATUS_CANCELLED && (int)ST_INVALID == GRPC_STATUS_INVALID_ARGUMENT &&
                  (int)ST_DEADLINE == GRPC_STATUS_DEADLINE_EXCEEDED && (int)ST_NOT_FOUND == GRPC_STATUS_NOT_FOUND &&
                  (int)ST_EXISTS == GRPC_STATUS_ALREADY_EXISTS && (int)ST_DENIED == GRPC_STATUS_PERMISSION_DENIED &&
                  (int)ST_EXHAUSTED == GRPC_STATUS_RESOURCE_EXHAUSTED &&
                  (int)ST_PRECONDITION == GRPC_STATUS_FAILED_PRECONDITION && (int)ST_ABORTED == GRPC_STATUS_ABORTED &&
                  (int)ST_RANGE == GRPC_STATUS_OUT_OF_RANGE && (int)ST_UNIMPLEMENTED == GRPC_STATUS_UNIMPLEMENTED &&
                  (int)ST_INTERNAL == GRPC_STATUS_INTERNAL && (int)ST_UNAVAILABLE == GRPC_STATUS_UNAVAILABLE &&
                  (int)ST_DATA_LOSS == GRPC_STATUS_DATA_LOSS && (int)ST_UNAUTHENTICATED == GRPC_STATUS_UNAUTHENTICATED,
              "codes are gRPC's numbers");

/* gRPC's own complaints (a failed handshake, a port in use) as lines of our log. Peers cause most of them. */
static void log_grpc(gpr_log_func_args *args)
{
    log_write(args->severity == GPR_LOG_SEVERITY_ERROR ? LOG_WARN : LOG_DEBUG, "grpc",
              (const struct log_kv[]){log_s("message", args->message)}, 1);
}

/* The thresholds: with glibc's own every chunk of a megabyte is mapped, faulted in and unmapped again, which halves
 * the throughput of gradient streams. */
void rpc_init(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    gpr_set_log_function(log_grpc);
    grpc_init();
}

void rpc_fini(void)
{
    grpc_shutdown_blocking();
}
