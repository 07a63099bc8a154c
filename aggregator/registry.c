/* registry.c - see registry.h. A mutex makes each decision one step: the store locks single writes, but "look, judge,
 * move the pointer" must not be crossed by an operator's promotion. */
#include "registry.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "model_files.h"
#include "model_parameters.h"
#include "model_settings.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_ARENA  (4u << 20)
#define MAX_EXPORTS 8
#define MAX_IMPORTS 2                         /* each holds a file */
#define MAX_PIECE   ((1u << 20) + (1u << 10)) /* a message of an import */

struct registry {
    char *dir;
    uint64_t keep;
    pthread_mutex_t mu; /* guards the store against our other threads */
};

struct status registry_open(struct registry **out, const char *dir, uint64_t keep)
{
    struct status st = fs_mkdirs(dir);

    if (st.code)
        return st;
    struct registry *r = xcalloc(1, sizeof *r);
    r->dir = xstrdup(dir);
    r->keep = keep;
    pthread_mutex_init(&r->mu, NULL);
    *out = r;
    return st;
}

void registry_close(struct registry *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->mu);
    free(r->dir);
    free(r);
}

const char *registry_dir(const struct registry *r)
{
    return r->dir;
}

/* ---- publish ---- */

/* The version that this run has published before; 0: none. */
static struct status run_find_locked(struct registry *r, const char *task, const char *run, uint64_t *version)
{
    uint64_t *versions = NULL, size;
    uint8_t digest[SHA256_SIZE];
    size_t n = 0;
    struct status st = store_list(r->dir, task, &versions, &n);

    *version = 0;
    for (size_t i = n; i-- > 0 && !*version;) {
        struct model *header = NULL;
        if (store_info(r->dir, task, versions[i], &header, &size, digest).code)
            continue; /* a damaged version is nobody's */
        const char *its = model_get(header, "run");
        if (its && strcmp(its, run) == 0)
            *version = versions[i];
        model_free(header);
    }
    free(versions);
    return st;
}

/* Whether the candidate goes into production, where `production` stands now; says why. */
static bool judge(const struct registry_candidate *c, uint64_t production, struct registry_verdict *v)
{
    double least = c->production_accuracy - REGISTRY_MARGIN;
    bool measured = isfinite(c->accuracy) && isfinite(c->production_accuracy);

    if (production == v->version)
        snprintf(v->reason, sizeof v->reason, "it is in production");
    else if (production == 0)
        snprintf(v->reason, sizeof v->reason, "nothing was in production");
    else if (!measured)
        snprintf(v->reason, sizeof v->reason, "not compared with version %" PRIu64 " on the same rows", production);
    else if (production != c->production)
        snprintf(v->reason, sizeof v->reason, "compared with version %" PRIu64 ", but %" PRIu64 " is in production now",
                 c->production, production);
    else
        snprintf(v->reason, sizeof v->reason, "accuracy %.4f, version %" PRIu64 " has %.4f on the same rows",
                 c->accuracy, production, c->production_accuracy);
    return production == v->version || production == 0 ||
           (measured && production == c->production && c->accuracy >= least - 1e-9);
}

static struct status decide_locked(struct registry *r, const struct registry_candidate *c, struct registry_verdict *v)
{
    uint64_t production = 0;
    struct status st = store_set_pointer(r->dir, c->task, STORE_CANDIDATE, v->version);

    if (!st.code)
        st = store_get_pointer(r->dir, c->task, STORE_PRODUCTION, &production);
    if (st.code)
        return st;
    v->promoted = judge(c, production, v);
    if (v->promoted && production != v->version)
        st = store_set_pointer(r->dir, c->task, STORE_PRODUCTION, v->version);
    return st;
}

void registry_lock(struct registry *r)
{
    pthread_mutex_lock(&r->mu);
}

void registry_unlock(struct registry *r)
{
    pthread_mutex_unlock(&r->mu);
}

/* Removes the oldest versions over `keep` that nothing needs. removed, n_removed (both NULL: not told): what is gone, room
 * for all there are. */
static struct status prune_locked(struct registry *r, const char *task, uint64_t keep, uint64_t *removed,
                                  size_t *n_removed)
{
    uint64_t *versions = NULL, production = 0, candidate = 0, previous = 0;
    size_t n = 0;
    struct status st = store_list(r->dir, task, &versions, &n);

    if (!st.code)
        st = store_get_pointer(r->dir, task, STORE_PRODUCTION, &production);
    if (!st.code)
        st = store_get_pointer(r->dir, task, STORE_CANDIDATE, &candidate);
    if (!st.code)
        st = store_previous(r->dir, task, &previous);
    size_t left = n;
    for (size_t i = 0; i < n && left > keep && !st.code; i++) {
        uint64_t v = versions[i];
        if (v == production || v == candidate || v == previous)
            continue;
        st = store_remove(r->dir, task, v);
        left--;
        if (!st.code && removed)
            removed[(*n_removed)++] = v;
    }
    free(versions);
    return st;
}

struct status registry_publish(struct registry *r, const struct registry_candidate *c, struct registry_verdict *v)
{
    struct status pruned = status_ok();

    pthread_mutex_lock(&r->mu);
    struct status st = run_find_locked(r, c->task, c->run, &v->version);
    if (!st.code && !v->version)
        st = store_publish(r->dir, c->task, c->files, c->n_files, &v->version);
    if (!st.code)
        st = decide_locked(r, c, v);
    if (!st.code && r->keep)
        pruned = prune_locked(r, c->task, r->keep, NULL, NULL);
    pthread_mutex_unlock(&r->mu);
    if (pruned.code)
        log_warn("models_not_pruned", log_s("task", c->task), log_s("error", pruned.msg));
    if (!st.code)
        log_info("model_published", log_s("task", c->task), log_i("version", (int64_t)v->version), log_s("run", c->run),
                 log_s("promoted", v->promoted ? "yes" : "no"), log_s("reason", v->reason));
    return st;
}

struct status registry_import(struct registry *r, const char *task, const char *data, size_t size, uint64_t *version)
{
    const struct store_file file = {STORE_MODEL_FILE, data, size};
    struct status pruned = status_ok();

    pthread_mutex_lock(&r->mu);
    struct status st = store_publish(r->dir, task, &file, 1, version);
    if (!st.code)
        st = store_set_pointer(r->dir, task, STORE_CANDIDATE, *version);
    if (!st.code && r->keep)
        pruned = prune_locked(r, task, r->keep, NULL, NULL);
    pthread_mutex_unlock(&r->mu);
    if (pruned.code)
        log_warn("models_not_pruned", log_s("task", task), log_s("error", pruned.msg));
    if (!st.code)
        log_info("model_imported", log_s("task", task), log_i("version", (int64_t)*version));
    return st;
}

/* ---- answers ---- */

struct status registry_answerable(struct status st, const char *task)
{
    switch (st.code) {
    case ST_OK:
    case ST_INVALID:
    case ST_NOT_FOUND:
    case ST_PRECONDITION:
    case ST_DATA_LOSS:
    case ST_CANCELLED:
    case ST_DEADLINE:
        return st;
    default:
        log_error("store_failed", log_s("task", task), log_s("error", st.msg));
        return status_errorf(st.code, "the model store failed, see the aggregator's log");
    }
}

static struct status too_large(void)
{
    return status_errorf(ST_EXHAUSTED, "the answer is too large: ask for one task or one version");
}

/* Copies metadata into the arena; false when it is full. */
static bool metadata_fill(struct arena *a, Bloginfer__V1__ModelVersion *out, const struct model_meta *meta, size_t n)
{
    Bloginfer__V1__ModelMetadata *rows = arena_zalloc(a, n, sizeof *rows);

    out->metadata = arena_zalloc(a, n, sizeof(void *));
    if (!rows || !out->metadata)
        return false;
    for (size_t i = 0; i < n; i++) {
        bloginfer__v1__model_metadata__init(&rows[i]);
        rows[i].key = arena_strdup(a, meta[i].key);
        rows[i].value = arena_strdup(a, meta[i].value);
        out->metadata[i] = &rows[i];
        if (!rows[i].key || !rows[i].value)
            return false;
    }
    out->n_metadata = n;
    return true;
}

struct pointers {
    uint64_t production, candidate;
};

static struct status pointers_get(struct registry *r, const char *task, struct pointers *p)
{
    struct status st = store_get_pointer(r->dir, task, STORE_PRODUCTION, &p->production);

    return st.code ? st : store_get_pointer(r->dir, task, STORE_CANDIDATE, &p->candidate);
}

/* Fills out for a version that exists; a damaged one says so in its metadata instead of what it was. */
static struct status version_fill(struct registry *r, struct arena *a, const char *task, uint64_t version,
                                  const struct pointers *p, Bloginfer__V1__ModelVersion *out)
{
    struct model *header = NULL;
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1] = "";
    bool ok;
    struct status st = store_info(r->dir, task, version, &header, &out->size_bytes, digest);

    if (st.code && st.code != ST_DATA_LOSS)
        return st;
    out->task = arena_strdup(a, task);
    out->version = version;
    out->production = version == p->production;
    out->candidate = version == p->candidate;
    if (st.code) {
        const struct model_meta damage = {(char *)"damaged", st.msg};
        ok = metadata_fill(a, out, &damage, 1);
    } else {
        out->sha256 = arena_strdup(a, hex_encode(digest, sizeof digest, hex));
        ok = out->sha256 && metadata_fill(a, out, header->meta, header->n_meta);
    }
    model_free(header);
    return ok && out->task ? status_ok() : too_large();
}

struct status registry_version(struct registry *r, struct arena *a, const char *task, uint64_t version,
                               Bloginfer__V1__ModelVersion **out)
{
    struct pointers p = {0, 0};
    struct status st = pointers_get(r, task, &p);

    if (st.code)
        return st;
    *out = arena_alloc(a, sizeof **out);
    if (!*out)
        return too_large();
    bloginfer__v1__model_version__init(*out);
    return version_fill(r, a, task, version, &p, *out);
}

/* ---- the service ---- */

/* Appends versions of one task to the answer. */
static struct status versions_append(struct registry *r, struct arena *a, const char *task, const uint64_t *versions,
                                     size_t n, Bloginfer__V1__ListModelsResponse *rep)
{
    struct pointers p = {0, 0};
    struct status st = pointers_get(r, task, &p);
    Bloginfer__V1__ModelVersion *rows = arena_zalloc(a, n, sizeof *rows);
    Bloginfer__V1__ModelVersion **models = arena_zalloc(a, rep->n_models + n, sizeof(void *));

    if (!rows || !models)
        return too_large();
    for (size_t i = 0; i < rep->n_models; i++)
        models[i] = rep->models[i];
    rep->models = models;
    for (size_t i = 0; i < n && !st.code; i++) {
        bloginfer__v1__model_version__init(&rows[i]);
        st = version_fill(r, a, task, versions[i], &p, &rows[i]);
        if (st.code == ST_NOT_FOUND)
            st = status_ok(); /* pruned since it was listed */
        else
            models[rep->n_models++] = &rows[i];
    }
    return st;
}

static struct status task_list(struct registry *r, struct arena *a, const char *task,
                               Bloginfer__V1__ListModelsResponse *rep)
{
    uint64_t *versions = NULL;
    size_t n = 0;
    struct status st = store_list(r->dir, task, &versions, &n);

    if (!st.code)
        st = versions_append(r, a, task, versions, n, rep);
    free(versions);
    return st;
}

/* ModelRegistryService/ListModels. */
static struct status list_models(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__ListModelsRequest *req = in;
    char **tasks = NULL;
    size_t n = 0;

    if (req->task[0])
        return registry_answerable(task_list(r, rpc_arena(call), req->task, out), req->task);
    struct status st = store_tasks(r->dir, &tasks, &n);
    for (size_t i = 0; i < n && !st.code; i++)
        st = task_list(r, rpc_arena(call), tasks[i], out);
    free(tasks);
    return registry_answerable(st, "");
}

/* ModelRegistryService/GetModel. */
static struct status get_model(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__GetModelRequest *req = in;
    Bloginfer__V1__GetModelResponse *rep = out;
    uint64_t version = req->version;
    struct status st = store_task_check(req->task);

    if (!st.code && !version) {
        st = store_get_pointer(r->dir, req->task, STORE_PRODUCTION, &version);
        if (!st.code && !version)
            st = status_errorf(ST_NOT_FOUND, "%s has no version in production", req->task);
    }
    if (!st.code)
        st = registry_version(r, rpc_arena(call), req->task, version, &rep->model);
    return registry_answerable(st, req->task);
}

static void log_move(struct rpc_call *call, const char *event, const char *task, uint64_t version)
{
    const char *who = rpc_identity(call);

    log_info(event, log_s("task", task), log_i("version", (int64_t)version), log_s("by", who ? who : rpc_peer(call)));
}

/* ModelRegistryService/PromoteModel. */
static struct status promote_model(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__PromoteModelRequest *req = in;
    Bloginfer__V1__PromoteModelResponse *rep = out;

    if (req->version == 0) /* which would clear the pointer */
        return status_errorf(ST_INVALID, "version 0: must be at least 1");
    pthread_mutex_lock(&r->mu);
    struct status st = store_set_pointer(r->dir, req->task, STORE_PRODUCTION, req->version);
    pthread_mutex_unlock(&r->mu);
    if (!st.code) {
        log_move(call, "model_promoted", req->task, req->version);
        st = registry_version(r, rpc_arena(call), req->task, req->version, &rep->model);
    }
    return registry_answerable(st, req->task);
}

static struct status rollback_locked(struct registry *r, const char *task, uint64_t *version)
{
    struct status st = store_previous(r->dir, task, version);

    if (!st.code && !*version)
        st = status_errorf(ST_PRECONDITION, "%s has no earlier version that was in production", task);
    return st.code ? st : store_set_pointer(r->dir, task, STORE_PRODUCTION, *version);
}

/* ModelRegistryService/RollbackModel. */
static struct status rollback_model(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__RollbackModelRequest *req = in;
    Bloginfer__V1__RollbackModelResponse *rep = out;
    uint64_t version = 0;

    pthread_mutex_lock(&r->mu);
    struct status st = rollback_locked(r, req->task, &version);
    pthread_mutex_unlock(&r->mu);
    if (!st.code) {
        log_move(call, "model_rolled_back", req->task, version);
        st = registry_version(r, rpc_arena(call), req->task, version, &rep->model);
    }
    return registry_answerable(st, req->task);
}

static struct status prune(struct registry *r, struct arena *a, const char *task, uint64_t keep,
                           Bloginfer__V1__PruneModelsResponse *rep)
{
    uint64_t *versions = NULL;
    size_t n = 0;

    pthread_mutex_lock(&r->mu);
    struct status st = store_list(r->dir, task, &versions, &n);
    rep->removed = arena_zalloc(a, n, sizeof *rep->removed);
    if (!st.code && !rep->removed)
        st = too_large();
    if (!st.code)
        st = prune_locked(r, task, keep, rep->removed, &rep->n_removed);
    pthread_mutex_unlock(&r->mu);
    free(versions);
    return st;
}

/* ModelRegistryService/PruneModels. */
static struct status prune_models(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__PruneModelsRequest *req = in;
    Bloginfer__V1__PruneModelsResponse *rep = out;
    struct status st = registry_task_check(r, req->task);

    if (!st.code && (req->keep < 1 || req->keep > STORE_MAX_VERSIONS))
        st = status_errorf(ST_INVALID, "keep %" PRIu64 ": must be 1 to %d", req->keep, STORE_MAX_VERSIONS);
    if (!st.code)
        st = prune(r, rpc_arena(call), req->task, req->keep, rep);
    for (size_t i = 0; i < rep->n_removed; i++)
        log_move(call, "model_removed", req->task, rep->removed[i]);
    return registry_answerable(st, req->task);
}

static struct status set_parameters_locked(struct registry *r, const char *task, const struct model_parameters *from,
                                           char *const *names, size_t n, struct model_parameters *out)
{
    struct status st = store_get_parameters(r->dir, task, out);

    if (st.code == ST_DATA_LOSS) { /* what is damaged is replaced */
        *out = model_parameters_default();
        st = status_ok();
    }
    for (size_t i = 0; i < n && !st.code; i++)
        st = model_parameters_copy(out, from, names[i]);
    return st.code ? st : store_set_parameters(r->dir, task, out);
}

struct status registry_set_parameters(struct registry *r, const char *task, const struct model_parameters *from,
                                      char *const *names, size_t n, struct model_parameters *out)
{
    pthread_mutex_lock(&r->mu);
    struct status st = set_parameters_locked(r, task, from, names, n, out);
    pthread_mutex_unlock(&r->mu);
    return st;
}

const struct rpc_method registry_methods[] = {
    RPC_UNARY("ListModels", list_models, .max_request = 4096, .arena_limit = LIST_ARENA),
    RPC_UNARY("GetModel", get_model, .max_request = 4096, .arena_limit = LIST_ARENA),
    RPC_UNARY("PromoteModel", promote_model, .max_request = 4096, .arena_limit = LIST_ARENA),
    RPC_UNARY("RollbackModel", rollback_model, .max_request = 4096, .arena_limit = LIST_ARENA),
    RPC_UNARY("GetModelParameters", model_parameters_get, .max_request = 4096),
    RPC_UNARY("SetModelParameters", model_parameters_change, .max_request = 4096),
    RPC_UNARY("ListModelParameters", model_settings_list, .max_request = 4096, .arena_limit = LIST_ARENA),
    RPC_UNARY("ChangeModelParameters", model_settings_change, .max_request = 256 << 10, .arena_limit = LIST_ARENA),
    RPC_UNARY("PruneModels", prune_models, .max_request = 4096, .arena_limit = LIST_ARENA),
    RPC_STREAM("ExportModel", model_files_export, .max_request = 4096, .max_streams = MAX_EXPORTS),
    RPC_STREAM("ImportModel", model_files_import, .max_request = MAX_PIECE, .max_streams = MAX_IMPORTS,
               .max_total = MODEL_FILES_IMPORT_MAX + MAX_PIECE, .arena_limit = LIST_ARENA),
};
const size_t registry_n_methods = COUNT_OF(registry_methods);
