/* model_files.c - see model_files.h. What came is checked against the digest that the registry recorded before anything is
 * written. */
#include "model_files.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "format.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE &bloginfer__v1__model_registry_service__descriptor
#define PIECE   ((size_t)1 << 20) /* of an import */

/* ---- export ---- */

struct file {
    struct buf bytes;
    uint64_t version, total;
    char sha256[2 * SHA256_SIZE + 1];
};

static struct status take_chunk(struct file *f, const Bloginfer__V1__ExportModelResponse *chunk)
{
    if (!f->total) {
        f->version = chunk->version;
        f->total = chunk->total_bytes;
        f->bytes = (struct buf)BUF_INIT(MODEL_MAX_BYTES + 1);
        snprintf(f->sha256, sizeof f->sha256, "%s", chunk->sha256);
    }
    if (chunk->offset != f->bytes.size || chunk->total_bytes != f->total || f->total > MODEL_MAX_BYTES ||
        chunk->data.len > f->total - f->bytes.size || !buf_add(&f->bytes, chunk->data.data, chunk->data.len))
        return status_errorf(ST_DATA_LOSS, "the file came with a gap at byte %zu", f->bytes.size);
    return status_ok();
}

static struct status receive(struct rpc_call *call, struct file *f)
{
    const void *in = NULL;
    struct status st;

    while (!(st = rpc_recv(call, &in)).code && in)
        if ((st = take_chunk(f, in)).code)
            break;
    if (st.code)
        rpc_cancel(call);
    struct status final = rpc_stream_finish(call);
    return st.code && st.code != ST_CANCELLED ? st : final;
}

static struct status check_digest(const struct file *f)
{
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];

    if (!f->total || f->bytes.size != f->total)
        return status_errorf(ST_DATA_LOSS, "%zu bytes came of %" PRIu64, f->bytes.size, f->total);
    sha256(f->bytes.data, f->bytes.size, digest);
    if (strcmp(hex_encode(digest, sizeof digest, hex), f->sha256) != 0)
        return status_errorf(ST_DATA_LOSS, "what came has another SHA-256 than the registry recorded");
    return status_ok();
}

static struct status fetch(struct ctl *ctl, char *task, uint64_t version, struct file *f)
{
    Bloginfer__V1__ExportModelRequest req = BLOGINFER__V1__EXPORT_MODEL_REQUEST__INIT;
    struct rpc_call *call;
    struct status st = ctl_stream(ctl, CTL_AGGREGATOR, SERVICE, "ExportModel", &call);

    if (st.code)
        return st;
    req.task = task;
    req.version = version;
    rpc_send(call, &req); /* a call that failed tells why at its end */
    rpc_send_done(call);
    st = ctl_advise(ctl, CTL_AGGREGATOR, receive(call, f));
    return st.code ? st : check_digest(f);
}

/* The same model with its tensors as F16. */
static struct status halve(struct file *f)
{
    struct model *m = NULL;
    char *data = NULL;
    size_t size;
    struct status st = model_decode(&m, f->bytes.data, f->bytes.size);

    for (size_t i = 0; !st.code && i < m->n_tensors; i++)
        m->tensors[i].f16 = true;
    if (!st.code)
        st = model_encode(m, &data, &size);
    if (!st.code) {
        buf_clear(&f->bytes);
        if (!buf_add(&f->bytes, data, size))
            st = status_errorf(ST_EXHAUSTED, "the model is too large");
    }
    free(data);
    model_free(m);
    return st;
}

int model_files_export(struct ctl *ctl, char *task, uint64_t version, const char *path, bool f16)
{
    struct file f = {0};
    char text[FORMAT_SIZE];
    struct status st = fetch(ctl, task, version, &f);

    if (!st.code && f16)
        st = halve(&f);
    if (!st.code)
        st = fs_write_atomic(path, f.bytes.data, f.bytes.size);
    if (!st.code)
        printf("%s version %" PRIu64 " is in %s (%s)\n", task, f.version, path, format_bytes(text, f.bytes.size));
    buf_fini(&f.bytes);
    return st.code ? ctl_fail(st) : CTL_OK;
}

/* ---- import ---- */

static void send_file(struct rpc_call *call, const char *data, size_t size)
{
    Bloginfer__V1__ImportModelRequest req = BLOGINFER__V1__IMPORT_MODEL_REQUEST__INIT;
    Bloginfer__V1__ImportHeader header = BLOGINFER__V1__IMPORT_HEADER__INIT;
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];

    sha256(data, size, digest);
    header.total_bytes = size;
    header.sha256 = hex_encode(digest, sizeof digest, hex);
    req.body_case = BLOGINFER__V1__IMPORT_MODEL_REQUEST__BODY_HEADER;
    req.header = &header;
    struct status st = rpc_send(call, &req);
    req.body_case = BLOGINFER__V1__IMPORT_MODEL_REQUEST__BODY_DATA;
    for (size_t at = 0; at < size && !st.code; at += req.data.len) {
        req.data.data = (uint8_t *)data + at;
        req.data.len = size - at < PIECE ? size - at : PIECE;
        st = rpc_send(call, &req); /* what is refused under way tells why at its end */
    }
    rpc_send_done(call);
}

/* Prints the answer while it lives. */
static struct status tell_version(struct ctl *ctl, const Bloginfer__V1__ImportModelResponse *rep)
{
    if (!rep->model)
        return status_errorf(ST_INTERNAL, "an answer without a model");
    if (ctl->settings.json)
        ctl_print_json(&rep->model->base);
    else
        printf("%s version %" PRIu64 " is the candidate; bloginferctl models promote %s %" PRIu64
               " puts it into production\n",
               rep->model->task, rep->model->version, rep->model->task, rep->model->version);
    return status_ok();
}

static struct status import(struct ctl *ctl, const char *data, size_t size)
{
    struct rpc_call *call;
    const void *in = NULL;
    struct status st = ctl_stream(ctl, CTL_AGGREGATOR, SERVICE, "ImportModel", &call);

    if (st.code)
        return st;
    send_file(call, data, size);
    st = rpc_recv(call, &in);
    if (!st.code && in)
        st = tell_version(ctl, in);
    struct status final = rpc_stream_finish(call);
    return ctl_advise(ctl, CTL_AGGREGATOR, st.code && st.code != ST_CANCELLED ? st : final);
}

int model_files_import(struct ctl *ctl, const char *path)
{
    char *data = NULL;
    size_t size = 0;
    struct status st = fs_read(path, MODEL_MAX_BYTES, &data, &size);

    if (!st.code)
        st = import(ctl, data, size);
    free(data);
    return st.code ? ctl_fail(st) : CTL_OK;
}
