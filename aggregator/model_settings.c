/* model_settings.c - parameters and served versions of many tasks at once, for editors who have seen a whole page of them.
 * The etag is a digest of the content: whoever changed it, by whatever call or by hand, it is another one, and nothing has
 * to be kept for it. */
#include "model_settings.h"

#include "bloginfer/v1/registry.pb-c.h"
#include "classifier/classifier.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ETAGS  8
#define ETAG_CHARS 32

/* What is set for one task. */
struct setting {
    const char *task;
    uint64_t version, candidate; /* 0: none */
    struct model_parameters parameters;
    char damaged[STATUS_MSG_SIZE]; /* "": not */
    bool named;                    /* a change is about it */
};

struct settings {
    struct setting *all; /* in the arena, by name */
    size_t n;
    char etag[ETAG_CHARS + 1];
};

/* ---- reading ---- */

static bool has_name(char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct setting *)a)->task, ((const struct setting *)b)->task);
}

static bool add_name(struct settings *s, struct arena *a, const char *task)
{
    s->all[s->n].task = arena_strdup(a, task);
    return s->all[s->n++].task != NULL;
}

static struct status all_names(struct registry *r, struct arena *a, struct settings *s)
{
    char **stored = NULL;
    size_t n = 0, known = 0;
    struct status st = store_tasks(registry_dir(r), &stored, &n);
    bool room = true;

    while (classifier_task(known))
        known++;
    s->all = arena_zalloc(a, n + known, sizeof *s->all);
    for (size_t i = 0; s->all && i < n; i++)
        room = room && add_name(s, a, stored[i]);
    for (size_t i = 0; s->all && i < known; i++)
        if (!has_name(stored, n, classifier_task(i)))
            room = room && add_name(s, a, classifier_task(i));
    free(stored);
    if (!st.code && (!s->all || !room))
        return status_errorf(ST_EXHAUSTED, "too many tasks");
    if (!st.code)
        qsort(s->all, s->n, sizeof *s->all, by_name);
    return st;
}

static struct status one_name(struct registry *r, struct arena *a, const char *task, struct settings *s)
{
    struct status st = registry_task_check(r, task);

    s->all = arena_zalloc(a, 1, sizeof *s->all);
    if (!st.code && (!s->all || !add_name(s, a, task)))
        st = status_errorf(ST_EXHAUSTED, "no room for the answer");
    return st;
}

static struct status setting_read(struct registry *r, struct setting *s)
{
    struct status st = store_get_parameters(registry_dir(r), s->task, &s->parameters);

    if (st.code == ST_DATA_LOSS) {
        s->parameters = model_parameters_default();
        snprintf(s->damaged, sizeof s->damaged, "%s", st.msg);
        st = status_ok();
    }
    if (!st.code)
        st = store_get_pointer(registry_dir(r), s->task, STORE_PRODUCTION, &s->version);
    return st.code ? st : store_get_pointer(registry_dir(r), s->task, STORE_CANDIDATE, &s->candidate);
}

static void make_etag(struct settings *s)
{
    char hex[2 * SHA256_SIZE + 1];
    uint8_t digest[SHA256_SIZE];
    struct buf text = BUF_INIT((size_t)4 << 20);

    for (size_t i = 0; i < s->n; i++) {
        char *parameters = model_parameters_format(&s->all[i].parameters);

        buf_printf(&text, "%s %" PRIu64 " %d %s", s->all[i].task, s->all[i].version, s->all[i].damaged[0] != '\0',
                   parameters);
        free(parameters);
    }
    sha256(text.data ? text.data : "", text.size, digest);
    snprintf(s->etag, sizeof s->etag, "%.*s", ETAG_CHARS, hex_encode(digest, sizeof digest, hex));
    buf_fini(&text);
}

static struct status settings_read_locked(struct registry *r, struct arena *a, const char *task, struct settings *s)
{
    struct status st;

    *s = (struct settings){NULL, 0, ""};
    st = task[0] ? one_name(r, a, task, s) : all_names(r, a, s);
    for (size_t i = 0; i < s->n && !st.code; i++)
        st = setting_read(r, &s->all[i]);
    if (!st.code)
        make_etag(s);
    return st;
}

/* ---- answers ---- */

static Bloginfer__V1__TaskParameters *to_message(struct arena *a, const struct setting *s)
{
    Bloginfer__V1__TaskParameters *out = arena_alloc(a, sizeof *out);

    if (!out)
        return NULL;
    bloginfer__v1__task_parameters__init(out);
    out->task = (char *)s->task;
    out->parameters = registry_parameters(a, &s->parameters);
    out->version = s->version;
    out->candidate = s->candidate;
    out->damaged = arena_strdup(a, s->damaged);
    return out->parameters && out->damaged ? out : NULL;
}

static struct status answer(struct arena *a, const struct settings *s, Bloginfer__V1__TaskParameters ***tasks,
                            size_t *n, char **etag)
{
    *tasks = arena_zalloc(a, s->n, sizeof **tasks);
    *etag = arena_strdup(a, s->etag);
    for (*n = 0; *tasks && *etag && *n < s->n; ++*n)
        if (!((*tasks)[*n] = to_message(a, &s->all[*n])))
            break;
    return *tasks && *etag && *n == s->n ? status_ok() : status_errorf(ST_EXHAUSTED, "no room for the answer");
}

/* ModelRegistryService/ListModelParameters. */
struct status model_settings_list(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__ListModelParametersRequest *req = in;
    Bloginfer__V1__ListModelParametersResponse *rep = out;
    struct settings s;
    struct status st;

    registry_lock(r);
    st = settings_read_locked(r, rpc_arena(call), req->task, &s);
    registry_unlock(r);
    if (!st.code)
        st = answer(rpc_arena(call), &s, &rep->tasks, &rep->n_tasks, &rep->etag);
    return registry_answerable(st, req->task);
}

/* ---- changing ---- */

static struct setting *find(const struct settings *s, const char *task)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->all[i].task, task))
            return &s->all[i];
    return NULL;
}

static struct status apply_version(struct registry *r, struct setting *s, uint64_t version)
{
    if (version == s->version)
        return status_ok();
    if (!version)
        return status_errorf(ST_INVALID, "version 0: must be at least 1");
    s->version = version;
    return store_verify(registry_dir(r), s->task, version);
}

static struct status apply_field(struct registry *r, struct setting *s, const Bloginfer__V1__TaskChange *c,
                                 const char *name)
{
    const Bloginfer__V1__ModelParameters *m = c->parameters;

    if (!strcmp(name, "version"))
        return apply_version(r, s, c->version);
    if (!m)
        return status_errorf(ST_INVALID, "%.40s: there are no parameters to take it from", name);
    const struct model_parameters from = {m->threshold, m->max_batch, m->max_queue_delay_us, m->canary_percent,
                                          m->shadow_percent};
    return model_parameters_copy(&s->parameters, &from, name);
}

/* The settings as they are to be; nothing is written. */
static struct status apply_all(struct registry *r, struct settings *s,
                               const Bloginfer__V1__ChangeModelParametersRequest *req)
{
    struct status st = status_ok();

    for (size_t i = 0; i < req->n_changes && !st.code; i++) {
        const Bloginfer__V1__TaskChange *c = req->changes[i];
        struct setting *one = find(s, c->task);

        if (!one)
            return status_errorf(ST_NOT_FOUND, "task %.40s is not known here", c->task);
        if (one->named)
            return status_errorf(ST_INVALID, "task %.40s is named twice", c->task);
        one->named = true;
        for (size_t k = 0; k < c->n_fields && !st.code; k++)
            st = status_prefix(apply_field(r, one, c, c->fields[k]), "%s", one->task);
    }
    return st;
}

static struct status setting_write(struct registry *r, const struct setting *to, const struct setting *from)
{
    struct status st = status_ok();

    if (from->damaged[0] || !model_parameters_equal(&to->parameters, &from->parameters))
        st = store_set_parameters(registry_dir(r), to->task, &to->parameters);
    if (!st.code && to->version != from->version)
        st = store_set_pointer(registry_dir(r), to->task, STORE_PRODUCTION, to->version);
    return st;
}

/* When the disk refuses one of them, those before are put back. */
static struct status write_all(struct registry *r, const struct settings *to, const struct settings *from)
{
    struct status st = status_ok();
    size_t done = 0;

    for (; done < to->n && !st.code; done++)
        if (to->all[done].named)
            st = setting_write(r, &to->all[done], &from->all[done]);
    for (size_t i = 0; st.code && i < done; i++)
        if (to->all[i].named && setting_write(r, &from->all[i], &to->all[i]).code)
            log_error("parameters_not_put_back", log_s("task", to->all[i].task));
    return st;
}

static struct status change_locked(struct registry *r, struct arena *a,
                                   const Bloginfer__V1__ChangeModelParametersRequest *req, struct settings *now)
{
    struct settings was;
    struct status st = settings_read_locked(r, a, req->task, &was);

    if (!st.code && req->n_if_match && !has_name(req->if_match, req->n_if_match, was.etag))
        st = status_errorf(ST_PRECONDITION, "the parameters have changed since they were read: read them again");
    if (!st.code)
        st = settings_read_locked(r, a, req->task, now);
    if (!st.code)
        st = apply_all(r, now, req);
    if (!st.code)
        st = write_all(r, now, &was);
    return st.code ? st : settings_read_locked(r, a, req->task, now);
}

static void log_change(struct rpc_call *call, const Bloginfer__V1__TaskChange *c, const struct setting *s)
{
    const char *who = rpc_identity(call);

    log_info("parameters_set", log_s("task", s->task), log_i("version", (int64_t)s->version),
             log_f("threshold", s->parameters.threshold), log_i("max_batch", s->parameters.max_batch),
             log_i("max_queue_delay_us", s->parameters.max_queue_delay_us),
             log_f("canary_percent", s->parameters.canary_percent),
             log_f("shadow_percent", s->parameters.shadow_percent), log_i("fields", (int64_t)c->n_fields),
             log_s("by", who ? who : rpc_peer(call)));
}

/* ModelRegistryService/ChangeModelParameters. */
struct status model_settings_change(struct rpc_call *call, const void *in, void *out)
{
    struct registry *r = rpc_service(call);
    const Bloginfer__V1__ChangeModelParametersRequest *req = in;
    Bloginfer__V1__ChangeModelParametersResponse *rep = out;
    struct settings now;
    struct status st;

    if (!req->n_changes)
        return status_errorf(ST_INVALID, "changes: name at least one task");
    if (req->n_if_match > MAX_ETAGS)
        return status_errorf(ST_INVALID, "if_match: more than %d etags", MAX_ETAGS);
    registry_lock(r);
    st = change_locked(r, rpc_arena(call), req, &now);
    registry_unlock(r);
    for (size_t i = 0; i < req->n_changes && !st.code; i++)
        log_change(call, req->changes[i], find(&now, req->changes[i]->task));
    if (!st.code)
        st = answer(rpc_arena(call), &now, &rep->tasks, &rep->n_tasks, &rep->etag);
    return registry_answerable(st, req->task);
}
