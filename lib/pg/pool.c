/* pool.c - who may use which connection. Those that nobody uses lie in a list, the last used on top. Who finds none waits
 * in a queue, and a connection that is given back or made new goes to the first of it, so that nobody is overtaken.
 *
 * One thread makes the connections: a name that does not resolve or a server that swallows packets then costs this thread
 * its time, not the callers, and there is one pause for all while the server is away. */
#include "pg/pool.h"

#include "metrics/metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CONNECT_MS     5000 /* one attempt, beyond the resolution of the name */
#define PAUSE_FIRST_MS 50
#define PAUSE_LAST_MS  1000

struct waiter {
    struct waiter *next;
    pthread_cond_t given;
    struct pg_conn *conn;
    uint64_t n_attempts; /* that had begun when it came */
    bool refused;        /* one that began later has failed */
};

struct pg_pool {
    struct pg_config config;
    pthread_t thread;
    atomic_bool closing;

    pthread_mutex_t mu;     /* guards all below */
    pthread_cond_t changed; /* for the thread: a waiter came, a place became free, closing */
    struct pg_conn *idle;
    struct waiter *first, **last; /* the queue */
    int64_t n_open;               /* idle and in use, and the one that is being made */
    uint64_t n_attempts;
    int n_failed; /* attempts in a row */
    struct rng rng;
};

static struct {
    struct series *open, *in_use, *waits, *made, *failed, *lost;
} counts;

static void count_init(void)
{
    struct metric *connects =
        metric_counter("bloginfer_pg_connects_total", "Attempts to connect to PostgreSQL.", "result");

    counts.made = metric_series(connects, "ok");
    counts.failed = metric_series(connects, "failed");
    counts.open = metric_series(metric_gauge("bloginfer_pg_connections", "Connections to PostgreSQL.", NULL));
    counts.in_use =
        metric_series(metric_gauge("bloginfer_pg_connections_in_use", "Connections that a call is using.", NULL));
    counts.waits =
        metric_series(metric_counter("bloginfer_pg_waits_total", "Calls that had to wait for a connection.", NULL));
    counts.lost = metric_series(
        metric_counter("bloginfer_pg_connections_lost_total", "Connections that were found broken.", NULL));
}

/* ---- the queue and the list ---- */

static void leave_locked(struct pg_pool *p, struct waiter *w)
{
    struct waiter **at = &p->first;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (p->last == &w->next)
        p->last = at;
}

static void give_locked(struct pg_pool *p, struct pg_conn *c)
{
    struct waiter *w = p->first;

    if (!w) {
        c->next = p->idle;
        p->idle = c;
        return;
    }
    leave_locked(p, w);
    w->conn = c;
    pthread_cond_signal(&w->given);
}

/* While others are connected there is still something to wait for. */
static void refuse_locked(struct pg_pool *p)
{
    struct waiter *next;

    for (struct waiter *w = p->first; w && !p->n_open; w = next) {
        next = w->next;
        if (w->n_attempts >= p->n_attempts)
            continue;
        leave_locked(p, w);
        w->refused = true;
        pthread_cond_signal(&w->given);
    }
}

static struct status wait_locked(struct pg_pool *p, int64_t deadline, struct pg_conn **out)
{
    struct waiter w = {.n_attempts = p->n_attempts};
    struct timespec until = clock_timespec(deadline);
    int e = 0;

    series_add(counts.waits, 1);
    cond_init_monotonic(&w.given);
    *p->last = &w;
    p->last = &w.next;
    pthread_cond_signal(&p->changed);
    while (!w.conn && !w.refused && !e)
        e = pthread_cond_timedwait(&w.given, &p->mu, &until);
    if (!w.conn && !w.refused)
        leave_locked(p, &w);
    bool full = p->n_open == p->config.n_connections;
    pthread_cond_destroy(&w.given);
    *out = w.conn;
    if (w.conn)
        return status_ok();
    if (full && !w.refused)
        return status_errorf(ST_EXHAUSTED, "all %d connections to the database are in use",
                             (int)p->config.n_connections);
    return status_errorf(ST_UNAVAILABLE, "the database is away");
}

/* ---- acquire and release ---- */

static void discard(struct pg_pool *p, struct pg_conn *c)
{
    conn_close(c);
    series_add(counts.lost, 1);
    series_add(counts.open, -1);
    pthread_mutex_lock(&p->mu);
    p->n_open--;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->mu);
}

static struct status take(struct pg_pool *p, int64_t deadline, struct pg_conn **out)
{
    struct status st = status_ok();

    pthread_mutex_lock(&p->mu);
    *out = p->idle;
    if (p->idle)
        p->idle = p->idle->next;
    else
        st = wait_locked(p, deadline, out);
    pthread_mutex_unlock(&p->mu);
    return st;
}

struct status pool_acquire(struct pg_pool *p, int64_t deadline, struct pg_conn **out)
{
    struct status st;

    for (;;) {
        st = take(p, deadline, out);
        if (st.code)
            return st;
        if (conn_is_alive(*out))
            break;
        discard(p, *out);
    }
    series_add(counts.in_use, 1);
    return st;
}

void pool_release(struct pg_pool *p, struct pg_conn *c)
{
    series_add(counts.in_use, -1);
    if (c->broken || PQtransactionStatus(c->pq) != PQTRANS_IDLE) {
        discard(p, c);
        return;
    }
    pthread_mutex_lock(&p->mu);
    give_locked(p, c);
    pthread_mutex_unlock(&p->mu);
}

/* ---- the thread that connects ---- */

/* Half to all of 50 ms, 100 ms ... 1 s, so that programs that lost the same server do not come back at once. */
static int64_t pause_locked(struct pg_pool *p)
{
    int64_t ms = PAUSE_FIRST_MS;

    for (int i = 1; i < p->n_failed && ms < PAUSE_LAST_MS; i++)
        ms *= 2;
    if (ms > PAUSE_LAST_MS)
        ms = PAUSE_LAST_MS;
    return ms / 2 + (int64_t)rng_below(&p->rng, (uint64_t)ms / 2 + 1);
}

static void connect_locked(struct pg_pool *p)
{
    struct pg_conn *c = NULL;

    p->n_open++;
    p->n_attempts++;
    pthread_mutex_unlock(&p->mu);
    struct status st = conn_open(&c, &p->config, clock_after_ms(CONNECT_MS), &p->closing);
    series_add(st.code ? counts.failed : counts.made, 1);
    if (st.code && st.code != ST_CANCELLED)
        log_warn("pg_connect_failed", log_s("error", st.msg));
    pthread_mutex_lock(&p->mu);
    if (st.code) {
        p->n_open--;
        p->n_failed++;
        refuse_locked(p);
        return;
    }
    p->n_failed = 0;
    series_add(counts.open, 1);
    give_locked(p, c);
}

static void *run(void *arg)
{
    struct pg_pool *p = arg;

    pthread_mutex_lock(&p->mu);
    while (!atomic_load(&p->closing)) {
        if (!p->first || p->n_open == p->config.n_connections) {
            pthread_cond_wait(&p->changed, &p->mu);
            continue;
        }
        connect_locked(p);
        if (!p->n_failed)
            continue;
        struct timespec until = clock_timespec(clock_after_ms(pause_locked(p)));
        while (!atomic_load(&p->closing) && !pthread_cond_timedwait(&p->changed, &p->mu, &until))
            continue;
    }
    pthread_mutex_unlock(&p->mu);
    return NULL;
}

/* ---- opening and closing ---- */

static struct status check_url(const char *url)
{
    char *error = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &error);
    bool good = options != NULL && *url;

    PQconninfoFree(options);
    PQfreemem(error); /* may quote the password */
    return good ? status_ok()
                : status_errorf(ST_INVALID, "the database's URL is not of the form "
                                            "postgresql://USER:PASSWORD@HOST:PORT/NAME");
}

struct status pg_open(struct pg_pool **out, const struct pg_config *config)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct status st = check_url(config->url);

    if (st.code)
        return st;
    if (config->n_connections < 1 || config->n_connections > PG_MAX_CONNECTIONS)
        return status_errorf(ST_INVALID, "%d connections to the database: 1 to %d", (int)config->n_connections,
                             PG_MAX_CONNECTIONS);
    pthread_once(&once, count_init);
    struct pg_pool *p = xcalloc(1, sizeof *p);
    p->config = (struct pg_config){xstrdup(config->url), xstrdup(config->program), config->n_connections};
    pthread_mutex_init(&p->mu, NULL);
    cond_init_monotonic(&p->changed);
    p->last = &p->first;
    rng_init(&p->rng, (uint64_t)clock_now());
    p->thread = thread_start("pg-connect", 0, run, p);
    *out = p;
    return st;
}

void pg_close(struct pg_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    assert(!p->first);
    atomic_store(&p->closing, true);
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->mu);
    pthread_join(p->thread, NULL);
    while (p->idle) {
        struct pg_conn *c = p->idle;

        p->idle = c->next;
        p->n_open--;
        series_add(counts.open, -1);
        conn_close(c);
    }
    assert(!p->n_open); /* a call is still using one */
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mu);
    free((char *)p->config.url);
    free((char *)p->config.program);
    free(p);
}
