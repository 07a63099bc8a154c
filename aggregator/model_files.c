/* model_files.c - ModelRegistryService/ExportModel and /ImportModel: how a model gets from one site's store to another's.
 * The file travels as it is, so that its digest is the same at both ends. A whole file is held in memory: it has to be
 * checked before the first byte counts, and models are some megabytes. */
#include "model_files.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "classifier/classifier.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK      ((size_t)256 << 10)
#define SILENCE_MS 30000 /* between two messages of an import */

struct file {
    char *data;
    size_t size;
    char sha256[2 * SHA256_SIZE + 1];
};

static void file_digest(struct file *f)
{
    uint8_t digest[SHA256_SIZE];

    sha256(f->data, f->size, digest);
    hex_encode(digest, sizeof digest, f->sha256);
}

/* ---- export ---- */

/* The file's bytes, which are those that the store recorded. */
static struct status file_read(struct file *f, const char *dir, const char *task, uint64_t version)
{
    uint8_t digest[SHA256_SIZE];
    char path[PATH_MAX], recorded[2 * SHA256_SIZE + 1];
    struct model *header = NULL;
    uint64_t size;
    struct status st = store_info(dir, task, version, &header, &size, digest);

    model_free(header);
    if (st.code)
        return st;
    store_path(path, sizeof path, dir, task, version, STORE_MODEL_FILE);
    st = fs_read(path, MODEL_MAX_BYTES, &f->data, &f->size);
    if (st.code)
        return st;
    file_digest(f);
    if (strcmp(f->sha256, hex_encode(digest, sizeof digest, recorded)) != 0)
        st = status_errorf(ST_DATA_LOSS, "%s version %" PRIu64 " does not verify", task, version);
    return st;
}

static struct status file_send(struct rpc_call *call, const struct file *f, uint64_t version)
{
    Bloginfer__V1__ExportModelResponse chunk = BLOGINFER__V1__EXPORT_MODEL_RESPONSE__INIT;
    struct status st = status_ok();

    chunk.version = version;
    chunk.total_bytes = f->size;
    chunk.sha256 = (char *)f->sha256;
    for (size_t at = 0; at < f->size && !st.code; at += chunk.data.len) {
        chunk.offset = at;
        chunk.data.data = (uint8_t *)f->data + at;
        chunk.data.len = f->size - at < CHUNK ? f->size - at : CHUNK;
        st = rpc_send(call, &chunk);
    }
    return st;
}

struct status model_files_export(struct rpc_call *call, const void *in)
{
    const struct registry *r = rpc_service(call);
    const Bloginfer__V1__ExportModelRequest *req = in;
    uint64_t version = req->version;
    struct file f = {0};
    struct status st = store_task_check(req->task);

    if (!st.code && !version) {
        st = store_get_pointer(registry_dir(r), req->task, STORE_PRODUCTION, &version);
        if (!st.code && !version)
            st = status_errorf(ST_NOT_FOUND, "%s has no version in production", req->task);
    }
    if (!st.code)
        st = file_read(&f, registry_dir(r), req->task, version);
    st = registry_answerable(st, req->task);
    if (!st.code)
        st = file_send(call, &f, version);
    free(f.data);
    return st;
}

/* ---- import ---- */

/* *req is NULL at the end of the messages. */
static struct status next_message(struct rpc_call *call, const Bloginfer__V1__ImportModelRequest **req)
{
    const void *in = NULL;
    enum rpc_event event = rpc_wait(call, &in, clock_after_ms(SILENCE_MS));

    *req = event == RPC_MESSAGE ? in : NULL;
    if (event == RPC_TIMEOUT)
        return status_errorf(ST_DEADLINE, "nothing came for %d s", SILENCE_MS / 1000);
    return event == RPC_CANCELLED ? status_errorf(ST_CANCELLED, "the caller has gone") : status_ok();
}

static struct status header_receive(struct rpc_call *call, struct file *f)
{
    const Bloginfer__V1__ImportModelRequest *req;
    struct status st = next_message(call, &req);

    if (st.code)
        return st;
    if (!req || req->body_case != BLOGINFER__V1__IMPORT_MODEL_REQUEST__BODY_HEADER)
        return status_errorf(ST_INVALID, "the first message must be the header");
    if (!req->header->total_bytes || req->header->total_bytes > MODEL_FILES_IMPORT_MAX)
        return status_errorf(ST_INVALID, "total_bytes %" PRIu64 ": must be 1 to %zu", req->header->total_bytes,
                             MODEL_FILES_IMPORT_MAX);
    if (strlen(req->header->sha256) != sizeof f->sha256 - 1)
        return status_errorf(ST_INVALID, "sha256: must be %zu hexadecimal digits", sizeof f->sha256 - 1);
    f->size = req->header->total_bytes;
    memcpy(f->sha256, req->header->sha256, sizeof f->sha256);
    return st;
}

/* Grows as the bytes come, not as they are announced. */
static struct status data_receive(struct rpc_call *call, struct file *f)
{
    struct buf bytes = BUF_INIT(f->size + 1);
    const Bloginfer__V1__ImportModelRequest *req;
    struct status st;

    while (!(st = next_message(call, &req)).code && req) {
        if (req->body_case != BLOGINFER__V1__IMPORT_MODEL_REQUEST__BODY_DATA || !req->data.len)
            st = status_errorf(ST_INVALID, "after the header come bytes");
        else if (req->data.len > f->size - bytes.size || !buf_add(&bytes, req->data.data, req->data.len))
            st = status_errorf(ST_INVALID, "more came than the %zu bytes that were announced", f->size);
        if (st.code)
            break;
    }
    if (!st.code && bytes.size != f->size)
        st = status_errorf(ST_INVALID, "%zu bytes came of the %zu that were announced", bytes.size, f->size);
    if (st.code) {
        buf_fini(&bytes);
        return st;
    }
    f->data = buf_take(&bytes);
    return st;
}

/* The bytes are those that were sent, and a classifier of a task that is known here, with its labels. */
static struct status file_check(struct file *f, char *task)
{
    char announced[sizeof f->sha256];
    struct model *m = NULL;
    struct classifier *c = NULL;

    memcpy(announced, f->sha256, sizeof announced);
    file_digest(f);
    if (strcmp(announced, f->sha256) != 0)
        return status_errorf(ST_INVALID, "the bytes that came have another SHA-256 than was announced");
    struct status st = model_decode(&m, f->data, f->size);
    if (!st.code)
        st = classifier_from_model(&c, m);
    if (!st.code)
        st = classifier_check_labels(c);
    if (!st.code)
        memcpy(task, c->task, sizeof c->task);
    classifier_free(c);
    model_free(m);
    return st.code ? status_errorf(ST_INVALID, "not a model for here: %.120s", st.msg) : st;
}

struct status model_files_import(struct rpc_call *call, const void *unused)
{
    struct registry *r = rpc_service(call);
    Bloginfer__V1__ImportModelResponse rep = BLOGINFER__V1__IMPORT_MODEL_RESPONSE__INIT;
    char task[STORE_TASK_MAX + 1] = "";
    uint64_t version = 0;
    struct file f = {0};
    struct status st = header_receive(call, &f);

    (void)unused;
    if (!st.code)
        st = data_receive(call, &f);
    if (!st.code)
        st = file_check(&f, task);
    if (!st.code)
        st = registry_import(r, task, f.data, f.size, &version);
    if (!st.code)
        st = registry_version(r, rpc_arena(call), task, version, &rep.model);
    free(f.data);
    st = registry_answerable(st, task);
    return st.code ? st : rpc_send(call, &rep);
}
