/* served.c - see served.h. A pointer swap under a mutex and a count in each model: a call holds the mutex for an
 * increment, the watcher for an assignment, and all slow work happens outside. */
#include "served.h"

#include "metrics/metrics.h"
#include "text/text.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 30000 /* until a version that was refused is looked at again: it may have been a fault of reading */

struct slot {
    char task[STORE_TASK_MAX + 1];
    struct served_model *model; /* guarded by mu */

    /* The watcher's own. */
    uint64_t refused; /* version that did not load; 0: none */
    int64_t retry;    /* when it is tried again */
    bool unreadable;  /* the pointer; said once */
};

struct served {
    char *dir;
    int64_t poll_ms;
    void (*first)(void *ctx);
    void *ctx;
    struct metric *versions, *loads;
    bool unreadable; /* the store, said once; the watcher's own */
    bool frozen;     /* the watcher is joined */
    pthread_t watcher;

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t wake;
    bool stop;
    struct slot slots[STORE_MAX_TASKS];
    size_t n_slots;
};

/* ---- models ---- */

void served_release(struct served_model *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    workspaces_free(m->workspaces);
    classifier_free(m->classifier);
    free(m);
}

static struct slot *slot_find_locked(struct served *s, const char *task)
{
    for (size_t i = 0; i < s->n_slots; i++)
        if (strcmp(s->slots[i].task, task) == 0)
            return &s->slots[i];
    return NULL;
}

struct status served_acquire(struct served *s, const char *task, struct served_model **out)
{
    struct slot *slot;

    *out = NULL;
    pthread_mutex_lock(&s->mu);
    slot = slot_find_locked(s, task);
    if (slot && slot->model) {
        *out = slot->model;
        atomic_fetch_add(&(*out)->refs, 1);
    }
    pthread_mutex_unlock(&s->mu);
    if (*out)
        return status_ok();
    if (!slot && !classifier_task_labels(task)) {
        struct status st = store_task_check(task);
        return st.code ? st : status_errorf(ST_NOT_FOUND, "task %s is not known here", task);
    }
    return status_errorf(ST_PRECONDITION, "no model of task %s is in production yet: train one or promote a version",
                         task);
}

size_t served_acquire_all(struct served *s, struct served_model **models)
{
    size_t n = 0;

    pthread_mutex_lock(&s->mu);
    for (size_t i = 0; i < s->n_slots; i++)
        if (s->slots[i].model) {
            models[n] = s->slots[i].model;
            atomic_fetch_add(&models[n++]->refs, 1);
        }
    pthread_mutex_unlock(&s->mu);
    return n;
}

struct status served_ready(void *served)
{
    struct served *s = served;
    bool any = false;

    pthread_mutex_lock(&s->mu);
    for (size_t i = 0; i < s->n_slots; i++)
        any |= s->slots[i].model != NULL;
    pthread_mutex_unlock(&s->mu);
    return any ? status_ok() : status_errorf(ST_PRECONDITION, "no model is in production yet");
}

/* ---- loading, on the watcher's thread ---- */

/* One real text through the model: its memory is touched, and its probabilities have to be some. */
static struct status warm_up(struct served_model *m)
{
    static const char text[] = "第一次运行 warm up";
    const struct nn_shape *shape = &m->classifier->shape;
    float probs[NN_MAX_CLASSES], sum = 0;
    struct text_tokens tokens;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    struct status st = text_tokenise(&tokens, &arena, text, sizeof text - 1, shape->max_tokens, shape->buckets);
    if (!st.code) {
        const struct nn_example example = {tokens.ids, tokens.n_ids, tokens.ngrams, tokens.n_ngrams, 0};
        struct nn_workspace *ws = workspaces_take(m->workspaces);
        nn_predict(ws, m->classifier->params, &example, 1, probs);
        workspaces_give(m->workspaces, ws);
        for (uint32_t i = 0; i < shape->classes; i++)
            sum += probs[i];
        if (!(fabsf(sum - 1) < 1e-3f))
            st = status_errorf(ST_DATA_LOSS, "its probabilities add up to %g", (double)sum);
    }
    arena_fini(&arena);
    return st;
}

static struct status model_load(const char *dir, const char *task, uint64_t version, struct served_model **out)
{
    struct model *file = NULL;
    uint8_t digest[SHA256_SIZE];
    struct served_model *m = xcalloc(1, sizeof *m);
    struct status st = store_load(dir, task, version, &file, digest);

    m->refs = 1;
    m->version = version;
    if (!st.code)
        st = classifier_from_model(&m->classifier, file);
    model_free(file);
    if (!st.code && strcmp(m->classifier->task, task) != 0)
        st = status_errorf(ST_DATA_LOSS, "it is a model of task %s", m->classifier->task);
    if (!st.code) {
        hex_encode(digest, sizeof digest, m->sha256);
        m->workspaces = workspaces_new(&m->classifier->shape);
        st = warm_up(m);
    }
    if (st.code)
        served_release(m);
    else
        *out = m;
    return st;
}

/* Puts m into service; what it replaces goes when its last call has. */
static void swap(struct served *s, struct slot *slot, struct served_model *m)
{
    pthread_mutex_lock(&s->mu);
    struct served_model *old = slot->model;
    slot->model = m;
    pthread_mutex_unlock(&s->mu);
    metric_set(s->versions, (double)m->version, slot->task);
    served_release(old);
    if (!old && s->first)
        s->first(s->ctx);
}

static void refuse(struct served *s, struct slot *slot, uint64_t version, uint64_t serving, const char *why)
{
    if (slot->refused != version)
        log_error("model_refused", log_s("task", slot->task), log_i("version", (int64_t)version), log_s("error", why),
                  log_i("serving", (int64_t)serving));
    metric_add(s->loads, 1, slot->task, "refused");
    slot->refused = version;
    slot->retry = clock_after_ms(RETRY_MS);
}

static void reload(struct served *s, struct slot *slot, uint64_t version, uint64_t serving)
{
    struct served_model *m = NULL;
    int64_t start = clock_now();
    struct status st = model_load(s->dir, slot->task, version, &m);

    if (st.code) {
        refuse(s, slot, version, serving, st.msg);
        return;
    }
    log_info("model_loaded", log_s("task", slot->task), log_i("version", (int64_t)version),
             log_i("instead_of", (int64_t)serving), log_i("parameters", (int64_t)m->classifier->n_params),
             log_f("seconds", clock_seconds(start)));
    metric_add(s->loads, 1, slot->task, "ok");
    slot->refused = 0;
    swap(s, slot, m);
}

static void slot_poll(struct served *s, struct slot *slot)
{
    uint64_t version = 0, serving = slot->model ? slot->model->version : 0; /* only this thread changes it */
    struct status st = store_get_pointer(s->dir, slot->task, STORE_PRODUCTION, &version);

    if (st.code && !slot->unreadable)
        log_error("pointer_unreadable", log_s("task", slot->task), log_s("error", st.msg));
    slot->unreadable = st.code != ST_OK;
    if (st.code || !version || version == serving || (version == slot->refused && clock_now() < slot->retry))
        return;
    reload(s, slot, version, serving);
}

/* The slot of a task, a new one where there was none; NULL: they are all taken. */
static struct slot *slot_make(struct served *s, const char *task)
{
    pthread_mutex_lock(&s->mu);
    struct slot *slot = slot_find_locked(s, task);
    if (!slot && s->n_slots < COUNT_OF(s->slots)) {
        slot = &s->slots[s->n_slots++];
        memcpy(slot->task, task, strlen(task) + 1); /* store_tasks() gives names that fit */
    }
    pthread_mutex_unlock(&s->mu);
    return slot;
}

static void poll_store(struct served *s)
{
    char **tasks = NULL;
    size_t n = 0;
    struct status st = store_tasks(s->dir, &tasks, &n);

    if (st.code && !s->unreadable)
        log_error("store_unreadable", log_s("error", st.msg));
    s->unreadable = st.code != ST_OK;
    for (size_t i = 0; i < n; i++) {
        struct slot *slot = slot_make(s, tasks[i]);
        if (slot)
            slot_poll(s, slot);
    }
    free(tasks);
}

static void *watch(void *arg)
{
    struct served *s = arg;

    pthread_mutex_lock(&s->mu);
    while (!s->stop) {
        struct timespec until = clock_timespec(clock_after_ms(s->poll_ms));
        if (pthread_cond_timedwait(&s->wake, &s->mu, &until) == 0)
            continue;
        pthread_mutex_unlock(&s->mu);
        poll_store(s);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

/* ---- start and stop ---- */

void served_start(struct served **out, const struct served_config *config)
{
    struct served *s = xcalloc(1, sizeof *s);

    s->dir = xstrdup(config->dir);
    s->poll_ms = config->poll_ms;
    s->first = config->first;
    s->ctx = config->ctx;
    s->versions = metric_gauge("bloginfer_model_version", "Version of the model in service.", "task");
    s->loads = metric_counter("bloginfer_model_loads_total", "Versions that were loaded, or refused.", "task,result");
    pthread_mutex_init(&s->mu, NULL);
    cond_init_monotonic(&s->wake);
    poll_store(s);
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
    pthread_mutex_unlock(&s->mu);
    pthread_join(s->watcher, NULL);
    s->frozen = true;
}

void served_stop(struct served *s)
{
    if (!s)
        return;
    served_freeze(s);
    for (size_t i = 0; i < s->n_slots; i++)
        served_release(s->slots[i].model);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mu);
    free(s->dir);
    free(s);
}
