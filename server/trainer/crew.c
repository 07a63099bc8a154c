/* crew.c - see crew.h. */
#include "crew.h"

#include "metrics/metrics.h"

#include <stdlib.h>
#include <string.h>

struct shard {
    struct worker *worker; /* NULL: none runs that we know of */
    bool ours;             /* started by this trainer, or found: no grace any more */
    bool died;             /* while the run was active, not yet decided upon */
    bool given_up;
    int failures;
    int64_t not_before;  /* of the next start */
    int64_t grace_until; /* while not ours */
};

struct crew {
    const struct crew_config *config;
    char run_id[RUN_ID_MAX + 1];
    uint32_t n;
    int64_t ended_at; /* 0: the run is active */
    bool asked;       /* crew_stop() after the end of the run */
    struct shard shards[CREW_MAX_WORKERS];
};

static struct worker_spec spec_of(const struct crew *c, uint32_t shard)
{
    return (struct worker_spec){c->run_id, shard, c->n};
}

static void log_worker(const struct crew *c, const char *event, uint32_t shard, const char *detail)
{
    log_info(event, log_s("run", c->run_id), log_i("shard", shard), log_s("detail", detail));
}

static void count_start(const char *reason)
{
    metric_add(metric_counter("bloginfer_trainer_worker_starts_total", "Workers started.", "reason"), 1, reason);
}

static void adopt(struct crew *c)
{
    const struct launcher_ops *ops = c->config->launcher->ops;

    for (uint32_t i = 0; i < c->n; i++) {
        struct worker_spec spec = spec_of(c, i);

        if (ops->find(c->config->launcher, &spec, &c->shards[i].worker).code)
            continue;
        c->shards[i].ours = true;
        log_worker(c, "worker_adopted", i, "");
    }
}

struct status crew_new(struct crew **out, const struct crew_config *config, const Bloginfer__V1__Run *run)
{
    uint32_t n = run->config ? run->config->workers : 0;

    if (!run_id_valid(run->run_id) || n < 1 || n > CREW_MAX_WORKERS)
        return status_errorf(ST_INVALID, "run \"%s\" with %u workers: not one to launch", run->run_id, n);
    struct crew *c = xcalloc(1, sizeof *c);
    c->config = config;
    memcpy(c->run_id, run->run_id, strlen(run->run_id) + 1);
    c->n = n;
    for (uint32_t i = 0; i < n; i++)
        c->shards[i].grace_until = clock_after_ms(config->adopt_grace_ms);
    adopt(c);
    *out = c;
    return status_ok();
}

void crew_free(struct crew *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->n; i++)
        c->config->launcher->ops->release(c->config->launcher, c->shards[i].worker);
    free(c);
}

const char *crew_run_id(const struct crew *c)
{
    return c->run_id;
}

void crew_skip_grace(struct crew *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->shards[i].grace_until = 0;
}

bool crew_reap(struct crew *c)
{
    const struct launcher_ops *ops = c->config->launcher->ops;
    bool pending = false;

    for (uint32_t i = 0; i < c->n; i++) {
        struct shard *s = &c->shards[i];
        struct status why = status_ok();

        if (s->worker && ops->poll(c->config->launcher, s->worker, &why) != WORKER_RUNNING) {
            ops->release(c->config->launcher, s->worker);
            s->worker = NULL;
            s->died = true;
            log_worker(c, "worker_ended", i, why.msg);
            metric_add(metric_counter("bloginfer_trainer_worker_exits_total", "Workers that ended.", "result"), 1,
                       why.code ? "failed" : "ok");
        }
        pending |= s->died || (!s->worker && !s->given_up && s->not_before && s->not_before <= clock_now());
    }
    return pending && !c->ended_at;
}

static bool is_connected(const Bloginfer__V1__Run *run, uint32_t shard)
{
    for (size_t i = 0; i < run->n_workers; i++)
        if (run->workers[i]->shard_index == shard)
            return run->workers[i]->connected;
    return false;
}

/* A worker that ended while its run goes on costs a failure, whatever its exit code says. */
static void decide(struct crew *c, uint32_t i)
{
    struct shard *s = &c->shards[i];

    s->died = false;
    if (s->failures == CREW_MAX_FAILURES) {
        s->given_up = true;
        log_warn("worker_given_up", log_s("run", c->run_id), log_i("shard", i), log_i("failures", s->failures + 1));
        return;
    }
    s->not_before = clock_after_ms(c->config->backoff_ms << s->failures++);
}

static void start(struct crew *c, uint32_t i)
{
    struct shard *s = &c->shards[i];
    struct worker_spec spec = spec_of(c, i);
    const char *reason = !s->ours ? "first" : "restart";
    struct status st = c->config->launcher->ops->start(c->config->launcher, &spec, &s->worker);

    s->ours = true;
    s->not_before = 0;
    if (st.code) {
        log_warn("worker_start_failed", log_s("run", c->run_id), log_i("shard", i), log_s("error", st.msg));
        s->died = true;
        return;
    }
    count_start(reason);
    log_worker(c, "worker_started", i, reason);
}

/* Waiting for all to join, every worker is needed; later the quorum is. */
static struct status check_enough(const struct crew *c, const Bloginfer__V1__Run *run)
{
    uint32_t left = c->n, need = run->config->quorum;

    for (uint32_t i = 0; i < c->n; i++)
        left -= c->shards[i].given_up && !is_connected(run, i);
    if (run->state == BLOGINFER__V1__RUN_STATE__RUN_STATE_WAITING || need > c->n)
        need = c->n;
    if (left >= need)
        return status_ok();
    return status_errorf(ST_ABORTED, "%u of %u workers could not be kept alive: see their logs", c->n - left, c->n);
}

struct status crew_update(struct crew *c, const Bloginfer__V1__Run *run)
{
    int64_t now = clock_now();

    for (uint32_t i = 0; i < c->n; i++) {
        struct shard *s = &c->shards[i];

        if (s->died)
            decide(c, i);
        if (s->worker || s->given_up || now < s->not_before)
            continue;
        if (is_connected(run, i))
            s->grace_until = now + c->config->adopt_grace_ms * CLOCK_MS;
        else if (s->ours || now >= s->grace_until)
            start(c, i);
    }
    return check_enough(c, run);
}

void crew_dismiss(struct crew *c)
{
    int64_t now = clock_now();

    if (!c->ended_at)
        c->ended_at = now;
    int64_t waited_ms = (now - c->ended_at) / CLOCK_MS;
    if (waited_ms >= 2 * c->config->end_grace_ms) {
        crew_stop(c, true);
    } else if (waited_ms >= c->config->end_grace_ms && !c->asked) {
        c->asked = true;
        crew_stop(c, false);
    }
}

void crew_stop(struct crew *c, bool hard)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->shards[i].worker)
            c->config->launcher->ops->stop(c->config->launcher, c->shards[i].worker, hard);
}

size_t crew_size(const struct crew *c)
{
    size_t n = 0;

    for (uint32_t i = 0; i < c->n; i++)
        n += c->shards[i].worker != NULL;
    return n;
}
