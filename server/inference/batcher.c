/* batcher.c - see batcher.h. One lock over everything that waits; under it a pass is put together in the time of a few
 * hundred instructions, computing and answering happen outside. The compute threads are SCHED_BATCH: on a busy core
 * a wake-up does not take the CPU from the thread that is reading requests, so that what has arrived together is
 * computed together and a thread change is paid once for a pass. */
#include "batcher.h"

#include "batch_metrics.h"
#include "lane.h"
#include "text/text.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS     64
#define DEFAULT_THREADS 2 /* at most, when the CPUs decide */
#define DEFAULT_TEXTS   8192
#define DEFAULT_BYTES   (INT64_C(64) << 20)
#define MAX_LINES       32 /* model versions with waiting texts */
#define MAX_SCRATCHES   8  /* shapes that a thread keeps memory for */
#define AT_ONCE         INT64_MIN
#define MAX_BULK_BATCH  16 /* rows of a bulk pass: as long as it runs, online texts wait */

/* What waits for one version. */
struct line {
    struct served_model *model; /* identity alone while nothing waits */
    struct batch_metrics *metrics;
    struct lane lane;
    uint32_t max_batch;
    int64_t max_delay;
    size_t n_running; /* passes */
    bool loaded;      /* see batcher.h: max_queue_delay_us */
};

struct batcher {
    size_t max_texts, max_bytes; /* these and the threads are set at birth */
    int n_threads;
    pthread_t threads[MAX_THREADS];
    atomic_int n_computing; /* threads in a forward pass, not those that answer */
    _Atomic int64_t due;    /* for batcher_due() */

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t wake;
    struct line lines[MAX_LINES];
    size_t n_lines;
    size_t n_texts, n_bytes; /* waiting */
    int n_idle, n_woken;     /* threads that sleep; of them, those that have been told not to */
    bool stop;
    struct batch_metrics metrics[STORE_MAX_TASKS];
    size_t n_metrics;
    struct pass *visitor; /* of the poller that is in batcher_run(); NULL: it is there now */
};

/* The batcher whose passes this thread runs by batcher_run(). */
static _Thread_local const struct batcher *visits;

/* A thread's own: the pass that it runs, and memory for the shapes that it has met. */
struct pass {
    struct line *line;
    struct served_model *model;
    struct batch_metrics *metrics;
    size_t n;
    struct batcher_row *rows[BATCHER_MAX_BATCH];
    struct nn_example examples[BATCHER_MAX_BATCH];
    float probs[BATCHER_MAX_BATCH * NN_MAX_CLASSES];
    struct batcher_job *over; /* jobs that ended on the way to it */
    size_t live;              /* the row that somebody waited for when last asked */
    uint64_t number;
    struct scratch {
        struct nn_shape shape;
        struct nn_scratch *memory;
        uint64_t used; /* number of the last pass */
    } scratches[MAX_SCRATCHES];
};

/* ---- jobs ---- */

struct status batcher_job_init(struct batcher_job *job, struct arena *arena, struct served_model *model, size_t n)
{
    const struct model_parameters limits = served_parameters(model);

    *job = (struct batcher_job){.model = model,
                                .n_rows = n,
                                .deadline = CLOCK_NEVER,
                                .max_batch = limits.max_batch,
                                .max_queue_delay_us = limits.max_queue_delay_us};
    job->rows = arena_zalloc(arena, n, sizeof *job->rows);
    job->probs = arena_zalloc(arena, n, model->classifier->shape.classes * sizeof *job->probs);
    if (!job->rows || !job->probs)
        return status_errorf(ST_EXHAUSTED, "the texts are too many for one call: send fewer at a time");
    return status_ok();
}

struct status batcher_job_text(struct batcher_job *job, struct arena *arena, size_t i, const char *text, size_t size)
{
    const struct nn_shape *s = &job->model->classifier->shape;
    struct text_tokens t;
    struct status st = text_tokenise(&t, arena, text, size, s->max_tokens, s->buckets);

    if (!st.code)
        job->rows[i].example = (struct nn_example){t.ids, t.n_ids, t.ngrams, t.n_ngrams, 0};
    job->size_bytes = arena->used;
    return st;
}

static enum code fate(const struct batcher_job *job, int64_t now)
{
    if (job->deadline <= now)
        return ST_DEADLINE;
    return job->cancelled && job->cancelled(job->ctx) ? ST_CANCELLED : ST_OK;
}

static void done(struct batcher_job *job)
{
    int code = atomic_load(&job->dropped);

    if (code == ST_DEADLINE)
        job->done(job, status_errorf(ST_DEADLINE, "the deadline was over before the texts were through"));
    else if (code)
        job->done(job, status_errorf(ST_CANCELLED, "the call is over"));
    else
        job->done(job, status_ok());
}

/* n of its rows are through; true for whoever has the last. */
static bool less(struct batcher_job *job, size_t n)
{
    return atomic_fetch_sub(&job->n_left, n) == n;
}

static void mark_dropped(struct batcher_job *job, struct batch_metrics *m, enum code code, size_t n)
{
    int none = ST_OK;

    atomic_compare_exchange_strong(&job->dropped, &none, (int)code);
    series_add(m->drops[code == ST_DEADLINE ? DROP_DEADLINE : DROP_CANCELLED], (double)n);
}

/* ---- which texts are next ---- */

static struct batch_metrics *metrics_of_locked(struct batcher *b, const char *task)
{
    size_t i = 0;

    while (i < b->n_metrics && strcmp(b->metrics[i].task, task) != 0)
        i++;
    if (i == COUNT_OF(b->metrics))
        return NULL;
    if (i == b->n_metrics)
        batch_metrics_init(&b->metrics[b->n_metrics++], task);
    return &b->metrics[i];
}

/* The version's line, a spare one where it has none; NULL: too many versions or tasks. */
static struct line *line_of_locked(struct batcher *b, struct served_model *model)
{
    struct batch_metrics *m = metrics_of_locked(b, model->classifier->task);
    struct line *spare = NULL;

    for (size_t i = 0; i < b->n_lines; i++) {
        struct line *l = &b->lines[i];
        if (l->model == model && l->metrics == m) /* not a new model where a freed one was */
            return l;
        if (!l->lane.n_rows && !l->n_running)
            spare = l;
    }
    if (!spare && b->n_lines < MAX_LINES)
        spare = &b->lines[b->n_lines++];
    if (!spare || !m)
        return NULL;
    spare->model = model;
    spare->metrics = m;
    spare->loaded = false;
    lane_init(&spare->lane);
    return spare;
}

/* When the level's oldest text came, as far as its turn goes; CLOCK_NEVER: none waits. */
static int64_t rank(const struct line *l, enum batcher_level level)
{
    const struct batcher_row *row = lane_oldest(&l->lane, level);

    if (!row)
        return CLOCK_NEVER;
    return row->job->arrival + (level == BATCHER_BULK ? BATCHER_AGE_MS * CLOCK_MS : 0);
}

/* From when on the line's texts may go, and why then: AT_ONCE when they are a full pass, a past time when only who has
 * nothing else to do should take them. */
static int64_t release_at(const struct line *l, enum release *why)
{
    const struct batcher_row *online = lane_oldest(&l->lane, BATCHER_ONLINE);
    bool full = l->lane.queues[BATCHER_ONLINE].n_rows >= l->max_batch;

    *why = full ? RELEASE_FULL : online && l->loaded && l->max_delay ? RELEASE_DELAY : RELEASE_IDLE;
    return full ? AT_ONCE : *why == RELEASE_DELAY ? online->job->arrival + l->max_delay : 0;
}

static void due_update_locked(struct batcher *b)
{
    int64_t due = CLOCK_NEVER;

    for (size_t i = 0; b->n_texts && i < b->n_lines; i++) {
        enum release why;
        int64_t at = b->lines[i].lane.n_rows ? release_at(&b->lines[i], &why) : CLOCK_NEVER;
        due = at < due ? at : due;
    }
    atomic_store_explicit(&b->due, due, memory_order_relaxed);
}

struct choice {
    struct line *line; /* NULL: none may go yet */
    enum batcher_level level;
    enum release why;
    int64_t until; /* when one may that is not the chosen */
};

static struct choice choose_locked(struct batcher *b, int64_t now)
{
    struct choice c = {.until = CLOCK_NEVER};
    int64_t oldest = CLOCK_NEVER;

    for (size_t i = 0; i < b->n_lines; i++) {
        struct line *l = &b->lines[i];
        enum release why = RELEASE_IDLE;
        int64_t at = l->lane.n_rows ? release_at(l, &why) : CLOCK_NEVER;
        if (at > now && !(b->stop && l->lane.n_rows)) {
            c.until = at < c.until ? at : c.until;
            continue;
        }
        for (enum batcher_level level = BATCHER_ONLINE; level < BATCHER_N_LEVELS; level++)
            if (rank(l, level) < oldest) {
                oldest = rank(l, level);
                c.line = l;
                c.level = level;
                c.why = why;
            }
    }
    return c;
}

/* ---- putting a pass together ---- */

static void left_queue_locked(struct batcher *b, struct batcher_job *job, size_t n)
{
    b->n_texts -= n;
    job->n_waiting -= n;
    if (n && !job->n_waiting)
        b->n_bytes -= job->size_bytes;
}

/* A row in hand of a job that nobody waits for; takes the rest of it along. */
static void drop_locked(struct batcher *b, struct pass *p, struct batcher_job *job, enum code code)
{
    size_t waiting = job->n_waiting ? lane_remove(&p->line->lane, job) : 0;

    left_queue_locked(b, job, waiting);
    series_add(p->metrics->depth, -(double)waiting);
    mark_dropped(job, p->metrics, code, waiting + 1);
    if (less(job, waiting + 1)) {
        job->next = p->over;
        p->over = job;
    }
}

/* Of n rows just taken keeps those that somebody waits for. */
static void keep_locked(struct batcher *b, struct pass *p, struct batcher_row *const *rows, size_t n, int64_t now)
{
    const struct batcher_job *last = NULL;
    enum code code = ST_OK;

    for (size_t i = 0; i < n; i++) {
        struct batcher_job *job = rows[i]->job;
        if (i == 0 || job != last) {
            code = (enum code)atomic_load(&job->dropped);
            code = code ? code : fate(job, now);
            if (!code && job->n_waiting == job->n_rows)
                series_observe(p->metrics->wait, (double)(now - job->arrival) / 1e9);
        }
        last = job;
        left_queue_locked(b, job, 1);
        if (code)
            drop_locked(b, p, job, code);
        else
            p->rows[p->n++] = rows[i];
    }
}

/* Fills p->rows with texts of the choice, and p->over with jobs that are to be told. */
static void fill_locked(struct batcher *b, struct pass *p, const struct choice *c, int64_t now)
{
    struct line *l = c->line;
    size_t bucket = lane_bucket(lane_oldest(&l->lane, c->level)), n;
    size_t most = c->level == BATCHER_BULK && l->max_batch > MAX_BULK_BATCH ? MAX_BULK_BATCH : l->max_batch;
    struct batcher_row *taken[BATCHER_MAX_BATCH];

    p->line = l;
    p->model = l->model;
    p->metrics = l->metrics;
    p->n = 0;
    p->over = NULL;
    while (p->n < most && (n = lane_take(&l->lane, c->level, bucket, most - p->n, taken))) {
        series_add(p->metrics->depth, -(double)n);
        keep_locked(b, p, taken, n, now);
    }
    l->loaded = l->lane.n_rows || (p->n && p->rows[0]->job != p->rows[p->n - 1]->job);
    l->n_running++;
}

/* ---- running it ---- */

static struct nn_scratch *scratch_of(struct pass *p)
{
    const struct nn_shape *shape = engine_shape(p->model->engine);
    struct scratch *oldest = &p->scratches[0], *s;

    for (s = p->scratches; s < p->scratches + MAX_SCRATCHES; s++) {
        if (s->memory && memcmp(&s->shape, shape, sizeof *shape) == 0)
            break;
        if (s->used < oldest->used)
            oldest = s;
    }
    if (s == p->scratches + MAX_SCRATCHES) {
        s = oldest;
        nn_scratch_free(s->memory);
        s->shape = *shape;
        s->memory = engine_scratch_new(p->model->engine, BATCHER_MAX_BATCH);
    }
    s->used = ++p->number;
    return s->memory;
}

/* Between two steps of the engine: goes round the rows, and stays where somebody waits. */
static bool nobody_waits(void *arg)
{
    struct pass *p = arg;
    int64_t now = clock_now();

    for (size_t i = 0; i < p->n; i++, p->live = (p->live + 1) % p->n)
        if (!fate(p->rows[p->live]->job, now))
            return false;
    return true;
}

static void compute(struct pass *p)
{
    size_t C = p->model->classifier->shape.classes;
    int64_t start = clock_now();

    for (size_t i = 0; i < p->n; i++)
        p->examples[i] = p->rows[i]->example;
    p->live = 0;
    if (!engine_run(p->model->engine, scratch_of(p), p->examples, (uint32_t)p->n, p->probs, nobody_waits, p)) {
        for (size_t i = 0; i < p->n; i++)
            mark_dropped(p->rows[i]->job, p->metrics,
                         p->rows[i]->job->deadline <= clock_now() ? ST_DEADLINE : ST_CANCELLED, 1);
        return;
    }
    series_observe(p->metrics->texts, (double)p->n);
    series_observe(p->metrics->duration, clock_seconds(start));
    for (size_t i = 0; i < p->n; i++) {
        struct batcher_job *job = p->rows[i]->job;
        memcpy(job->probs + (size_t)(p->rows[i] - job->rows) * C, p->probs + i * C, C * sizeof *p->probs);
    }
}

/* Tells the jobs that have no row left. */
static void finish(struct pass *p)
{
    while (p->over) {
        struct batcher_job *job = p->over;
        p->over = job->next;
        done(job);
    }
    for (size_t i = 0, n; i < p->n; i += n) {
        struct batcher_job *job = p->rows[i]->job;
        for (n = 1; i + n < p->n && p->rows[i + n]->job == job; n++)
            continue;
        if (less(job, n))
            done(job);
    }
}

static void wake_one_locked(struct batcher *b)
{
    if (visits != b && b->n_idle > b->n_woken) {
        b->n_woken++;
        pthread_cond_signal(&b->wake);
    }
}

static void run_locked(struct batcher *b, struct pass *p, const struct choice *c, int64_t now)
{
    fill_locked(b, p, c, now);
    due_update_locked(b);
    if (p->n) {
        series_add(p->metrics->releases[c->why], 1);
        atomic_fetch_add(&b->n_computing, 1);
    }
    if (b->n_texts)
        wake_one_locked(b);
    pthread_mutex_unlock(&b->mu);
    if (p->n) {
        compute(p);
        atomic_fetch_sub(&b->n_computing, 1);
    }
    finish(p);
    pthread_mutex_lock(&b->mu);
    p->line->n_running--;
}

static void sleep_locked(struct batcher *b, int64_t until)
{
    struct timespec ts = clock_timespec(until);

    b->n_idle++;
    if (until == CLOCK_NEVER)
        pthread_cond_wait(&b->wake, &b->mu);
    else
        pthread_cond_timedwait(&b->wake, &b->mu, &ts);
    b->n_idle--;
    if (b->n_woken)
        b->n_woken--;
}

static void pass_free(struct pass *p)
{
    for (size_t i = 0; i < MAX_SCRATCHES; i++)
        nn_scratch_free(p->scratches[i].memory);
    free(p);
}

static void *work(void *arg)
{
    const struct sched_param none = {0};
    struct batcher *b = arg;
    struct pass *p = xcalloc(1, sizeof *p);

    if (sched_getscheduler(0) == SCHED_OTHER)
        sched_setscheduler(0, SCHED_BATCH, &none); /* a refusal costs speed alone */
    pthread_mutex_lock(&b->mu);
    for (;;) {
        int64_t now = clock_now();
        struct choice c = choose_locked(b, now);
        if (c.line)
            run_locked(b, p, &c, now);
        else if (b->stop)
            break;
        else
            sleep_locked(b, c.until);
    }
    pthread_mutex_unlock(&b->mu);
    pass_free(p);
    return NULL;
}

/* ---- on a poller ---- */

int64_t batcher_due(void *batcher)
{
    struct batcher *b = batcher;

    visits = b;
    return atomic_load_explicit(&b->due, memory_order_relaxed);
}

void batcher_run(void *batcher)
{
    struct batcher *b = batcher;
    int64_t now = clock_now();

    pthread_mutex_lock(&b->mu);
    struct choice c = choose_locked(b, now);
    struct pass *p = b->visitor;
    if (c.line && p) {
        b->visitor = NULL;
        run_locked(b, p, &c, now);
        b->visitor = p;
    }
    pthread_mutex_unlock(&b->mu);
}

/* ---- what callers see ---- */

/* Why the job cannot be taken; *line is where it goes. */
static struct status admit_locked(struct batcher *b, const struct batcher_job *job, struct line **line)
{
    *line = NULL;
    if (job->n_rows > b->max_texts - b->n_texts)
        return status_errorf(ST_EXHAUSTED, "%zu texts wait already, try again later", b->n_texts);
    if (job->size_bytes > b->max_bytes - b->n_bytes)
        return status_errorf(ST_EXHAUSTED, "texts of %zu bytes wait already, try again later", b->n_bytes);
    *line = line_of_locked(b, job->model);
    return *line ? status_ok() : status_errorf(ST_EXHAUSTED, "texts wait for %d models already", MAX_LINES);
}

static void take_locked(struct batcher *b, struct line *l, struct batcher_job *job)
{
    l->max_batch = job->max_batch < 1 ? 1 : job->max_batch > BATCHER_MAX_BATCH ? BATCHER_MAX_BATCH : job->max_batch;
    l->max_delay = job->max_queue_delay_us * INT64_C(1000);
    b->n_texts += job->n_rows;
    b->n_bytes += job->size_bytes;
    bool first = !l->lane.n_rows;
    lane_add(&l->lane, job);
    due_update_locked(b);
    if (atomic_load(&b->n_computing) == b->n_threads)
        l->loaded = true;
    /* While a delay runs, somebody sleeps with its end in view: only a full pass is news. */
    if (first || !l->loaded || !l->max_delay || l->lane.n_rows >= l->max_batch)
        wake_one_locked(b);
}

struct status batcher_submit(struct batcher *b, struct batcher_job *job)
{
    struct line *l;

    job->arrival = clock_now();
    job->n_waiting = job->n_rows;
    job->n_left = job->n_rows;
    job->dropped = ST_OK;
    pthread_mutex_lock(&b->mu);
    struct status st = admit_locked(b, job, &l);
    struct batch_metrics *m = metrics_of_locked(b, job->model->classifier->task);
    if (!st.code) {
        series_add(m->depth, (double)job->n_rows);
        take_locked(b, l, job);
    }
    pthread_mutex_unlock(&b->mu);
    if (st.code && m)
        series_add(m->drops[DROP_FULL], (double)job->n_rows);
    return st;
}

void batcher_start(struct batcher **out, const struct batcher_config *config)
{
    struct batcher *b = xcalloc(1, sizeof *b);
    int cpus = cpus_allowed(), preset = cpus < DEFAULT_THREADS ? cpus : DEFAULT_THREADS;

    b->max_texts = (size_t)(config->queue_texts > 0 ? config->queue_texts : DEFAULT_TEXTS);
    b->max_bytes = (size_t)(config->queue_bytes > 0 ? config->queue_bytes : DEFAULT_BYTES);
    b->n_threads = config->threads <= 0 ? preset : config->threads > MAX_THREADS ? MAX_THREADS : (int)config->threads;
    pthread_mutex_init(&b->mu, NULL);
    cond_init_monotonic(&b->wake);
    b->due = CLOCK_NEVER;
    b->visitor = xcalloc(1, sizeof *b->visitor);
    for (int i = 0; i < b->n_threads; i++)
        b->threads[i] = thread_start("batch", 0, work, b);
    *out = b;
}

void batcher_stop(struct batcher *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->mu);
    b->stop = true;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->mu);
    for (int i = 0; i < b->n_threads; i++)
        pthread_join(b->threads[i], NULL);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->mu);
    pass_free(b->visitor);
    free(b);
}
