/* queue.c - see queue.h. The worker threads are SCHED_BATCH: on a busy core the threads that read requests and send answers
 * go first, which costs a forward pass little and lets clients send their next picture meanwhile. */
#include "queue.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define MIN_QUEUE_BYTES (INT64_C(16) << 20)
#define MIN_RETRY_MS    10
#define MAX_RETRY_MS    10000

enum drop { DROP_DEADLINE, DROP_CANCELLED, DROP_WAIT, DROP_FULL, N_DROPS };

struct worker {
    struct queue *queue;
    size_t index;
    pthread_t thread;
    int64_t until; /* when the picture that it has will be through, as far as one knows; 0: it is idle */
    struct detection found;
};

struct queue {
    struct queue_config config; /* these are set at birth */
    struct worker *workers;
    struct series *depth, *bytes, *drops[N_DROPS];

    pthread_mutex_t mu; /* guards all below, and the workers' until */
    pthread_cond_t wake;
    struct queue_job *first, *last;
    size_t n_images, n_bytes, n_idle;
    int64_t cost_ns; /* of all that waits */
    bool stop;
};

/* ---- the list ---- */

static void push_locked(struct queue *q, struct queue_job *job)
{
    job->next = NULL;
    job->prev = q->last;
    *(q->last ? &q->last->next : &q->first) = job;
    q->last = job;
    q->n_images++;
    q->n_bytes += job->held_bytes;
    q->cost_ns += job->cost_ns;
}

static void remove_locked(struct queue *q, struct queue_job *job)
{
    *(job->prev ? &job->prev->next : &q->first) = job->next;
    *(job->next ? &job->next->prev : &q->last) = job->prev;
    q->n_images--;
    q->n_bytes -= job->held_bytes;
    q->cost_ns -= job->cost_ns;
}

static void show_locked(struct queue *q)
{
    series_set(q->depth, (double)q->n_images);
    series_set(q->bytes, (double)q->n_bytes);
}

/* ---- the end of a job ---- */

static enum code fate(const struct queue_job *job)
{
    if (job->deadline <= clock_now())
        return ST_DEADLINE;
    return job->gone && job->gone(job->ctx) ? ST_CANCELLED : ST_OK;
}

static bool is_over(void *job)
{
    return fate(job) != ST_OK;
}

/* What the caller is told. */
static struct status verdict(struct queue *q, const struct queue_job *job, struct status st)
{
    if (st.code == ST_RANGE)
        st.code = ST_INVALID;
    if (st.code != ST_CANCELLED)
        return st;
    bool late = fate(job) == ST_DEADLINE;
    series_add(q->drops[late ? DROP_DEADLINE : DROP_CANCELLED], 1);
    if (late)
        return status_errorf(ST_DEADLINE, "the deadline was over before the picture was through");
    return st;
}

static void finish(struct queue *q, struct queue_job *job, struct status st, const struct detection *found)
{
    struct served *model = job->model;

    st = verdict(q, job, st);
    served_observe(model, found, st.code);
    job->done(job, st, found);
    served_release(model);
}

/* ---- the workers ---- */

static void compute(struct worker *w, struct queue_job *job)
{
    struct queue *q = w->queue;
    struct served *m = job->model;
    struct served_worker *own = &m->workers[w->index];
    struct stages_job stages = {job->data, job->size, job->threshold > 0 ? job->threshold : m->threshold, is_over, job};

    w->found.n_objects = 0;
    for (int i = 0; i < N_STAGES; i++)
        w->found.seconds[i] = 0;
    w->found.seconds[STAGE_QUEUE] = clock_seconds(job->arrival);
    struct status st =
        stages_run(&q->config.stages, m->model->network->cfg, own->engine, own->input, &stages, &w->found);
    finish(q, job, st, &w->found);
}

/* The next job; NULL: the queue stops. */
static struct queue_job *take_locked(struct queue *q, struct worker *w)
{
    w->until = 0;
    q->n_idle++;
    while (!q->first && !q->stop)
        pthread_cond_wait(&q->wake, &q->mu);
    q->n_idle--;
    struct queue_job *job = q->first;
    if (job) {
        remove_locked(q, job);
        w->until = clock_now() + job->cost_ns;
        show_locked(q);
    }
    return job;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct queue *q = w->queue;
    struct queue_job *job;

    pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){0});
    do {
        pthread_mutex_lock(&q->mu);
        job = take_locked(q, w);
        pthread_mutex_unlock(&q->mu);
        if (job)
            compute(w, job);
    } while (job);
    return NULL;
}

/* ---- who is let in ---- */

/* Takes what nobody waits for any more out of the queue; returns it as a list. */
static struct queue_job *sweep_locked(struct queue *q)
{
    struct queue_job *over = NULL;

    for (struct queue_job *job = q->first, *next; job; job = next) {
        next = job->next;
        if (!is_over(job))
            continue;
        remove_locked(q, job);
        job->next = over;
        over = job;
    }
    return over;
}

static void finish_all(struct queue *q, struct queue_job *over)
{
    const struct detection nothing = {.n_objects = 0};

    for (struct queue_job *next; over; over = next) {
        next = over->next;
        finish(q, over, status_errorf(ST_CANCELLED, "nobody waits for the answer any more"), &nothing);
    }
}

/* Until a worker would begin with what comes now. */
static int64_t wait_ns_locked(const struct queue *q)
{
    int64_t now = clock_now(), sum = q->cost_ns, n = 0;

    do
        sum += q->workers[n].until > now ? q->workers[n].until - now : 0;
    while (++n < (int64_t)q->config.n_workers); /* at least one */
    return sum / n;
}

static bool is_full_locked(const struct queue *q, const struct queue_job *job)
{
    if (q->n_bytes + job->held_bytes > (size_t)q->config.max_bytes && q->n_images)
        return true;
    return !q->config.experiment && q->n_images >= (size_t)q->config.max_images;
}

static int64_t retry_after(int64_t ns)
{
    int64_t ms = ns / CLOCK_MS;

    return ms < MIN_RETRY_MS ? MIN_RETRY_MS : ms > MAX_RETRY_MS ? MAX_RETRY_MS : ms;
}

static struct status admit_locked(struct queue *q, const struct queue_job *job, int64_t *retry_ms)
{
    int64_t wait = wait_ns_locked(q), through = clock_now() + wait + job->cost_ns;

    if (is_full_locked(q, job)) {
        series_add(q->drops[DROP_FULL], 1);
        *retry_ms = retry_after(wait / 2);
        return status_errorf(ST_EXHAUSTED, "%zu pictures of %zu bytes wait already, the queue is full", q->n_images,
                             q->n_bytes);
    }
    if (!q->config.experiment && through > job->deadline && q->n_idle <= q->n_images) {
        series_add(q->drops[DROP_WAIT], 1);
        *retry_ms = retry_after(through - job->deadline);
        return status_errorf(ST_EXHAUSTED, "%zu pictures wait already: this one's turn would come after its deadline",
                             q->n_images);
    }
    return status_ok();
}

static struct status check(const struct queue_job *job)
{
    if (job->threshold == 0 || (job->threshold >= 0.001f && job->threshold <= 1))
        return status_ok();
    return status_errorf(ST_INVALID, "threshold %g: 0.001 to 1, or 0 for the default, is allowed",
                         (double)job->threshold);
}

struct status queue_submit(struct queue *q, struct queue_job *job, int64_t *retry_ms)
{
    struct queue_job *over = NULL;
    struct status st = check(job);

    if (st.code)
        return st;
    job->arrival = clock_now();
    job->cost_ns = atomic_load(&job->model->mean_ns);
    if (!q->config.experiment && job->deadline > job->arrival + q->config.max_wait_ms * CLOCK_MS)
        job->deadline = job->arrival + q->config.max_wait_ms * CLOCK_MS;
    pthread_mutex_lock(&q->mu);
    if (is_full_locked(q, job))
        over = sweep_locked(q);
    st = admit_locked(q, job, retry_ms);
    if (!st.code) {
        push_locked(q, job);
        pthread_cond_signal(&q->wake);
    }
    show_locked(q);
    pthread_mutex_unlock(&q->mu);
    if (st.code)
        served_observe(job->model, NULL, st.code);
    finish_all(q, over);
    return st;
}

/* ---- start and stop ---- */

static void make_metrics(struct queue *q)
{
    static const char *const names[N_DROPS] = {"deadline", "cancelled", "wait", "full"};
    struct metric *m = metric_counter("bloginfer_detector_dropped_total",
                                      "Pictures that were not computed: deadline over, caller gone, refused for the "
                                      "expected wait, refused by a full queue.",
                                      "reason");

    q->depth = metric_series(metric_gauge("bloginfer_detector_queue_images", "Pictures that wait for a thread.", NULL));
    q->bytes = metric_series(metric_gauge("bloginfer_detector_queue_bytes", "Memory of the calls that wait.", NULL));
    for (int i = 0; i < N_DROPS; i++)
        q->drops[i] = metric_series(m, names[i]);
    metric_set(metric_gauge("bloginfer_detector_queue_limit_bytes", "Most bytes that may wait.", NULL),
               (double)q->config.max_bytes);
}

/* Half of what is left when every worker decodes the largest picture: what a call holds is not all that it costs. */
static int64_t bytes_by_memory(const struct queue_config *c)
{
    int64_t decoding = (int64_t)(c->n_workers * 3 * c->stages.max_pixels);
    int64_t left = (memory_limit() - memory_used() - decoding) / 2;

    return left > MIN_QUEUE_BYTES ? left : MIN_QUEUE_BYTES;
}

struct queue *queue_start(const struct queue_config *config)
{
    struct queue *q = xcalloc(1, sizeof *q);

    q->config = *config;
    if (!q->config.max_bytes)
        q->config.max_bytes = bytes_by_memory(config);
    pthread_mutex_init(&q->mu, NULL);
    cond_init_monotonic(&q->wake);
    make_metrics(q);
    log_info("queue", log_s("admission", config->experiment ? "experiment" : "production"),
             log_i("threads", (int64_t)config->n_workers), log_i("most_bytes", q->config.max_bytes),
             log_i("most_images", config->experiment ? 0 : config->max_images));
    q->workers = xcalloc(config->n_workers, sizeof *q->workers);
    for (size_t i = 0; i < config->n_workers; i++) {
        q->workers[i].queue = q;
        q->workers[i].index = i;
    }
    for (size_t i = 0; i < config->n_workers; i++)
        q->workers[i].thread = thread_start("detect", 0, work, &q->workers[i]);
    return q;
}

void queue_stop(struct queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->mu);
    q->stop = true;
    pthread_cond_broadcast(&q->wake);
    pthread_mutex_unlock(&q->mu);
    for (size_t i = 0; i < q->config.n_workers; i++)
        pthread_join(q->workers[i].thread, NULL);
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->mu);
    free(q->workers);
    free(q);
}
