/* run_members.c - what workers say to a run: they join, report, fetch parameters and submit updates. Nothing here moves
 * the run on; the driver is woken and looks for itself. */
#include "run_internal.h"
#include "run_metrics.h"

#include <stdio.h>
#include <stdlib.h>

struct status run_join(struct run *r, const struct run_join *j, void (*wake)(void *), void *arg,
                       struct run_member **out)
{
    struct status st = status_ok();

    if (j->shard_count != r->config.workers || j->shard_index >= j->shard_count)
        return status_errorf(ST_INVALID, "shard %u/%u: run %s has %u workers", j->shard_index, j->shard_count, r->id,
                             r->config.workers);
    if (!j->train_rows || j->train_rows > RUN_MAX_ROWS || j->eval_rows > RUN_MAX_ROWS)
        return status_errorf(ST_INVALID, "shard %u/%u: needs 1 to %d rows to train on and at most as many to evaluate",
                             j->shard_index, j->shard_count, RUN_MAX_ROWS);
    struct run_member *m = xcalloc(1, sizeof *m);
    m->join = *j;
    m->join.data_source = m->join.data_digest = NULL; /* were the caller's */
    m->wake = wake;
    m->arg = arg;
    pthread_mutex_lock(&r->mu);
    if (run_state_ended(r->state)) {
        st = status_errorf(ST_PRECONDITION, "run %s has ended", r->id);
    } else {
        for (struct run_member *old = r->members; old; old = old->next)
            if (old->join.shard_index == j->shard_index && !old->replaced) {
                old->replaced = true;
                old->wake(old->arg);
            }
        m->next = r->members;
        r->members = m;
        if (!r->source[0])
            snprintf(r->source, sizeof r->source, "%s (digest %s)", j->data_source, j->data_digest);
        run_changed_locked(r);
    }
    uint32_t connected = run_connected_locked(r);
    pthread_mutex_unlock(&r->mu);
    run_metrics_workers(r->config.task, connected);
    if (st.code)
        free(m);
    else
        *out = m;
    return st;
}

void run_leave(struct run *r, struct run_member *m)
{
    pthread_mutex_lock(&r->mu);
    struct run_member **at = &r->members;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    run_changed_locked(r);
    uint32_t connected = run_connected_locked(r);
    pthread_mutex_unlock(&r->mu);
    run_metrics_workers(r->config.task, connected);
    free(m);
}

bool run_next_directive(struct run *r, struct run_member *m, struct run_directive *d)
{
    pthread_mutex_lock(&r->mu);
    bool fresh = m->seen != r->directive_number;
    if (fresh) {
        *d = r->directive;
        m->seen = r->directive_number;
    }
    pthread_mutex_unlock(&r->mu);
    return fresh;
}

bool run_member_replaced(struct run *r, const struct run_member *m)
{
    pthread_mutex_lock(&r->mu);
    bool replaced = m->replaced;
    pthread_mutex_unlock(&r->mu);
    return replaced;
}

/* A sum of that many losses. NaN fails both comparisons. */
static bool is_loss(double sum, uint64_t rows)
{
    return sum >= 0 && sum <= RUN_MAX_LOSS * (double)rows;
}

struct status run_report(struct run *r, struct run_member *m, const struct run_report *report)
{
    struct status st = status_ok();

    if (report->correct > report->rows || report->rows > m->join.eval_rows || !is_loss(report->loss_sum, report->rows))
        return status_errorf(ST_INVALID, "report of shard %u: %llu of %llu rows right, loss_sum %g",
                             m->join.shard_index, (unsigned long long)report->correct, (unsigned long long)report->rows,
                             report->loss_sum);
    pthread_mutex_lock(&r->mu);
    bool *reported = &r->evaluation.reported[m->join.shard_index];
    if (r->evaluation.open && report->base_version == r->current->version && !*reported && !m->replaced) {
        *reported = true;
        r->evaluation.n_reported++;
        r->evaluation.rows += report->rows;
        r->evaluation.correct += report->correct;
        r->evaluation.loss_sum += report->loss_sum;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->mu);
    return st;
}

struct snapshot *run_fetch(struct run *r, uint64_t base_version)
{
    struct snapshot *s = NULL;

    pthread_mutex_lock(&r->mu);
    if (r->current && r->current->version == base_version)
        s = snapshot_acquire(r->current);
    pthread_mutex_unlock(&r->mu);
    return s;
}

void run_count_sent(struct run *r, uint64_t bytes)
{
    atomic_fetch_add(&r->bytes_down, bytes);
}

static const struct run_member *member_locked(const struct run *r, uint32_t shard_index)
{
    const struct run_member *m = r->members;

    while (m && (m->join.shard_index != shard_index || m->replaced))
        m = m->next;
    return m;
}

/* Where the update stands now: RUN_ACCEPTED means it may (still) be added. */
static enum run_verdict judge_locked(const struct run *r, const struct run_update *u, struct status *why)
{
    const struct run_member *m = member_locked(r, u->shard_index);

    if (!m) {
        *why = status_errorf(ST_PRECONDITION, "shard %u has not joined run %s", u->shard_index, r->id);
        return RUN_REJECTED;
    }
    if (u->samples > m->join.train_rows) {
        *why = status_errorf(ST_INVALID, "samples %llu: shard %u joined with %llu rows", (unsigned long long)u->samples,
                             u->shard_index, (unsigned long long)m->join.train_rows);
        return RUN_REJECTED;
    }
    if (!r->current || u->base_version != r->current->version || !r->exchange.open) {
        *why = status_errorf(ST_PRECONDITION, "the exchange on version %llu has closed",
                             (unsigned long long)u->base_version);
        return RUN_LATE;
    }
    if (r->exchange.delivered[u->shard_index]) {
        *why = status_errorf(ST_EXISTS, "shard %u has delivered", u->shard_index);
        return RUN_DUPLICATE;
    }
    return RUN_ACCEPTED;
}

static struct status check_update(const struct run *r, const struct run_update *u)
{
    if (u->samples < 1 || u->samples > UINT32_MAX)
        return status_errorf(ST_INVALID, "samples %llu: must be from 1 to %u", (unsigned long long)u->samples,
                             UINT32_MAX);
    if (!is_loss(u->loss, 1))
        return status_errorf(ST_INVALID, "loss %g: must be from 0 to %g", u->loss, RUN_MAX_LOSS);
    if (u->total_bytes != r->n_params * sizeof(float))
        return status_errorf(ST_INVALID, "update of %llu bytes: the model has %zu", (unsigned long long)u->total_bytes,
                             r->n_params * sizeof(float));
    return status_ok();
}

enum run_verdict run_submit_begin(struct run *r, const struct run_update *u, struct spool **spool, struct status *why)
{
    *why = check_update(r, u);
    if (why->code) {
        run_count_rejected(r);
        return RUN_REJECTED;
    }
    pthread_mutex_lock(&r->mu);
    enum run_verdict verdict = judge_locked(r, u, why);
    if (verdict == RUN_REJECTED)
        r->tally.rejected++;
    pthread_mutex_unlock(&r->mu);
    if (verdict != RUN_ACCEPTED)
        return verdict;
    *why = spool_new(spool, r->dir, r->n_params);
    return why->code ? RUN_REJECTED : RUN_ACCEPTED;
}

static void count_locked(struct run *r, const struct run_update *u)
{
    r->tally.samples += u->samples;
    r->tally.loss_sum += u->loss * (double)u->samples;
    r->tally.updates++;
    r->tally.contributed[u->shard_index] = true;
}

enum run_verdict run_submit(struct run *r, const struct run_update *u, struct spool *spool, struct status *why)
{
    pthread_mutex_lock(&r->mu);
    enum run_verdict verdict = judge_locked(r, u, why);
    if (verdict == RUN_ACCEPTED) {
        r->exchange.delivered[u->shard_index] = true; /* a repeat that overtakes us is a duplicate */
        r->exchange.adding++;
    } else if (verdict == RUN_REJECTED) {
        r->tally.rejected++;
    }
    pthread_mutex_unlock(&r->mu);
    if (verdict != RUN_ACCEPTED)
        return verdict;

    *why = accumulator_add(r->accumulator, spool, u->samples); /* the slow part: the exchange waits for `adding` */

    pthread_mutex_lock(&r->mu);
    r->exchange.adding--;
    if (why->code) {
        r->exchange.delivered[u->shard_index] = false;
        r->tally.rejected++;
        verdict = RUN_REJECTED;
    } else {
        r->exchange.n_delivered++;
        count_locked(r, u);
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mu);
    atomic_fetch_add(&r->bytes_up, u->total_bytes);
    return verdict;
}

void run_count_rejected(struct run *r)
{
    pthread_mutex_lock(&r->mu);
    r->tally.rejected++;
    pthread_mutex_unlock(&r->mu);
}
