/* learner.c - see learner.h. A transfer that fails is tried again as long as its directive is the newest: the aggregator
 * knows an update by its id, so that a repeat does no harm. */
#include "learner.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 200

struct learner {
    struct learner_config config;
    size_t n_params;
    pthread_t thread;
    float *params, *update; /* (n_params,), the thread's own */

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    bool stopping;
    bool fresh; /* the directive has not been taken up */
    struct learner_directive directive;
    struct local *visitor; /* a model of another shape that is being scored; NULL: none */
    uint64_t at_work;
    bool has_report;
    struct learner_report report;
};

/* Still the newest word? */
static bool is_wanted(struct learner *l)
{
    pthread_mutex_lock(&l->mu);
    bool wanted = !l->stopping && !l->fresh;
    pthread_mutex_unlock(&l->mu);
    return wanted;
}

/* Sleeps a moment, or until there is a newer word. */
static void pause_briefly(struct learner *l)
{
    struct timespec t = clock_timespec(clock_after_ms(RETRY_MS));

    pthread_mutex_lock(&l->mu);
    if (!l->stopping && !l->fresh)
        pthread_cond_timedwait(&l->changed, &l->mu, &t);
    pthread_mutex_unlock(&l->mu);
}

static bool worth_a_retry(struct status st)
{
    return st.code == ST_UNAVAILABLE || st.code == ST_DEADLINE || st.code == ST_EXHAUSTED || st.code == ST_DATA_LOSS ||
           st.code == ST_CANCELLED;
}

static struct status fetch(struct learner *l, uint64_t version, float *params, size_t n_params)
{
    struct status st = transfer_fetch(l->config.transfer, version, params, n_params);

    while (st.code && worth_a_retry(st) && is_wanted(l)) {
        log_warn("fetch_failed", log_i("version", (int64_t)version), log_s("error", st.msg));
        pause_briefly(l);
        st = transfer_fetch(l->config.transfer, version, params, n_params);
    }
    return st;
}

static struct status submit(struct learner *l, uint64_t version, const struct local_update *about)
{
    char reason[STATUS_MSG_SIZE];
    enum transfer_verdict verdict;
    struct status st;

    for (;;) {
        st = transfer_submit(l->config.transfer, version, about->samples, about->loss, l->update, l->n_params, &verdict,
                             reason);
        if (!st.code || !worth_a_retry(st) || !is_wanted(l))
            break;
        log_warn("submit_failed", log_i("version", (int64_t)version), log_s("error", st.msg));
        pause_briefly(l);
    }
    if (!st.code && verdict == TRANSFER_REJECTED)
        st = status_errorf(ST_INVALID, "update rejected: %s", reason);
    return st;
}

static struct status train(struct learner *l, const struct learner_directive *d)
{
    struct local_update about;
    struct status st = fetch(l, d->base_version, l->params, l->n_params);

    if (!st.code)
        st = local_train(l->config.local, l->params, d->round, d->exchange, d->exchanges, l->update, &about);
    return st.code ? st : submit(l, d->base_version, &about);
}

static struct status score_own(struct learner *l, const struct learner_directive *d, struct local_score *score)
{
    struct status st = fetch(l, d->base_version, l->params, l->n_params);

    return st.code ? st : local_evaluate(l->config.local, l->params, score);
}

/* From now on, abandoning what is at work abandons this, too; a directive that came meanwhile already does. */
static void set_visitor(struct learner *l, struct local *visitor)
{
    pthread_mutex_lock(&l->mu);
    l->visitor = visitor;
    if (visitor && (l->stopping || l->fresh))
        local_abandon(visitor);
    pthread_mutex_unlock(&l->mu);
}

/* A model of another shape, such as the one in production: the rows are tokenised for it. */
static struct status score_visitor(struct learner *l, const struct learner_directive *d, struct local_score *score)
{
    const struct local_plan plan = {.shape = d->shape};
    size_t n_params = nn_n_params(&d->shape);
    float *params = xaligned(n_params, sizeof *params);
    struct corpus_examples rows;
    struct status st = fetch(l, d->base_version, params, n_params);

    if (!st.code) {
        corpus_tokenise(&rows, l->config.eval, d->shape.max_tokens, d->shape.buckets);
        struct local *visitor = local_new(&plan, NULL, 0, rows.rows, (uint32_t)rows.n);
        set_visitor(l, visitor);
        st = local_evaluate(visitor, params, score);
        set_visitor(l, NULL);
        local_free(visitor);
        corpus_examples_fini(&rows);
    }
    free(params);
    return st;
}

static struct status evaluate(struct learner *l, const struct learner_directive *d)
{
    struct learner_report report = {.base_version = d->base_version};
    bool own = !memcmp(&d->shape, l->config.shape, sizeof d->shape);
    struct status st = own ? score_own(l, d, &report.score) : score_visitor(l, d, &report.score);

    if (st.code)
        return st;
    pthread_mutex_lock(&l->mu);
    l->report = report;
    l->has_report = true;
    l->config.on_report(l->config.arg);
    pthread_mutex_unlock(&l->mu);
    return st;
}

/* Waits for a directive; false when the learner stops. */
static bool take_directive(struct learner *l, struct learner_directive *d)
{
    pthread_mutex_lock(&l->mu);
    l->at_work = 0;
    while (!l->stopping && !l->fresh)
        pthread_cond_wait(&l->changed, &l->mu);
    bool go = !l->stopping;
    if (go) {
        *d = l->directive;
        l->fresh = false;
        l->at_work = d->base_version;
        local_resume(l->config.local);
    }
    pthread_mutex_unlock(&l->mu);
    return go;
}

static void *work(void *arg)
{
    struct learner *l = arg;
    struct learner_directive d;

    while (take_directive(l, &d)) {
        struct status st = d.kind == LEARNER_TRAIN ? train(l, &d) : evaluate(l, &d);

        /* ST_PRECONDITION and ST_ABORTED: the run went on without us, and a newer directive is on its way. */
        if (st.code && st.code != ST_PRECONDITION && st.code != ST_ABORTED && is_wanted(l))
            log_warn("directive_failed", log_i("round", d.round), log_i("version", (int64_t)d.base_version),
                     log_s("error", st.msg));
    }
    return NULL;
}

/* What is at work is not wanted any more. */
static void abandon_locked(struct learner *l)
{
    local_abandon(l->config.local);
    if (l->visitor)
        local_abandon(l->visitor);
    pthread_cond_broadcast(&l->changed);
}

struct learner *learner_start(const struct learner_config *config)
{
    struct learner *l = xcalloc(1, sizeof *l);

    l->config = *config;
    l->n_params = nn_n_params(config->shape);
    l->params = xaligned(l->n_params, sizeof *l->params);
    l->update = xaligned(l->n_params, sizeof *l->update);
    pthread_mutex_init(&l->mu, NULL);
    cond_init_monotonic(&l->changed);
    l->thread = thread_start("learner", 0, work, l);
    return l;
}

void learner_stop(struct learner *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->mu);
    l->stopping = true;
    abandon_locked(l);
    pthread_mutex_unlock(&l->mu);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mu);
    free(l->params);
    free(l->update);
    free(l);
}

void learner_direct(struct learner *l, const struct learner_directive *d)
{
    pthread_mutex_lock(&l->mu);
    l->directive = *d;
    l->fresh = true;
    abandon_locked(l);
    pthread_mutex_unlock(&l->mu);
}

bool learner_take_report(struct learner *l, struct learner_report *report)
{
    pthread_mutex_lock(&l->mu);
    bool taken = l->has_report;
    if (taken)
        *report = l->report;
    l->has_report = false;
    pthread_mutex_unlock(&l->mu);
    return taken;
}

uint64_t learner_at_work(struct learner *l)
{
    pthread_mutex_lock(&l->mu);
    uint64_t version = l->at_work;
    pthread_mutex_unlock(&l->mu);
    return version;
}
