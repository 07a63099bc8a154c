/* run_driver.c - the thread that moves a run on: wait for workers, exchange by exchange, evaluate, checkpoint, publish.
 * Linear on purpose: where the run stands is where this code stands. ST_CANCELLED means stopped or suspended. */
#include "run_internal.h"
#include "run_metrics.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct evaluation {
    uint64_t rows;
    double accuracy, loss;
};

static bool interrupted_locked(const struct run *r)
{
    return r->stop_asked || r->suspended;
}

/* Sleeps until something changes or that moment comes. */
static void wait_locked(struct run *r, int64_t until)
{
    struct timespec t = clock_timespec(until);

    pthread_cond_timedwait(&r->changed, &r->mu, &t);
}

static void set_state_locked(struct run *r, enum run_state state, const char *message)
{
    r->state = state;
    snprintf(r->message, sizeof r->message, "%s", message);
    run_changed_locked(r);
}

static void tell_waiting_locked(struct run *r, uint32_t connected)
{
    struct run_directive d = {.kind = RUN_WAIT, .timeout_ms = r->house->join_timeout_ms};

    snprintf(d.reason, sizeof d.reason, "%u of %u workers have joined", connected, r->config.workers);
    snprintf(r->message, sizeof r->message, "%s", d.reason);
    run_direct_locked(r, &d);
    run_changed_locked(r);
}

static struct status wait_for_workers(struct run *r)
{
    struct status st = status_ok();
    int64_t until = clock_after_ms(r->house->join_timeout_ms);
    uint32_t told = UINT32_MAX;

    pthread_mutex_lock(&r->mu);
    for (;;) {
        uint32_t connected = run_connected_locked(r);

        if (interrupted_locked(r))
            st = status_errorf(ST_CANCELLED, "interrupted");
        if (st.code || connected >= r->config.workers)
            break;
        if (clock_now() >= until) {
            if (connected < r->config.quorum)
                st = status_errorf(ST_DEADLINE, "only %u of %u workers joined within %u s", connected,
                                   r->config.workers, r->house->join_timeout_ms / 1000);
            break;
        }
        if (connected != told)
            tell_waiting_locked(r, told = connected);
        else
            wait_locked(r, until);
    }
    if (!st.code)
        set_state_locked(r, RUN_TRAINING, "");
    pthread_mutex_unlock(&r->mu);
    return st;
}

/* Connected workers that have not done this yet. */
static uint32_t missing_locked(const struct run *r, const bool *done)
{
    uint32_t n = 0;

    for (const struct run_member *m = r->members; m; m = m->next)
        n += !m->replaced && !done[m->join.shard_index];
    return n;
}

/* An exchange closes when every connected worker has delivered, or at its deadline with a quorum. Without a quorum it
 * waits for workers to come back, for join_timeout after the deadline. */
static struct status collect_locked(struct run *r)
{
    int64_t deadline = clock_after_ms(r->config.exchange_timeout_ms);
    int64_t patience = deadline + (int64_t)r->house->join_timeout_ms * CLOCK_MS;

    for (;;) {
        bool quorum = r->exchange.n_delivered >= r->config.quorum;
        int64_t now = clock_now();

        if (interrupted_locked(r))
            return status_errorf(ST_CANCELLED, "interrupted");
        if (!r->exchange.adding && quorum && (now >= deadline || !missing_locked(r, r->exchange.delivered)))
            return status_ok();
        if (now >= patience)
            return status_errorf(ST_DEADLINE, "%u updates came, %u are needed, and no worker came back within %u s",
                                 r->exchange.n_delivered, r->config.quorum, r->house->join_timeout_ms / 1000);
        wait_locked(r, now < deadline ? deadline : patience);
    }
}

/* One step: the current parameters minus the optimizer's step on the mean, as a new version. */
static struct status step(struct run *r)
{
    float *mean = xaligned(r->n_params, sizeof *mean), *params;
    struct status st = status_ok();

    accumulator_mean(r->accumulator, mean);
    if (!floats_finite(mean, r->n_params)) {
        st = status_errorf(ST_INTERNAL, "the mean update is not finite");
        goto out;
    }
    params = xaligned(r->n_params, sizeof *params);
    memcpy(params, r->current->params, r->n_params * sizeof *params);
    double rate = run_learning_rate(&r->config, r->optimizer.step, r->steps_planned);
    nn_optimizer_step(&r->optimizer, params, mean, rate);
    struct snapshot *next = snapshot_new(++r->last_version, params, r->n_params), *old;
    pthread_mutex_lock(&r->mu);
    old = r->current;
    r->current = next;
    pthread_mutex_unlock(&r->mu);
    snapshot_release(old);
    if (!floats_finite(params, r->n_params))
        st = status_errorf(ST_INTERNAL, "the parameters are not finite after step %llu",
                           (unsigned long long)r->optimizer.step);
out:
    free(mean);
    return st;
}

static struct status do_exchange(struct run *r, uint32_t round, uint32_t exchange, uint32_t exchanges)
{
    struct run_directive d = {.kind = RUN_TRAIN,
                              .round = round,
                              .exchange = exchange,
                              .exchanges = exchanges,
                              .base_version = r->current->version,
                              .timeout_ms = r->config.exchange_timeout_ms};

    accumulator_reset(r->accumulator);
    pthread_mutex_lock(&r->mu);
    memset(&r->exchange, 0, sizeof r->exchange);
    r->exchange.open = true;
    run_direct_locked(r, &d);
    struct status st = collect_locked(r);
    r->exchange.open = false;
    while (r->exchange.adding)
        pthread_cond_wait(&r->changed, &r->mu);
    pthread_mutex_unlock(&r->mu);
    return st.code ? st : step(r);
}

static bool is_evaluated_locked(const struct run *r)
{
    return r->evaluation.n_reported >= r->config.quorum && !missing_locked(r, r->evaluation.reported);
}

/* Has the workers score the current parameters, of that shape, on their evaluation rows: until every connected worker has reported, and
 * a quorum of them, so that workers on their way out or back do not leave a round unmeasured; at the deadline what has
 * come counts. */
static struct status evaluate(struct run *r, uint32_t round, const struct nn_shape *shape, struct evaluation *e)
{
    struct status st = status_ok();
    struct run_directive d = {
        .kind = RUN_EVALUATE, .round = round, .base_version = r->current->version, .shape = *shape};
    int64_t until = clock_after_ms(r->config.exchange_timeout_ms);

    pthread_mutex_lock(&r->mu);
    d.exchange = r->directive.exchange;
    d.exchanges = r->directive.exchanges;
    memset(&r->evaluation, 0, sizeof r->evaluation);
    r->evaluation.open = true;
    run_direct_locked(r, &d);
    while (!interrupted_locked(r) && clock_now() < until && !is_evaluated_locked(r))
        wait_locked(r, until);
    if (interrupted_locked(r))
        st = status_errorf(ST_CANCELLED, "interrupted");
    r->evaluation.open = false;
    e->rows = r->evaluation.rows;
    e->accuracy = e->rows ? (double)r->evaluation.correct / (double)e->rows : 0;
    e->loss = e->rows ? r->evaluation.loss_sum / (double)e->rows : 0;
    pthread_mutex_unlock(&r->mu);
    return st;
}

static uint32_t exchanges_in_round_locked(const struct run *r)
{
    uint64_t rows = 0;

    for (const struct run_member *m = r->members; m; m = m->next)
        rows += m->replaced ? 0 : m->join.train_rows;
    if (r->config.local_epochs || !rows)
        return 1;
    uint64_t n = (rows + r->config.global_batch - 1) / r->config.global_batch;
    return n > RUN_MAX_EXCHANGES ? RUN_MAX_EXCHANGES : (uint32_t)n;
}

static void log_round(const struct run *r, const struct run_round *o)
{
    log_info("round", log_s("run", r->id), log_i("round", o->round), log_f("train_loss", o->train_loss),
             log_f("eval_accuracy", o->eval_accuracy), log_i("eval_rows", (int64_t)o->eval_rows),
             log_i("samples", (int64_t)o->samples), log_i("workers", o->workers), log_i("updates", o->updates),
             log_i("rejected", o->rejected), log_i("bytes_up", (int64_t)o->bytes_up),
             log_i("bytes_down", (int64_t)o->bytes_down), log_f("seconds", o->seconds));
}

static void add_tally(struct run *r, struct run_round *o)
{
    pthread_mutex_lock(&r->mu);
    o->samples = r->tally.samples;
    o->train_loss = o->samples ? r->tally.loss_sum / (double)o->samples : 0;
    o->updates = r->tally.updates;
    o->rejected = r->tally.rejected;
    for (uint32_t i = 0; i < RUN_MAX_WORKERS; i++)
        o->workers += r->tally.contributed[i];
    pthread_mutex_unlock(&r->mu);
}

/* The round is on disk before anybody sees it: what was seen is never done again. */
static struct status append_round(struct run *r, const struct run_round *o)
{
    struct run_view v;

    run_view(r, &v);
    v.rounds = xrealloc(v.rounds, v.n_rounds + 1, sizeof *v.rounds);
    v.rounds[v.n_rounds++] = *o;
    struct status st = run_save_as(r, &v);
    run_view_fini(&v);
    if (st.code)
        return st;
    pthread_mutex_lock(&r->mu);
    r->rounds = xrealloc(r->rounds, r->n_rounds + 1, sizeof *r->rounds);
    r->rounds[r->n_rounds++] = *o;
    run_changed_locked(r);
    pthread_mutex_unlock(&r->mu);
    log_round(r, o);
    run_metrics_round(r->config.task, o);
    return st;
}

static struct status do_round(struct run *r, uint32_t round)
{
    struct run_round o = {.round = round};
    struct evaluation e;
    struct status st = status_ok();
    int64_t start = clock_now();

    pthread_mutex_lock(&r->mu);
    memset(&r->tally, 0, sizeof r->tally);
    uint32_t exchanges = exchanges_in_round_locked(r);
    pthread_mutex_unlock(&r->mu);
    if (!r->steps_planned)
        r->steps_planned = (uint64_t)exchanges * r->config.rounds;
    atomic_store(&r->bytes_up, 0);
    atomic_store(&r->bytes_down, 0);
    for (uint32_t i = 0; i < exchanges && !st.code; i++)
        st = do_exchange(r, round, i, exchanges);
    if (!st.code)
        st = evaluate(r, round, &r->shape, &e);
    if (st.code)
        return st;
    o.eval_accuracy = e.accuracy;
    o.eval_loss = e.loss;
    o.eval_rows = e.rows;
    o.bytes_up = atomic_load(&r->bytes_up);
    o.bytes_down = atomic_load(&r->bytes_down);
    o.seconds = clock_seconds(start);
    add_tally(r, &o);
    return append_round(r, &o);
}

/* Accuracy of the production model on the rows that judged this run; NaN: there is none to compare with, or a worker
 * left or came and the rows are others. */
static struct status measure_production(struct run *r, uint64_t *version, double *accuracy)
{
    struct classifier *c = run_production(r, version);
    struct evaluation e;

    *accuracy = NAN;
    if (!c)
        return status_ok();
    struct snapshot *mine = r->current, *its = snapshot_new(++r->last_version, c->params, c->n_params);
    c->params = NULL;
    pthread_mutex_lock(&r->mu);
    r->current = its;
    pthread_mutex_unlock(&r->mu);
    uint64_t rows = r->rounds[r->n_rounds - 1].eval_rows; /* the driver alone writes rounds */
    struct status st = evaluate(r, r->config.rounds, &c->shape, &e);
    classifier_free(c);
    pthread_mutex_lock(&r->mu);
    r->current = mine;
    pthread_mutex_unlock(&r->mu);
    snapshot_release(its);
    if (!st.code && e.rows && e.rows == rows)
        *accuracy = e.accuracy;
    return st;
}

static struct status finish(struct run *r)
{
    double baseline;
    uint64_t production;
    struct status st = measure_production(r, &production, &baseline);

    return st.code ? st : run_publish(r, production, baseline);
}

/* A run that has ended is only words. No update is being added: the last exchange has closed. */
static void drop_tensors(struct run *r)
{
    pthread_mutex_lock(&r->mu);
    struct snapshot *last = r->current;
    r->current = NULL;
    pthread_mutex_unlock(&r->mu);
    snapshot_release(last);
    accumulator_free(r->accumulator);
    r->accumulator = NULL;
    nn_optimizer_fini(&r->optimizer);
    malloc_trim(0); /* hours may pass until the next run */
}

static void save_end(struct run *r, const struct run_directive *d, int64_t ended_ms)
{
    struct run_view v;

    run_view(r, &v);
    v.state = d->state;
    v.ended_ms = ended_ms;
    snprintf(v.message, sizeof v.message, "%s", d->reason);
    r->tensors_kept = false;
    struct status st = run_save_as(r, &v);
    run_view_fini(&v);
    if (st.code)
        log_error("run_not_saved", log_s("run", r->id), log_s("error", st.msg));
}

/* The words of the end reach the disk before the workers and whoever watches. */
static void end(struct run *r, struct status st)
{
    struct run_directive d = {.kind = RUN_END};
    int64_t ended_ms = clock_wall() / CLOCK_MS;

    pthread_mutex_lock(&r->mu);
    bool stopped = st.code == ST_CANCELLED && r->stop_asked;
    if (stopped)
        st = status_errorf(ST_CANCELLED, "%s", r->stop_reason);
    pthread_mutex_unlock(&r->mu);
    d.state = stopped ? RUN_STOPPED : st.code ? RUN_FAILED : RUN_FINISHED;
    snprintf(d.reason, sizeof d.reason, "%s", st.msg);

    save_end(r, &d, ended_ms);
    pthread_mutex_lock(&r->mu);
    r->ended_ms = ended_ms;
    set_state_locked(r, d.state, st.msg);
    run_direct_locked(r, &d);
    pthread_mutex_unlock(&r->mu);
    drop_tensors(r);
    run_metrics_end(r->config.task, d.state);
    log_info("run_ended", log_s("run", r->id), log_s("state", run_state_name(d.state)), log_s("message", st.msg),
             log_i("version", (int64_t)r->version));
}

void *run_drive(void *arg)
{
    struct run *r = arg;
    struct status st = wait_for_workers(r);

    if (!st.code)
        st = run_save(r);
    for (uint32_t round = r->n_rounds + 1; !st.code && round <= r->config.rounds; round++)
        st = do_round(r, round);
    if (!st.code)
        st = finish(r);
    pthread_mutex_lock(&r->mu);
    bool suspended = st.code == ST_CANCELLED && r->suspended && !r->stop_asked;
    pthread_mutex_unlock(&r->mu);
    if (!suspended)
        end(r, st);
    run_release(r);
    return NULL;
}
