/* supervisor.c - see supervisor.h. */
#include "supervisor.h"

#include "metrics/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_MAX     64  /* active runs; there is at most one a task */
#define TICK_MS      500 /* how soon a worker's end is noticed */
#define STOP_TICK_MS 20
#define REPLY_LIMIT  (16 << 20)

struct entry {
    struct crew *crew;
    bool over; /* the run is not active any more */
};

struct supervisor {
    struct supervisor_config config;
    pthread_t thread;
    struct arena arena; /* the thread's, as is all down to mu */
    struct vec entries; /* struct entry */
    bool reachable;     /* the aggregator, when last asked */
    struct metric *up, *runs, *workers;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t wake;
    bool woken, stopping;
    char fresh[RUNS_MAX][RUN_ID_MAX + 1]; /* supervisor_launch(), not yet seen in a list of the aggregator's */
    size_t n_fresh;
};

static struct entry *find_entry(struct supervisor *s, const char *run_id)
{
    for (size_t i = 0; i < s->entries.n; i++) {
        struct entry *e = VEC_AT(&s->entries, struct entry, i);

        if (!strcmp(crew_run_id(e->crew), run_id))
            return e;
    }
    return NULL;
}

static bool is_listed(const Bloginfer__V1__ListRunsResponse *list, const char *run_id)
{
    for (size_t i = 0; i < list->n_runs; i++)
        if (!strcmp(list->runs[i]->run_id, run_id))
            return true;
    return false;
}

static struct entry *add_entry(struct supervisor *s, const Bloginfer__V1__Run *run)
{
    struct crew *crew;
    struct status st = crew_new(&crew, &s->config.crew, run);

    if (st.code) {
        log_warn("run_ignored", log_s("error", st.msg));
        return NULL;
    }
    struct entry *e = vec_push(&s->entries);
    if (!e) {
        log_warn("run_ignored", log_s("error", "too many active runs"));
        crew_free(crew);
        return NULL;
    }
    e->crew = crew;
    log_info("run_watched", log_s("run", run->run_id), log_i("workers", run->config->workers));
    return e;
}

/* How many names were there, copied out. They stay until a list that was asked for later has come. */
static size_t copy_fresh(struct supervisor *s, char names[RUNS_MAX][RUN_ID_MAX + 1])
{
    pthread_mutex_lock(&s->mu);
    size_t n = s->n_fresh;
    memcpy(names, s->fresh, sizeof s->fresh);
    pthread_mutex_unlock(&s->mu);
    return n;
}

static void drop_fresh(struct supervisor *s, size_t n)
{
    pthread_mutex_lock(&s->mu);
    s->n_fresh -= n;
    memmove(s->fresh, s->fresh + n, s->n_fresh * sizeof *s->fresh);
    pthread_mutex_unlock(&s->mu);
}

static bool is_fresh(char names[RUNS_MAX][RUN_ID_MAX + 1], size_t n, const char *run_id)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], run_id))
            return true;
    return false;
}

static void stop_run(struct supervisor *s, const char *run_id, const char *reason)
{
    const Bloginfer__V1__Run *run;
    struct status st = aggregator_stop_run(s->config.aggregator, &s->arena, run_id, reason, &run);

    log_warn("run_stopped", log_s("run", run_id), log_s("reason", reason), log_s("error", st.msg));
}

static void update_run(struct supervisor *s, const Bloginfer__V1__Run *run, bool fresh)
{
    struct entry *e = find_entry(s, run->run_id);

    if (!e)
        e = add_entry(s, run);
    if (!e || e->over)
        return;
    if (fresh)
        crew_skip_grace(e->crew);
    struct status st = crew_update(e->crew, run);
    if (st.code)
        stop_run(s, run->run_id, st.msg);
}

static void note_reachable(struct supervisor *s, struct status st)
{
    metric_set(s->up, st.code == ST_OK);
    if (s->reachable && st.code)
        log_warn("aggregator_away", log_s("error", st.msg));
    if (!s->reachable && !st.code)
        log_info("aggregator_reached");
    s->reachable = !st.code;
}

/* The names are copied before the question: a run that was created before it is in the answer or is over. */
static void ask_aggregator(struct supervisor *s)
{
    char names[RUNS_MAX][RUN_ID_MAX + 1];
    size_t n_names = copy_fresh(s, names);
    const Bloginfer__V1__ListRunsResponse *list;

    arena_reset(&s->arena);
    struct status st = aggregator_list_runs(s->config.aggregator, &s->arena, true, &list);
    note_reachable(s, st);
    if (st.code)
        return;
    drop_fresh(s, n_names);
    for (size_t i = 0; i < s->entries.n; i++) {
        struct entry *e = VEC_AT(&s->entries, struct entry, i);

        e->over |= !is_listed(list, crew_run_id(e->crew));
    }
    for (size_t i = 0; i < list->n_runs; i++)
        update_run(s, list->runs[i], is_fresh(names, n_names, list->runs[i]->run_id));
}

static void dismiss_over(struct supervisor *s)
{
    for (size_t i = s->entries.n; i-- > 0;) {
        struct entry *e = VEC_AT(&s->entries, struct entry, i);

        if (!e->over)
            continue;
        crew_dismiss(e->crew);
        if (crew_size(e->crew))
            continue;
        log_info("run_done", log_s("run", crew_run_id(e->crew)));
        crew_free(e->crew);
        vec_remove(&s->entries, i);
    }
}

/* True when a crew has something to decide. */
static bool reap_all(struct supervisor *s)
{
    bool pending = false;
    size_t n = 0;

    for (size_t i = 0; i < s->entries.n; i++) {
        struct crew *crew = VEC_AT(&s->entries, struct entry, i)->crew;

        pending |= crew_reap(crew);
        n += crew_size(crew);
    }
    metric_set(s->runs, (double)s->entries.n);
    metric_set(s->workers, (double)n);
    return pending;
}

/* Until then or until woken; *woken: it was. False: time to stop. */
static bool sleep_until(struct supervisor *s, int64_t until, bool *woken)
{
    struct timespec ts = clock_timespec(until);

    pthread_mutex_lock(&s->mu);
    while (!s->woken && !s->stopping && clock_now() < until)
        pthread_cond_timedwait(&s->wake, &s->mu, &ts);
    *woken = s->woken;
    s->woken = false;
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->mu);
    return go_on;
}

/* The orderly stop: workers of our own get end_grace_ms to finish. */
static void stop_workers(struct supervisor *s)
{
    int64_t hard_at = clock_after_ms(s->config.crew.end_grace_ms), give_up_at = hard_at + CLOCK_SECOND;
    size_t left = 1;

    for (bool asked = false, forced = false; left && clock_now() < give_up_at; clock_sleep_ms(STOP_TICK_MS)) {
        bool force = clock_now() >= hard_at;

        left = 0;
        for (size_t i = 0; i < s->entries.n; i++) {
            struct crew *crew = VEC_AT(&s->entries, struct entry, i)->crew;

            if (!asked || (force && !forced))
                crew_stop(crew, force);
            crew_reap(crew);
            left += crew_size(crew);
        }
        asked = true;
        forced = force;
    }
}

static void *supervise(void *arg)
{
    struct supervisor *s = arg;
    int64_t next_poll = clock_now();
    bool woken = false, go_on = true;

    while (go_on) {
        bool pending = reap_all(s);

        if (pending || woken || clock_now() >= next_poll) {
            ask_aggregator(s);
            next_poll = clock_after_ms(s->config.poll_interval_ms);
        }
        dismiss_over(s);
        int64_t tick = clock_after_ms(TICK_MS);
        go_on = sleep_until(s, s->entries.n && tick < next_poll ? tick : next_poll, &woken);
    }
    if (s->config.crew.launcher->ends_with_trainer)
        stop_workers(s);
    return NULL;
}

struct supervisor *supervisor_start(const struct supervisor_config *config)
{
    struct supervisor *s = xcalloc(1, sizeof *s);

    s->config = *config;
    s->reachable = true; /* so that the first failure is told */
    s->entries = (struct vec)VEC_INIT(sizeof(struct entry), RUNS_MAX);
    arena_init(&s->arena, REPLY_LIMIT);
    pthread_mutex_init(&s->mu, NULL);
    cond_init_monotonic(&s->wake);
    s->up = metric_gauge("bloginfer_trainer_aggregator_up", "Whether the aggregator answered when last asked.", NULL);
    s->runs = metric_gauge("bloginfer_trainer_runs", "Runs that this trainer looks after.", NULL);
    s->workers = metric_gauge("bloginfer_trainer_workers", "Workers that run.", NULL);
    s->thread = thread_start("supervisor", 0, supervise, s);
    return s;
}

void supervisor_stop(struct supervisor *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->mu);
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mu);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->entries.n; i++)
        crew_free(VEC_AT(&s->entries, struct entry, i)->crew);
    vec_fini(&s->entries);
    arena_fini(&s->arena);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

void supervisor_launch(struct supervisor *s, const char *run_id)
{
    pthread_mutex_lock(&s->mu);
    if (s->n_fresh < RUNS_MAX && strlen(run_id) <= RUN_ID_MAX) /* else it is found, and waits for its grace */
        snprintf(s->fresh[s->n_fresh++], sizeof *s->fresh, "%s", run_id);
    s->woken = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mu);
}

void supervisor_wake(struct supervisor *s)
{
    pthread_mutex_lock(&s->mu);
    s->woken = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mu);
}
