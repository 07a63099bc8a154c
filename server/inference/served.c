/* served.c - see served.h. Each task has two pointers to models, under one mutex; a model stays in the list of all while
 * anybody holds it, and can be acquired while it is `visible`: while a pointer stands on it or a load asks for it. The
 * service's own reference lasts that long. A call holds the mutex for a look-up, the watcher for a few assignments;
 * whatever is slow is done by the loader. */
#include "served_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const served_alias_names[2] = {[STORE_PRODUCTION] = "production", [STORE_CANDIDATE] = "candidate"};

/* ---- models ---- */

static struct served_task *task_find_locked(struct served *s, const char *name)
{
    for (size_t i = 0; i < s->n_tasks; i++)
        if (strcmp(s->tasks[i].name, name) == 0)
            return &s->tasks[i];
    return NULL;
}

struct served_task *served_task_make(struct served *s, const char *name)
{
    pthread_mutex_lock(&s->mu);
    struct served_task *t = task_find_locked(s, name);
    if (!t && s->n_tasks < COUNT_OF(s->tasks)) {
        t = &s->tasks[s->n_tasks++];
        t->served = s;
        memcpy(t->name, name, strlen(name) + 1); /* the name of a task fits */
        t->parameters = model_parameters_default();
        routing_task_init(t);
    }
    pthread_mutex_unlock(&s->mu);
    return t;
}

struct served_model *served_find_locked(const struct served_task *t, uint64_t version)
{
    for (struct served_model *m = t->served->models; m; m = m->next)
        if (m->visible && m->task == t && m->version == version)
            return m;
    return NULL;
}

static struct served_model *model_hold_locked(struct served_model *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

struct served_model *served_adopt_locked(struct served_task *t, struct served_model *m, struct served_model **twin)
{
    struct served *s = t->served;
    struct served_model *there = served_find_locked(t, m->version);

    *twin = there ? m : NULL;
    if (there)
        return there;
    m->task = t;
    m->visible = true;
    m->serial = ++s->serial;
    m->next = s->models;
    s->models = m;
    return m;
}

struct served_model *served_leave_locked(struct served_model *m)
{
    if (!m || !m->visible || m->loads || m->task->alias[0] == m || m->task->alias[1] == m)
        return NULL;
    m->visible = false;
    return m;
}

static void model_forget_locked(struct served *s, struct served_model *m)
{
    struct served_model **at = &s->models;

    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
}

void served_hold(struct served_model *m)
{
    atomic_fetch_add(&m->refs, 1);
}

void served_release(struct served_model *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    struct served *s = m->task->served;
    pthread_mutex_lock(&s->mu);
    model_forget_locked(s, m);
    pthread_cond_broadcast(&s->gone);
    pthread_mutex_unlock(&s->mu);
    loader_discard(s->loader, m);
}

/* ---- who answers ---- */

const char *served_version_text(uint64_t version, char *text)
{
    if (version)
        snprintf(text, SERVED_TEXT_MAX, "%" PRIu64, version);
    else
        snprintf(text, SERVED_TEXT_MAX, "%s", SERVED_BUILTIN);
    return text;
}

/* One spelling a version: no sign, no leading zero. */
static bool version_parse(const char *text, uint64_t *version)
{
    char *end;

    errno = 0;
    *version = strtoull(text, &end, 10);
    return *text >= '1' && *text <= '9' && !*end && !errno;
}

/* The model of a version's name; NULL: there is none. ST_INVALID: it is no name. */
static struct status named_find_locked(const struct served_task *t, const char *name, struct served_model **out)
{
    uint64_t version = 0;

    for (size_t i = 0; i < COUNT_OF(served_alias_names); i++)
        if (strcmp(name, served_alias_names[i]) == 0) {
            *out = t->alias[i];
            return status_ok();
        }
    if (strcmp(name, SERVED_BUILTIN) != 0 && !version_parse(name, &version))
        return status_errorf(ST_INVALID, "version %.40s: must be a number from 1, production, candidate or %s", name,
                             SERVED_BUILTIN);
    *out = served_find_locked(t, version);
    return status_ok();
}

static struct status nothing_there(const char *task)
{
    return status_errorf(ST_PRECONDITION, "no model of task %s is in production yet: train one or promote a version",
                         task);
}

static struct status task_missing(const char *task)
{
    struct status st = store_task_check(task);

    if (!st.code && !classifier_task_labels(task))
        st = status_errorf(ST_NOT_FOUND, "task %s is not known here", task);
    return st.code ? st : nothing_there(task);
}

/* "... served are 7 (production), 8 (candidate), 3" */
static struct status version_missing_locked(const struct served_task *t, const char *name)
{
    struct buf list = BUF_INIT(STATUS_MSG_SIZE);
    char text[SERVED_TEXT_MAX];

    for (const struct served_model *m = t->served->models; m; m = m->next)
        if (m->visible && m->task == t)
            buf_printf(&list, "%s%s%s%s", list.size ? ", " : "", served_version_text(m->version, text),
                       m == t->alias[STORE_PRODUCTION] ? " (production)" : "",
                       m == t->alias[STORE_CANDIDATE] ? " (candidate)" : "");
    struct status st = list.size ? status_errorf(ST_NOT_FOUND, "%s has no version %.40s in service: served are %s",
                                                 t->name, name, list.data)
                                 : nothing_there(t->name);
    buf_fini(&list);
    return st;
}

static struct status acquire_locked(struct served *s, const struct served_query *q, struct served_model **out)
{
    const char *name = q->version && q->version[0] ? q->version : NULL;
    struct served_task *t = task_find_locked(s, q->task);
    struct status st = status_ok();

    if (!t)
        return task_missing(q->task);
    if (name)
        st = named_find_locked(t, name, out);
    else
        *out = routing_locked(t, q);
    if (!st.code && !*out)
        st = name ? version_missing_locked(t, name) : nothing_there(t->name);
    if (!st.code)
        model_hold_locked(*out);
    return st;
}

struct status served_acquire(struct served *s, const struct served_query *q, struct served_model **out)
{
    *out = NULL;
    pthread_mutex_lock(&s->mu);
    struct status st = acquire_locked(s, q, out);
    pthread_mutex_unlock(&s->mu);
    return st;
}

static int by_task_and_version(const void *a, const void *b)
{
    const struct served_model *const *x = a, *const *y = b;
    int order = strcmp((*x)->task->name, (*y)->task->name);

    return order ? order : ((*x)->version > (*y)->version) - ((*x)->version < (*y)->version);
}

size_t served_acquire_all(struct served *s, struct served_model **models)
{
    size_t n = 0;

    pthread_mutex_lock(&s->mu);
    for (struct served_model *m = s->models; m; m = m->next)
        if (m->visible)
            models[n++] = model_hold_locked(m);
    pthread_mutex_unlock(&s->mu);
    qsort(models, n, sizeof *models, by_task_and_version);
    return n;
}

struct served_state served_state(const struct served_model *m)
{
    const struct served_task *t = m->task;
    struct canary_report report = canary_judge(t->canary);

    pthread_mutex_lock(&t->served->mu);
    bool rolled_back = t->rolled_back && t->alias[STORE_CANDIDATE] == m;
    struct served_state state = {.parameters = t->parameters,
                                 .production = t->alias[STORE_PRODUCTION] == m,
                                 .candidate = t->alias[STORE_CANDIDATE] == m,
                                 .rolled_back = rolled_back,
                                 .canary = rolled_back ? t->verdict : report,
                                 .shadow = t->shadow,
                                 .loads = m->loads};
    pthread_mutex_unlock(&t->served->mu);
    return state;
}

struct model_parameters served_parameters(const struct served_model *m)
{
    pthread_mutex_lock(&m->task->served->mu);
    const struct model_parameters p = m->task->parameters;
    pthread_mutex_unlock(&m->task->served->mu);
    return p;
}

struct status served_ready(void *served)
{
    struct served *s = served;
    bool any = false;

    pthread_mutex_lock(&s->mu);
    for (size_t i = 0; i < s->n_tasks; i++)
        any |= s->tasks[i].alias[STORE_PRODUCTION] != NULL;
    pthread_mutex_unlock(&s->mu);
    return any ? status_ok() : status_errorf(ST_PRECONDITION, "no model is in production yet");
}

const char *served_dir(const struct served *s)
{
    return s->dir;
}

/* ---- versions by number ---- */

struct status served_load_now(struct served *s, const struct loader_source *source, struct served_model **out)
{
    int64_t start = clock_now();
    struct status st = loader_load(s->loader, source, out);

    if (st.code)
        return st;
    log_info("model_loaded", log_s("task", source->task), log_i("version", (int64_t)source->version),
             log_i("parameters", (int64_t)(*out)->classifier->n_params), log_f("seconds", clock_seconds(start)));
    metric_add(s->loads, 1, source->task, "ok");
    return st;
}

/* Counts a load of m, which is visible. */
static struct status count_load_locked(struct served *s, struct served_model *m)
{
    if (!m->loads && s->n_loaded == SERVED_MAX_LOADED)
        return status_errorf(ST_EXHAUSTED, "%d versions are loaded: unload one first", SERVED_MAX_LOADED);
    s->n_loaded += !m->loads;
    m->loads++;
    return status_ok();
}

/* *present: it was there, and is counted. Otherwise, when OK, the caller has the turn to load it. */
static struct status load_begin(struct served *s, const char *task, uint64_t version, bool *present)
{
    struct status st = status_ok();

    pthread_mutex_lock(&s->mu);
    struct served_task *t = task_find_locked(s, task);
    struct served_model *m = t ? served_find_locked(t, version) : NULL;
    *present = m != NULL;
    if (m)
        st = count_load_locked(s, m);
    else if (s->stop)
        st = status_errorf(ST_UNAVAILABLE, "the service stops");
    else if (s->n_loaded == SERVED_MAX_LOADED)
        st = status_errorf(ST_EXHAUSTED, "%d versions are loaded: unload one first", SERVED_MAX_LOADED);
    else if (s->loading)
        st = status_errorf(ST_UNAVAILABLE, "another version is being loaded: try again");
    else
        s->loading = true;
    pthread_mutex_unlock(&s->mu);
    return st;
}

/* Gives the turn back; m: what was loaded, NULL: nothing. */
static struct status load_end(struct served *s, const char *task, struct served_model *m)
{
    struct served_task *t = m ? served_task_make(s, task) : NULL;
    struct served_model *twin = NULL, *left = NULL;
    struct status st = status_ok();

    pthread_mutex_lock(&s->mu);
    if (t) {
        m = served_adopt_locked(t, m, &twin);
        st = count_load_locked(s, m);
        left = st.code ? served_leave_locked(m) : NULL;
    } else if (m) {
        st = status_errorf(ST_EXHAUSTED, "there are %d tasks", STORE_MAX_TASKS);
        twin = m;
    }
    s->loading = false;
    pthread_cond_broadcast(&s->gone);
    pthread_mutex_unlock(&s->mu);
    if (twin)
        loader_discard(s->loader, twin);
    served_release(left);
    return st;
}

struct status served_load(struct served *s, const char *task, uint64_t version)
{
    const struct loader_source source = {.task = task, .version = version};
    struct served_model *m = NULL;
    bool present = false;
    struct status st = store_task_check(task);

    if (!st.code && !version)
        st = status_errorf(ST_INVALID, "version 0: must be at least 1");
    if (!st.code)
        st = load_begin(s, task, version, &present);
    if (st.code || present)
        return st;
    st = served_load_now(s, &source, &m);
    struct status ended = load_end(s, task, m);
    return st.code ? st : ended;
}

static bool lives_locked(const struct served *s, uint64_t serial)
{
    for (const struct served_model *m = s->models; m; m = m->next)
        if (m->serial == serial)
            return true;
    return false;
}

/* Until nobody holds it. */
static struct status await_gone_locked(struct served *s, uint64_t serial, int64_t deadline)
{
    struct timespec until = clock_timespec(deadline);

    while (lives_locked(s, serial))
        if (pthread_cond_timedwait(&s->gone, &s->mu, &until) == ETIMEDOUT)
            return status_errorf(ST_DEADLINE, "it is unloaded, but calls that use it have not ended yet");
    return status_ok();
}

struct status served_unload(struct served *s, const char *task, uint64_t version, int64_t deadline)
{
    struct served_model *left = NULL;
    struct status st = status_ok();

    pthread_mutex_lock(&s->mu);
    struct served_task *t = task_find_locked(s, task);
    struct served_model *m = t ? served_find_locked(t, version) : NULL;
    uint64_t serial = m ? m->serial : 0;
    if (!m) {
        st = status_errorf(ST_NOT_FOUND, "%.40s has no version %" PRIu64 " in service", task, version);
    } else if (!m->loads) {
        st = status_errorf(ST_PRECONDITION, "%s version %" PRIu64 " serves as %s: move the pointer instead", t->name,
                           version,
                           served_alias_names[m == t->alias[STORE_PRODUCTION] ? STORE_PRODUCTION : STORE_CANDIDATE]);
    } else if (--m->loads == 0) {
        s->n_loaded--;
        left = served_leave_locked(m);
    }
    pthread_mutex_unlock(&s->mu);
    if (!left)
        return st;
    served_release(left);
    log_info("model_unloaded", log_s("task", task), log_i("version", (int64_t)version));
    pthread_mutex_lock(&s->mu);
    st = await_gone_locked(s, serial, deadline);
    pthread_mutex_unlock(&s->mu);
    return st;
}

/* ---- start and stop ---- */

static void *watch(void *arg)
{
    struct served *s = arg;

    pthread_mutex_lock(&s->mu);
    while (!s->stop) {
        struct timespec until = clock_timespec(clock_after_ms(s->poll_ms));
        if (pthread_cond_timedwait(&s->wake, &s->mu, &until) == 0)
            continue;
        pthread_mutex_unlock(&s->mu);
        pointers_poll(s);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

void served_start(struct served **out, const struct served_config *config)
{
    struct served *s = xcalloc(1, sizeof *s);

    s->dir = xstrdup(config->dir);
    s->poll_ms = config->poll_ms;
    s->first = config->first;
    s->ctx = config->ctx;
    s->builtin = config->builtin;
    s->n_builtin = config->n_builtin;
    s->versions =
        metric_gauge("bloginfer_model_version", "Version of the model in service; 0: the built-in one.", "task");
    s->candidates = metric_gauge("bloginfer_model_candidate_version", "Version of the candidate; 0: none.", "task");
    s->loads = metric_counter("bloginfer_model_loads_total", "Versions that were loaded, or refused.", "task,result");
    s->rolled_back = metric_gauge("bloginfer_canary_rolled_back",
                                  "1: the candidate was found worse than production and gets no calls.", "task");
    s->differences = metric_gauge("bloginfer_shadow_largest_difference",
                                  "Largest difference of a probability between candidate and production.", "task");
    pthread_mutex_init(&s->mu, NULL);
    cond_init_monotonic(&s->wake);
    cond_init_monotonic(&s->gone);
    loader_start(&s->loader, s->dir, config->engine);
    pointers_poll(s);
    pointers_load_builtin(s);
    loader_lower_priority(s->loader);
    shadow_start(&s->shadow, routing_compared);
    s->watcher = thread_start("model-watch", 0, watch, s);
    *out = s;
}

void served_freeze(struct served *s)
{
    if (s->frozen)
        return;
    pthread_mutex_lock(&s->mu);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    while (s->loading)
        pthread_cond_wait(&s->gone, &s->mu);
    pthread_mutex_unlock(&s->mu);
    pthread_join(s->watcher, NULL);
    s->frozen = true;
}

/* Everything leaves service. */
static void retire_all(struct served *s)
{
    struct served_model *m;

    for (;;) {
        pthread_mutex_lock(&s->mu);
        for (m = s->models; m && !m->visible; m = m->next)
            continue;
        if (m)
            m->visible = false;
        pthread_mutex_unlock(&s->mu);
        if (!m)
            return;
        served_release(m);
    }
}

void served_stop(struct served *s)
{
    if (!s)
        return;
    served_freeze(s);
    shadow_stop(s->shadow); /* its copies hold models */
    retire_all(s);
    loader_stop(s->loader);
    for (size_t i = 0; i < s->n_tasks; i++)
        routing_task_fini(&s->tasks[i]);
    pthread_cond_destroy(&s->gone);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mu);
    free(s->dir);
    free(s);
}
