/* services.c - gRPC calls to the services, each connected when it is first needed. */
#include "ctl.h"
#include "grpc/health/v1/health.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_LIMIT ((size_t)64 << 20)

const char *ctl_service_name(enum ctl_service service)
{
    static const char *const names[CTL_N_SERVICES] = {"aggregator", "inference", "detector"};

    return names[service];
}

static struct status connect_to(const struct ctl *ctl, const char *address, struct rpc_client **out)
{
    return rpc_client_new(out, &(struct rpc_client_config){.target = address,
                                                           .tls_ca = ctl->settings.tls_ca,
                                                           .tls_cert = ctl->settings.tls_cert,
                                                           .tls_key = ctl->settings.tls_key,
                                                           .max_message = MESSAGE_LIMIT});
}

static struct status need_client(struct ctl *ctl, enum ctl_service service)
{
    return ctl->clients[service] ? status_ok()
                                 : connect_to(ctl, ctl->settings.address[service], &ctl->clients[service]);
}

/* gRPC tells the whole way to an error; its end is the cause: "Connection refused". */
static const char *innermost(const char *msg)
{
    for (const char *next; (next = strstr(msg, ": ")) && next[2];)
        msg = next + 2;
    return msg;
}

struct status ctl_advise(const struct ctl *ctl, enum ctl_service service, struct status st)
{
    const char *name = ctl_service_name(service), *address = ctl->settings.address[service];

    if (st.code == ST_UNAVAILABLE)
        return status_errorf(st.code, "the %s at %s does not answer (%.80s): is it running? ./bloginfer status", name,
                             address, innermost(st.msg));
    if (st.code == ST_DEADLINE)
        return status_errorf(st.code, "the %s at %s did not answer within %d s", name, address,
                             (int)ctl->settings.timeout_s);
    return st;
}

struct status ctl_call(struct ctl *ctl, enum ctl_service service, const ProtobufCServiceDescriptor *descriptor,
                       const char *method, const void *in, const void **out)
{
    struct rpc_options options = {.timeout_ms = ctl->settings.timeout_s * 1000, .arena = &ctl->arena};
    struct status st = need_client(ctl, service);

    if (!st.code)
        st = rpc_unary(ctl->clients[service], descriptor, method, in, out, &options);
    return ctl_advise(ctl, service, st);
}

struct status ctl_stream(struct ctl *ctl, enum ctl_service service, const ProtobufCServiceDescriptor *descriptor,
                         const char *method, struct rpc_call **out)
{
    struct rpc_options options = {.timeout_ms = -1};
    struct status st = need_client(ctl, service);

    if (!st.code)
        st = rpc_stream_open(out, ctl->clients[service], descriptor, method, &options);
    return ctl_advise(ctl, service, st);
}

struct status ctl_check_health(struct ctl *ctl, const char *address, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    const Grpc__Health__V1__HealthCheckResponse *rep;
    struct rpc_options options = {.timeout_ms = ctl->settings.timeout_s * 1000, .arena = &ctl->arena};
    struct rpc_client *client = NULL;
    struct status st = connect_to(ctl, address, &client);

    req.service = (char *)service;
    if (!st.code)
        st = rpc_unary(client, &grpc__health__v1__health__descriptor, "Check", &req, (const void **)&rep, &options);
    rpc_client_free(client);
    if (!st.code && rep->status != GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
        return status_errorf(ST_PRECONDITION, "not serving");
    return st;
}
