/* transfer.c - see transfer.h. */
#include "transfer.h"

#include "bloginfer/v1/federation.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct status open_stream(const struct transfer *t, const char *method, struct rpc_call **call)
{
    return rpc_stream_open(call, t->client, &bloginfer__v1__federation_service__descriptor, method,
                           &(struct rpc_options){.timeout_ms = t->timeout_ms});
}

/* The call's own end tells more than what went wrong on the way to it. */
static struct status close_stream(struct rpc_call *call, struct status st)
{
    if (st.code)
        rpc_cancel(call);
    struct status final = rpc_stream_finish(call);
    if (!st.code || (st.code == ST_CANCELLED && final.code && final.code != ST_CANCELLED))
        return final;
    return st;
}

static struct status take_chunk(const Bloginfer__V1__FetchResponse *chunk, char *params, size_t size, size_t done)
{
    if (chunk->total_bytes != size || chunk->offset != done || chunk->data.len > size - done)
        return status_errorf(ST_DATA_LOSS,
                             "parameters: chunk of %zu bytes at %" PRIu64 " of %" PRIu64 ", expected offset %zu of %zu",
                             chunk->data.len, chunk->offset, chunk->total_bytes, done, size);
    if (crc32c(0, chunk->data.data, chunk->data.len) != chunk->crc32c)
        return status_errorf(ST_DATA_LOSS, "parameters: checksum differs at %zu", done);
    if (chunk->data.len)
        memcpy(params + done, chunk->data.data, chunk->data.len);
    return status_ok();
}

struct status transfer_fetch(const struct transfer *t, uint64_t version, float *params, size_t n_params)
{
    Bloginfer__V1__FetchRequest req = BLOGINFER__V1__FETCH_REQUEST__INIT;
    size_t size = n_params * sizeof *params, done = 0;
    struct rpc_call *call;
    const void *in = NULL;
    struct status st = open_stream(t, "Fetch", &call);

    if (st.code)
        return st;
    req.run_id = (char *)t->run_id;
    req.base_version = version;
    st = rpc_send(call, &req);
    if (!st.code)
        st = rpc_send_done(call);
    while (!st.code && !(st = rpc_recv(call, &in)).code && in) {
        const Bloginfer__V1__FetchResponse *chunk = in;

        st = take_chunk(chunk, (char *)params, size, done);
        done += chunk->data.len;
    }
    st = close_stream(call, st);
    if (!st.code && done != size)
        st = status_errorf(ST_DATA_LOSS, "parameters: %zu bytes of %zu came", done, size);
    return st;
}

static struct status send_update(const struct transfer *t, struct rpc_call *call, Bloginfer__V1__UpdateHeader *header,
                                 const float *update)
{
    Bloginfer__V1__SubmitRequest req = BLOGINFER__V1__SUBMIT_REQUEST__INIT;
    Bloginfer__V1__UpdateChunk chunk = BLOGINFER__V1__UPDATE_CHUNK__INIT;
    struct status st;

    req.body_case = BLOGINFER__V1__SUBMIT_REQUEST__BODY_HEADER;
    req.header = header;
    st = rpc_send(call, &req);
    req.body_case = BLOGINFER__V1__SUBMIT_REQUEST__BODY_CHUNK;
    req.chunk = &chunk;
    for (uint64_t at = 0; at < header->total_bytes && !st.code; at += chunk.data.len) {
        uint64_t left = header->total_bytes - at;

        chunk.offset = at;
        chunk.data.data = (uint8_t *)update + at;
        chunk.data.len = left < t->chunk_bytes ? left : t->chunk_bytes;
        chunk.crc32c = crc32c(0, chunk.data.data, chunk.data.len);
        st = rpc_send(call, &req);
    }
    return st.code ? st : rpc_send_done(call);
}

static enum transfer_verdict verdict_of(Bloginfer__V1__SubmitVerdict v)
{
    switch (v) {
    case BLOGINFER__V1__SUBMIT_VERDICT__SUBMIT_VERDICT_ACCEPTED:
        return TRANSFER_ACCEPTED;
    case BLOGINFER__V1__SUBMIT_VERDICT__SUBMIT_VERDICT_DUPLICATE:
        return TRANSFER_DUPLICATE;
    case BLOGINFER__V1__SUBMIT_VERDICT__SUBMIT_VERDICT_LATE:
        return TRANSFER_LATE;
    default:
        return TRANSFER_REJECTED;
    }
}

struct status transfer_submit(const struct transfer *t, uint64_t base_version, uint64_t samples, double loss,
                              const float *update, size_t n_params, enum transfer_verdict *verdict, char *reason)
{
    Bloginfer__V1__UpdateHeader header = BLOGINFER__V1__UPDATE_HEADER__INIT;
    char update_id[128];
    struct rpc_call *call;
    const void *in = NULL;
    struct status st = open_stream(t, "Submit", &call);

    if (st.code)
        return st;
    snprintf(update_id, sizeof update_id, "%s/%" PRIu32 "/%" PRIu64, t->run_id, t->shard_index, base_version);
    header.run_id = (char *)t->run_id;
    header.shard_index = t->shard_index;
    header.update_id = update_id;
    header.base_version = base_version;
    header.samples = samples;
    header.loss = loss;
    header.total_bytes = n_params * sizeof *update;
    /* An update that is refused is answered before its end: then sending fails, and the answer says why. */
    st = send_update(t, call, &header, update);
    if (!st.code || st.code == ST_CANCELLED)
        st = rpc_recv(call, &in);
    const Bloginfer__V1__SubmitResponse *rep = in;
    if (rep) {
        *verdict = verdict_of(rep->verdict);
        snprintf(reason, STATUS_MSG_SIZE, "%s", rep->reason);
    } else if (!st.code) {
        st = status_errorf(ST_CANCELLED, "the update was not answered");
    }
    return close_stream(call, st);
}
