/* rpc.c - the library's beginning and end. */
#include "rpc/rpc.h"

#include "rpc/call.h"

#include <assert.h>
#include <dlfcn.h>
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

/* Debian's Abseil comes with its mutexes' search for deadlocks switched on, an aid for debugging: every lock that gRPC
 * takes is then entered in a graph under one lock of the whole process, 15 % of a call's instructions. The switch is
 * public but C++, hence found by its name: SetMutexDeadlockDetectionMode(kIgnore). Where it is not found, calls cost
 * what they cost before. */
static void quiet_mutexes(void)
{
    union {
        void *symbol;
        void (*set_mode)(int mode);
    } found = {dlsym(RTLD_DEFAULT, "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE")};

    if (found.symbol)
        found.set_mode(0);
}

/* The thresholds: with glibc's own every chunk of a megabyte is mapped, faulted in and unmapped again, which halves
 * the throughput of gradient streams. */
void rpc_init(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    quiet_mutexes();
    gpr_set_log_function(log_grpc);
    grpc_init();
}

void rpc_fini(void)
{
    grpc_shutdown_blocking();
}
