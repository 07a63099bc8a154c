/* run.c - a run's birth, its coming back from disk, its end, and what others see of it. */
#include "run.h"

#include "checkpoint.h"
#include "run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void checkpoint_path(char *path, size_t size, const struct run *r)
{
    snprintf(path, size, "%s/checkpoint.safetensors", r->dir);
}

static struct run *alloc(const struct run_house *house, const char *id)
{
    struct run *r = xcalloc(1, sizeof *r);

    r->house = house;
    snprintf(r->id, sizeof r->id, "%s", id);
    snprintf(r->dir, sizeof r->dir, "%s/%s", house->state_dir, id);
    r->refs = 1;
    pthread_mutex_init(&r->mu, NULL);
    cond_init_monotonic(&r->changed);
    return r;
}

static void free_run(struct run *r)
{
    accumulator_free(r->accumulator);
    nn_optimizer_fini(&r->optimizer);
    snapshot_release(r->current);
    free(r->rounds);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->mu);
    free(r);
}

static void shape_for(struct run *r)
{
    r->shape = *nn_shape_preset(run_family(&r->config));
    r->n_params = nn_n_params(&r->shape);
}

/* *params stays NULL while nothing is in production. ST_PRECONDITION: what is there has another shape. */
static struct status production_params(struct run *r, float **params)
{
    struct status st = status_ok();
    uint64_t version;
    struct classifier *c = run_production(r, &version);

    if (!c)
        return st;
    if (memcmp(&c->shape, &r->shape, sizeof c->shape) != 0) {
        st = status_errorf(ST_PRECONDITION,
                           "continue_from_production: version %llu is %s of another shape than this run's %s",
                           (unsigned long long)version, nn_family_name(c->shape.family), r->config.architecture);
    } else {
        log_info("run_continues", log_s("run", r->id), log_i("version", (int64_t)version));
        *params = c->params;
        c->params = NULL;
    }
    classifier_free(c);
    return st;
}

static struct status first_params(struct run *r, float **params)
{
    struct status st = status_ok();

    *params = NULL;
    if (r->config.continue_from_production)
        st = production_params(r, params);
    if (!st.code && !*params) {
        *params = xaligned(r->n_params, sizeof **params);
        nn_init(*params, &r->shape, r->config.seed);
    }
    return st;
}

static void adopt_params(struct run *r, float *params)
{
    r->last_version = r->incarnation << 40 | 1;
    r->current = snapshot_new(r->last_version, params, r->n_params);
    r->accumulator = accumulator_new(r->n_params);
    r->tensors_kept = true;
}

struct status run_new(struct run **out, const struct run_house *house, const char *id, const struct run_config *c)
{
    struct run_config config = *c;
    enum nn_optimizer_kind kind;
    char path[PATH_MAX + 32];
    float *params;
    struct status st = run_id_check(id);

    if (!st.code)
        st = run_config_complete(&config);
    if (!st.code)
        st = nn_optimizer_kind_parse(config.optimizer, &kind);
    if (st.code)
        return st;
    struct run *r = alloc(house, id);
    checkpoint_path(path, sizeof path, r);
    if (fs_exists(path)) {
        free_run(r);
        return status_errorf(ST_DATA_LOSS, "run %s is on disk but damaged: choose another run_id", id);
    }
    r->config = config;
    r->state = RUN_WAITING;
    r->started_ms = clock_wall() / CLOCK_MS;
    shape_for(r);
    st = first_params(r, &params);
    if (st.code) {
        free_run(r);
        return st;
    }
    adopt_params(r, params);
    nn_optimizer_init(&r->optimizer, kind, r->n_params);
    r->optimizer.clip_norm = config.local_epochs ? 0 : 1.0;
    st = fs_mkdirs(r->dir);
    if (!st.code)
        st = run_save(r);
    if (!st.code)
        st = fs_sync_dir(house->state_dir); /* the folder itself */
    if (st.code) {
        free_run(r);
        return st;
    }
    *out = r;
    return st;
}

static void adopt_view(struct run *r, struct run_view *v)
{
    r->config = v->config;
    r->state = run_state_ended(v->state) ? v->state : RUN_WAITING;
    memcpy(r->message, v->message, sizeof r->message);
    r->rounds = v->rounds;
    r->n_rounds = v->n_rounds;
    r->version = v->version;
    r->promoted = v->promoted;
    r->started_ms = v->started_ms;
    r->ended_ms = v->ended_ms;
    v->rounds = NULL;
}

struct status run_open(struct run **out, const struct run_house *house, const char *id)
{
    struct run *r = alloc(house, id);
    struct checkpoint c;
    char path[PATH_MAX + 32];

    checkpoint_path(path, sizeof path, r);
    struct status st = checkpoint_load(path, &c);
    if (st.code) {
        free_run(r);
        return st;
    }
    adopt_view(r, &c.view);
    shape_for(r);
    if (!run_state_ended(r->state)) {
        if (!c.params || c.n_params != r->n_params) {
            st = status_errorf(ST_DATA_LOSS, "%s: %zu parameters, not %zu", path, c.n_params, r->n_params);
            goto out;
        }
        r->incarnation = c.incarnation + 1;
        r->steps_planned = c.steps_planned;
        r->optimizer = c.optimizer;
        memset(&c.optimizer, 0, sizeof c.optimizer);
        adopt_params(r, c.params);
        c.params = NULL;
        st = run_save(r); /* the new incarnation is on disk before any version of it is handed out */
    }
out:
    checkpoint_fini(&c);
    if (st.code)
        free_run(r);
    else
        *out = r;
    return st;
}

void run_start(struct run *r)
{
    if (run_state_ended(r->state))
        return;
    r->started = true;
    run_acquire(r);
    r->driver = thread_start("run", 0, run_drive, r);
}

struct run *run_acquire(struct run *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void run_release(struct run *r)
{
    if (r && atomic_fetch_sub(&r->refs, 1) == 1)
        free_run(r);
}

const char *run_id(const struct run *r)
{
    return r->id;
}

const char *run_state_name(enum run_state s)
{
    static const char *const names[] = {[RUN_WAITING] = "waiting",
                                        [RUN_TRAINING] = "training",
                                        [RUN_FINISHED] = "finished",
                                        [RUN_FAILED] = "failed",
                                        [RUN_STOPPED] = "stopped"};

    return names[s];
}

const struct run_config *run_configuration(const struct run *r)
{
    return &r->config;
}

const struct nn_shape *run_shape(const struct run *r)
{
    return &r->shape;
}

uint32_t run_heartbeat_ms(const struct run *r)
{
    return r->house->heartbeat_ms;
}

uint32_t run_connected_locked(const struct run *r)
{
    uint32_t n = 0;

    for (const struct run_member *m = r->members; m; m = m->next)
        n += !m->replaced;
    return n;
}

void run_changed_locked(struct run *r)
{
    for (struct run_watcher *w = r->watchers; w; w = w->next)
        w->wake(w->arg);
    pthread_cond_broadcast(&r->changed);
}

void run_direct_locked(struct run *r, const struct run_directive *d)
{
    r->directive = *d;
    r->directive_number++;
    for (struct run_member *m = r->members; m; m = m->next)
        m->wake(m->arg);
}

void run_stop(struct run *r, const char *reason)
{
    pthread_mutex_lock(&r->mu);
    if (!run_state_ended(r->state) && !r->stop_asked) {
        r->stop_asked = true;
        snprintf(r->stop_reason, sizeof r->stop_reason, "%s", reason);
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->mu);
}

void run_suspend(struct run *r)
{
    pthread_mutex_lock(&r->mu);
    r->suspended = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mu);
    if (r->started)
        pthread_join(r->driver, NULL);
    r->started = false;
}

void run_watch(struct run *r, struct run_watcher *w)
{
    pthread_mutex_lock(&r->mu);
    w->next = r->watchers;
    r->watchers = w;
    pthread_mutex_unlock(&r->mu);
}

void run_unwatch(struct run *r, struct run_watcher *w)
{
    pthread_mutex_lock(&r->mu);
    struct run_watcher **at = &r->watchers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pthread_mutex_unlock(&r->mu);
}

static void view_workers_locked(const struct run *r, struct run_view *v)
{
    for (const struct run_member *m = r->members; m; m = m->next) {
        if (m->replaced || v->n_workers == RUN_MAX_WORKERS)
            continue;
        v->workers[v->n_workers++] = (struct run_worker){.shard_index = m->join.shard_index,
                                                         .connected = true,
                                                         .train_rows = m->join.train_rows,
                                                         .eval_rows = m->join.eval_rows};
    }
}

void run_view(struct run *r, struct run_view *v)
{
    memset(v, 0, sizeof *v);
    pthread_mutex_lock(&r->mu);
    memcpy(v->run_id, r->id, sizeof v->run_id);
    v->config = r->config;
    v->state = r->state;
    memcpy(v->message, r->message, sizeof v->message);
    v->rounds = xcalloc(r->n_rounds, sizeof *v->rounds);
    if (r->n_rounds)
        memcpy(v->rounds, r->rounds, r->n_rounds * sizeof *v->rounds);
    v->n_rounds = r->n_rounds;
    v->version = r->version;
    v->promoted = r->promoted;
    v->started_ms = r->started_ms;
    v->ended_ms = r->ended_ms;
    v->round = r->directive.round;
    v->exchange = r->directive.exchange;
    v->exchanges = r->directive.exchanges;
    view_workers_locked(r, v);
    pthread_mutex_unlock(&r->mu);
}

void run_view_fini(struct run_view *v)
{
    free(v->rounds);
    v->rounds = NULL;
}

struct status run_save(struct run *r)
{
    struct run_view v;

    run_view(r, &v);
    struct status st = run_save_as(r, &v);
    run_view_fini(&v);
    return st;
}

struct status run_save_as(struct run *r, const struct run_view *v)
{
    char path[PATH_MAX + 32];
    struct checkpoint c = {.incarnation = r->incarnation, .steps_planned = r->steps_planned, .view = *v};

    checkpoint_path(path, sizeof path, r);
    if (r->tensors_kept) {
        c.params = r->current->params;
        c.n_params = r->n_params;
        c.optimizer = r->optimizer;
    }
    return checkpoint_save(path, &c);
}
