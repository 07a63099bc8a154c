/* answering.c - see answering.h. No thread waits for another on behalf of one call. */
#include "answering.h"

#include "metrics/metrics.h"

struct status answering_no_room(void)
{
    return status_errorf(ST_EXHAUSTED, "the texts are too many for one call: send fewer at a time");
}

static bool cancelled(void *arg)
{
    struct answering *a = arg;

    return rpc_cancelled(a->call);
}

static void done(struct batcher_job *job, struct status st);

/* OK: the call may be gone when this returns. */
static struct status submit(struct answering *a, struct served_model *m)
{
    struct status st = a->kind->fill(a, m);

    a->job.cancelled = cancelled;
    a->job.done = done;
    a->job.ctx = a;
    return st.code ? st : batcher_submit(a->batcher, &a->job);
}

/* The candidate has failed, not the call: production is asked for the answer. False: there is none but this. */
static bool stand_in(struct answering *a)
{
    struct served_model *m = a->stood_in ? NULL : served_stand_in(a->job.model, &a->query);

    if (!m)
        return false;
    a->stood_in = true;
    a->started = clock_now();
    struct status st = submit(a, m);
    if (st.code)
        served_release(m);
    return !st.code;
}

/* The model goes last: the answer borrows its names until it is packed. */
static void done(struct batcher_job *job, struct status st)
{
    struct answering *a = job->ctx;
    struct served_model *m = job->model;

    if (!st.code)
        st = served_check(m, job->probs, job->n_rows);
    if (!st.code)
        st = a->kind->answer(a);
    served_observe(m, &a->query, st.code, clock_seconds(a->started));
    if (st.code == ST_INTERNAL && stand_in(a)) {
        served_release(m);
        return;
    }
    if (!st.code) {
        a->kind->shadow(a);
        metric_add(a->texts, (double)job->n_rows, m->classifier->task);
    }
    rpc_answer(a->call, st);
    served_release(m);
}

struct status answering_submit(struct answering *a, struct served_model *m)
{
    a->stood_in = false;
    struct status st = submit(a, m);
    if (st.code) {
        served_observe(m, &a->query, st.code, clock_seconds(a->started));
        served_release(m);
    }
    return st;
}
