/* runs.c - see runs.h. */
#include "runs.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct runs {
    struct run_house house;
    char *dir;
    pthread_mutex_t mu; /* guards the list */
    struct vec list;    /* struct run *, oldest first */
};

static struct run *run_at(struct runs *rs, size_t i)
{
    return *VEC_AT(&rs->list, struct run *, i);
}

static int64_t started_ms(struct run *r)
{
    struct run_view v;

    run_view(r, &v);
    run_view_fini(&v);
    return v.started_ms;
}

static int by_start(const void *a, const void *b)
{
    int64_t x = started_ms(*(struct run *const *)a), y = started_ms(*(struct run *const *)b);

    return x < y ? -1 : x > y;
}

static struct status load_all(struct runs *rs)
{
    char **names;
    size_t n;
    struct status st = fs_list(rs->dir, 10000, &names, &n);

    if (st.code)
        return st;
    for (size_t i = 0; i < n; i++) {
        struct run *r;

        st = run_open(&r, &rs->house, names[i]);
        if (st.code)
            log_error("run_not_loaded", log_s("run", names[i]), log_s("error", st.msg));
        else
            *(struct run **)vec_push(&rs->list) = r;
    }
    free(names);
    if (rs->list.n)
        qsort(rs->list.data, rs->list.n, sizeof(struct run *), by_start);
    return status_ok();
}

struct status runs_open(struct runs **out, const struct runs_config *config)
{
    struct runs *rs = xcalloc(1, sizeof *rs);

    rs->dir = xasprintf("%s/runs", config->state_dir);
    rs->house = (struct run_house){.state_dir = rs->dir,
                                   .registry = config->registry,
                                   .join_timeout_ms = config->join_timeout_ms,
                                   .heartbeat_ms = config->heartbeat_ms};
    rs->list = (struct vec)VEC_INIT(sizeof(struct run *), 20000);
    pthread_mutex_init(&rs->mu, NULL);
    struct status st = fs_mkdirs(rs->dir);
    if (!st.code)
        st = load_all(rs);
    if (st.code) {
        runs_close(rs);
        return st;
    }
    for (size_t i = 0; i < rs->list.n; i++)
        run_start(run_at(rs, i));
    *out = rs;
    return status_ok();
}

void runs_close(struct runs *rs)
{
    if (!rs)
        return;
    for (size_t i = 0; i < rs->list.n; i++) {
        run_suspend(run_at(rs, i));
        run_release(run_at(rs, i));
    }
    vec_fini(&rs->list);
    pthread_mutex_destroy(&rs->mu);
    free(rs->dir);
    free(rs);
}

static struct run *find_locked(struct runs *rs, const char *id)
{
    for (size_t i = 0; i < rs->list.n; i++)
        if (!strcmp(run_id(run_at(rs, i)), id))
            return run_at(rs, i);
    return NULL;
}

struct run *runs_find(struct runs *rs, const char *id)
{
    pthread_mutex_lock(&rs->mu);
    struct run *r = find_locked(rs, id);
    if (r)
        run_acquire(r);
    pthread_mutex_unlock(&rs->mu);
    return r;
}

static bool is_active(struct run *r, const char *task)
{
    struct run_view v;

    run_view(r, &v);
    run_view_fini(&v);
    return !run_state_ended(v.state) && (!task || !strcmp(v.config.task, task));
}

/* "sentiment-20261122-101500-3f9a": readable, and unlikely to meet another. */
static void make_id(char *id, const char *task)
{
    time_t now = (time_t)(clock_wall() / CLOCK_SECOND);
    struct tm tm;
    char day[24];
    uint16_t salt = 0;

    gmtime_r(&now, &tm);
    strftime(day, sizeof day, "%Y%m%d-%H%M%S", &tm);
    if (getrandom(&salt, sizeof salt, 0) != sizeof salt)
        salt = (uint16_t)clock_now();
    snprintf(id, RUN_ID_SIZE, "%s-%s-%04x", task, day, salt);
}

/* Forgets the oldest runs that have ended, over RUNS_KEPT. */
static void prune_locked(struct runs *rs)
{
    for (size_t i = 0; i < rs->list.n && rs->list.n > RUNS_KEPT;) {
        struct run *r = run_at(rs, i);
        char path[4096];

        if (is_active(r, NULL)) {
            i++;
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", rs->dir, run_id(r));
        struct status st = fs_remove_tree(path);
        if (st.code)
            log_warn("run_not_removed", log_s("run", run_id(r)), log_s("error", st.msg));
        run_suspend(r);
        run_release(r);
        memmove(VEC_AT(&rs->list, struct run *, i), VEC_AT(&rs->list, struct run *, i + 1),
                (--rs->list.n - i) * sizeof(struct run *));
    }
}

static struct status start_locked(struct runs *rs, const char *id, const struct run_config *config, struct run **run)
{
    for (size_t i = 0; i < rs->list.n; i++)
        if (is_active(run_at(rs, i), config->task))
            return status_errorf(ST_EXISTS, "run %s of task %s is active: wait for it or stop it",
                                 run_id(run_at(rs, i)), config->task);
    struct run **slot = vec_push(&rs->list);
    if (!slot)
        return status_errorf(ST_EXHAUSTED, "too many runs");
    struct status st = run_new(slot, &rs->house, id, config);
    if (st.code) {
        rs->list.n--;
        return st;
    }
    *run = run_acquire(*slot);
    log_info("run_started", log_s("run", id), log_s("task", config->task), log_s("architecture", config->architecture),
             log_s("loss", config->loss), log_i("rounds", config->rounds), log_i("workers", config->workers),
             log_s("optimizer", config->optimizer));
    run_start(*slot);
    prune_locked(rs);
    return st;
}

struct status runs_start(struct runs *rs, const char *id, const struct run_config *c, struct run **run, bool *created)
{
    struct run_config config = *c;
    char made[RUN_ID_SIZE];
    struct status st = run_config_complete(&config);

    if (st.code)
        return st;
    if (!id[0]) {
        make_id(made, config.task);
        id = made;
    }
    pthread_mutex_lock(&rs->mu);
    *run = find_locked(rs, id);
    *created = !*run;
    if (*run)
        run_acquire(*run);
    else
        st = start_locked(rs, id, &config, run);
    pthread_mutex_unlock(&rs->mu);
    return st;
}

struct run **runs_list(struct runs *rs, bool active_only, size_t limit, size_t *n)
{
    *n = 0;
    pthread_mutex_lock(&rs->mu);
    struct run **found = xcalloc(rs->list.n, sizeof *found);
    for (size_t i = rs->list.n; i-- > 0 && *n < limit;)
        if (!active_only || is_active(run_at(rs, i), NULL))
            found[(*n)++] = run_acquire(run_at(rs, i));
    pthread_mutex_unlock(&rs->mu);
    return found;
}
