/* bulk.c - FederationService/Fetch and /Submit: parameters out, updates in, chunk by chunk. */
#include "bloginfer/v1/federation.pb-c.h"
#include "federation_internal.h"
#include "run_metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct status federation_fetch(struct rpc_call *call, const void *in)
{
    const Bloginfer__V1__FetchRequest *req = in;
    Bloginfer__V1__FetchResponse chunk = BLOGINFER__V1__FETCH_RESPONSE__INIT;
    struct run *r;
    struct status st = federation_find(call, req->run_id, &r);

    if (st.code)
        return st;
    struct snapshot *s = run_fetch(r, req->base_version);
    if (!s)
        st = status_errorf(ST_PRECONDITION, "version %" PRIu64 " is not current", req->base_version);
    for (size_t i = 0; s && !st.code && i < s->n_chunks; i++) {
        chunk.offset = i * SNAPSHOT_CHUNK;
        chunk.total_bytes = s->n_params * sizeof *s->params;
        chunk.crc32c = s->crc32c[i];
        chunk.data.data = (uint8_t *)s->params + chunk.offset;
        chunk.data.len = snapshot_chunk_size(s, i);
        st = rpc_send(call, &chunk);
        if (!st.code)
            run_count_sent(r, chunk.data.len);
    }
    snapshot_release(s);
    run_release(r);
    return st;
}

/* Takes chunks until the update is complete or one is wrong, at most as long as an exchange may take. */
static struct status receive(struct rpc_call *call, const struct run *r, struct spool *spool)
{
    int64_t until = clock_after_ms(run_configuration(r)->exchange_timeout_ms);
    struct status st = status_ok();
    const void *in;

    while (!st.code && !spool_complete(spool)) {
        st = federation_recv(call, &in, until);
        if (st.code)
            return st;
        const Bloginfer__V1__SubmitRequest *req = in;
        if (!req)
            return status_errorf(ST_INVALID, "the update ends before its last chunk");
        if (req->body_case != BLOGINFER__V1__SUBMIT_REQUEST__BODY_CHUNK)
            return status_errorf(ST_INVALID, "after the header come chunks");
        st = spool_append(spool, req->chunk->offset, req->chunk->crc32c, req->chunk->data.data, req->chunk->data.len);
    }
    return st;
}

static struct status answer(struct rpc_call *call, enum run_verdict verdict, const char *reason)
{
    static const Bloginfer__V1__SubmitVerdict verdicts[] = {
        [RUN_ACCEPTED] = BLOGINFER__V1__SUBMIT_VERDICT__SUBMIT_VERDICT_ACCEPTED,
        [RUN_DUPLICATE] = BLOGINFER__V1__SUBMIT_VERDICT__SUBMIT_VERDICT_DUPLICATE,
        [RUN_LATE] = BLOGINFER__V1__SUBMIT_VERDICT__SUBMIT_VERDICT_LATE,
        [RUN_REJECTED] = BLOGINFER__V1__SUBMIT_VERDICT__SUBMIT_VERDICT_REJECTED,
    };
    Bloginfer__V1__SubmitResponse rep = BLOGINFER__V1__SUBMIT_RESPONSE__INIT;

    rep.verdict = verdicts[verdict];
    rep.reason = (char *)reason;
    return rpc_send(call, &rep);
}

static struct status submit_to(struct rpc_call *call, struct run *r, const struct run_update *u)
{
    struct spool *spool = NULL;
    struct status why;
    enum run_verdict verdict = run_submit_begin(r, u, &spool, &why);

    if (verdict == RUN_ACCEPTED) {
        why = receive(call, r, spool);
        if (why.code == ST_CANCELLED) {
            spool_free(spool);
            return why;
        }
        if (why.code) {
            run_count_rejected(r);
            verdict = RUN_REJECTED;
        } else {
            verdict = run_submit(r, u, spool, &why);
        }
    }
    spool_free(spool);
    run_metrics_update(run_configuration(r)->task, verdict);
    if (verdict == RUN_REJECTED)
        log_warn("update_rejected", log_s("run", run_id(r)), log_i("shard", u->shard_index), log_s("reason", why.msg));
    return answer(call, verdict, why.msg);
}

struct status federation_submit(struct rpc_call *call, const void *unused)
{
    const void *in;
    struct run *r;

    (void)unused;
    struct status st = federation_recv(call, &in, clock_after_ms(FEDERATION_FIRST_MS));
    if (st.code)
        return st;
    const Bloginfer__V1__SubmitRequest *req = in;
    if (!req || req->body_case != BLOGINFER__V1__SUBMIT_REQUEST__BODY_HEADER)
        return status_errorf(ST_INVALID, "the first message must be the header");
    const Bloginfer__V1__UpdateHeader *h = req->header;
    char expected[RUN_ID_SIZE + 40];
    snprintf(expected, sizeof expected, "%.64s/%" PRIu32 "/%" PRIu64, h->run_id, h->shard_index, h->base_version);
    if (strcmp(h->update_id, expected) != 0)
        return status_errorf(ST_INVALID, "update_id \"%.128s\": must be \"%s\"", h->update_id, expected);
    struct run_update u = {.shard_index = h->shard_index,
                           .base_version = h->base_version,
                           .samples = h->samples,
                           .total_bytes = h->total_bytes,
                           .loss = h->loss};
    st = federation_find(call, h->run_id, &r);
    if (st.code)
        return st;
    st = submit_to(call, r, &u);
    run_release(r);
    return st;
}
