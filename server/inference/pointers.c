/* pointers.c - what the store says: which versions the pointers stand on, and the parameters. What moved is loaded beside
 * what serves; what does not load is refused, and looked at again after a while. */
#include "served_private.h"

#include <stdlib.h>

#define RETRY_MS 30000 /* until a version that was refused is looked at again: it may have been a fault of reading */

/* Points an alias at a model that was loaded, or at one that is in service already, or (version 0, NULL) at nothing.
 * False: no such version is in service. */
static bool alias_move(struct served_task *t, enum store_pointer which, uint64_t version, struct served_model *loaded)
{
    struct served *s = t->served;
    struct served_model *twin = NULL, *m;

    pthread_mutex_lock(&s->mu);
    m = loaded ? served_adopt_locked(t, loaded, &twin) : version ? served_find_locked(t, version) : NULL;
    struct served_model *old = t->alias[which];
    bool found = m || (!version && !loaded), is_first = m && !old && which == STORE_PRODUCTION;
    if (found) {
        t->alias[which] = m;
        routing_reset_locked(t, which);
    }
    struct served_model *left = found ? served_leave_locked(old) : NULL;
    pthread_mutex_unlock(&s->mu);
    if (found)
        metric_set(which == STORE_PRODUCTION ? s->versions : s->candidates, m ? (double)m->version : 0, t->name);
    if (twin)
        loader_discard(s->loader, twin);
    served_release(left);
    if (is_first && s->first)
        s->first(s->ctx);
    return found;
}

static void refuse(struct served_task *t, enum store_pointer which, uint64_t version, const char *why)
{
    struct watched *w = &t->watched[which];

    if (w->refused != version)
        log_error("model_refused", log_s("task", t->name), log_s("pointer", served_alias_names[which]),
                  log_i("version", (int64_t)version), log_s("error", why));
    metric_add(t->served->loads, 1, t->name, "refused");
    w->refused = version;
    w->retry = clock_after_ms(RETRY_MS);
}

/* The pointer stands on another version than the one in service. */
static void follow(struct served_task *t, enum store_pointer which, uint64_t version)
{
    struct watched *w = &t->watched[which];
    const struct loader_source source = {.task = t->name, .version = version};
    struct served_model *m = NULL;

    if (version == w->refused && clock_now() < w->retry)
        return;
    if (!alias_move(t, which, version, NULL)) {
        struct status st = served_load_now(t->served, &source, &m);
        if (st.code) {
            refuse(t, which, version, st.msg);
            if (which == STORE_CANDIDATE) /* an older candidate is not what is to be tried */
                alias_move(t, which, 0, NULL);
            return;
        }
        alias_move(t, which, version, m);
    }
    w->refused = 0;
    log_info("model_in_service", log_s("task", t->name), log_s("as", served_alias_names[which]),
             log_i("version", (int64_t)version));
}

/* Production stays where it is when its pointer is cleared; a candidate goes. */
static void pointer_poll(struct served_task *t, enum store_pointer which)
{
    const struct served_model *now = t->alias[which]; /* only this thread changes it */
    uint64_t version = 0;
    struct status st = store_get_pointer(t->served->dir, t->name, which, &version);

    if (st.code && !t->watched[which].unreadable)
        log_error("pointer_unreadable", log_s("task", t->name), log_s("error", st.msg));
    t->watched[which].unreadable = st.code != ST_OK;
    if (st.code || (now && now->version == version))
        return;
    if (version)
        follow(t, which, version);
    else if (which == STORE_CANDIDATE && now)
        alias_move(t, which, 0, NULL);
}

static void parameters_poll(struct served_task *t)
{
    struct served *s = t->served;
    struct model_parameters p;
    struct status st = store_get_parameters(s->dir, t->name, &p);

    if (st.code && !t->damaged)
        log_error("parameters_refused", log_s("task", t->name), log_s("error", st.msg));
    t->damaged = st.code != ST_OK;
    if (st.code || model_parameters_equal(&p, &t->parameters)) /* only this thread changes them */
        return;
    pthread_mutex_lock(&s->mu);
    t->parameters = p;
    routing_reset_locked(t, STORE_CANDIDATE);
    pthread_mutex_unlock(&s->mu);
    log_info("parameters", log_s("task", t->name), log_f("threshold", p.threshold), log_i("max_batch", p.max_batch),
             log_i("max_queue_delay_us", p.max_queue_delay_us), log_f("canary_percent", p.canary_percent),
             log_f("shadow_percent", p.shadow_percent));
}

void pointers_poll(struct served *s)
{
    char **tasks = NULL;
    size_t n = 0;
    struct status st = store_tasks(s->dir, &tasks, &n);

    if (st.code && !s->unreadable)
        log_error("store_unreadable", log_s("error", st.msg));
    s->unreadable = st.code != ST_OK;
    for (size_t i = 0; i < n; i++) {
        struct served_task *t = served_task_make(s, tasks[i]);
        if (!t)
            continue;
        parameters_poll(t);
        pointer_poll(t, STORE_PRODUCTION);
        pointer_poll(t, STORE_CANDIDATE);
    }
    free(tasks);
}

void pointers_load_builtin(struct served *s)
{
    for (size_t i = 0; i < s->n_builtin; i++) {
        const struct served_builtin *b = &s->builtin[i];
        const struct loader_source source = {b->task, 0, b->data, b->size};
        struct served_task *t = served_task_make(s, b->task);
        struct served_model *m = NULL;

        if (!t || t->alias[STORE_PRODUCTION])
            continue;
        struct status st = served_load_now(s, &source, &m);
        if (st.code)
            log_error("builtin_refused", log_s("task", b->task), log_s("error", st.msg));
        else
            alias_move(t, STORE_PRODUCTION, 0, m);
    }
}
