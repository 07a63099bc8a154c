/* loader.c - see loader.h. Loads wait in a list under a lock that only their askers take; models to be freed are pushed
 * on a stack without one. A semaphore counts both. */
#include "loader.h"

#include "text/text.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

struct job {
    const struct loader_source *source;
    struct served_model *out;
    struct status st;
    sem_t done;
    struct job *next;
};

struct loader {
    const char *dir;
    enum engine_kind engine;
    pthread_t thread;
    sem_t work;
    atomic_bool low, stop;
    _Atomic(struct served_model *) discarded;

    pthread_mutex_t mu; /* guards all below */
    struct job *first, **last;
};

/* ---- making a model ready ---- */

static void model_free_now(struct served_model *m)
{
    engine_free(m->engine);
    classifier_free(m->classifier);
    free(m);
}

/* One real text through the model: its memory is touched, and its probabilities have to be some. */
static struct status warm_up(struct served_model *m)
{
    static const char text[] = "第一次运行 warm up";
    const struct nn_shape *shape = &m->classifier->shape;
    float probs[NN_MAX_CLASSES], sum = 0;
    struct text_tokens tokens;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    struct status st = text_tokenise(&tokens, &arena, text, sizeof text - 1, shape->max_tokens, shape->buckets);
    if (!st.code) {
        const struct nn_example example = {tokens.ids, tokens.n_ids, tokens.ngrams, tokens.n_ngrams, 0};
        struct nn_scratch *scratch = engine_scratch_new(m->engine, 1);
        engine_run(m->engine, scratch, &example, 1, probs, NULL, NULL);
        nn_scratch_free(scratch);
        for (uint32_t i = 0; i < shape->classes; i++)
            sum += probs[i];
        if (!(fabsf(sum - 1) < 1e-3f))
            st = status_errorf(ST_DATA_LOSS, "its probabilities add up to %g", (double)sum);
    }
    arena_fini(&arena);
    return st;
}

static struct status file_load(const char *dir, const struct loader_source *source, struct model **file,
                               uint8_t digest[SHA256_SIZE])
{
    if (!source->data)
        return store_load(dir, source->task, source->version, file, digest);
    sha256(source->data, source->size, digest);
    return model_decode(file, source->data, source->size);
}

static struct status engine_make(const struct loader *l, struct served_model *m)
{
    struct engine_report report;
    struct status st = engine_new(&m->engine, m->classifier, l->engine, &report);

    if (st.code)
        return status_errorf(ST_DATA_LOSS, "%s", st.msg);
    log_info("engine", log_s("task", m->classifier->task), log_i("version", (int64_t)m->version),
             log_s("engine", engine_name(m->engine)), log_s("why", report.why), log_f("fp32_us", report.fp32_us),
             log_f("int8_us", report.int8_us));
    return st;
}

static struct status model_load(const struct loader *l, const struct loader_source *source, struct served_model **out)
{
    struct model *file = NULL;
    uint8_t digest[SHA256_SIZE];
    struct served_model *m = xcalloc(1, sizeof *m);
    struct status st = file_load(l->dir, source, &file, digest);

    m->refs = 1;
    m->version = source->version;
    if (!st.code)
        st = classifier_from_model(&m->classifier, file);
    model_free(file);
    if (!st.code && strcmp(m->classifier->task, source->task) != 0)
        st = status_errorf(ST_DATA_LOSS, "it is a model of task %s", m->classifier->task);
    if (!st.code)
        st = engine_make(l, m);
    if (!st.code) {
        hex_encode(digest, sizeof digest, m->sha256);
        st = warm_up(m);
    }
    if (st.code)
        model_free_now(m);
    else
        *out = m;
    return st;
}

/* ---- the thread ---- */

static void free_discarded(struct loader *l)
{
    struct served_model *m = atomic_exchange(&l->discarded, NULL);

    while (m) {
        struct served_model *next = m->next;
        model_free_now(m);
        m = next;
    }
}

static struct job *job_take(struct loader *l)
{
    pthread_mutex_lock(&l->mu);
    struct job *job = l->first;
    if (job && !(l->first = job->next))
        l->last = &l->first;
    pthread_mutex_unlock(&l->mu);
    return job;
}

static void *run(void *arg)
{
    struct loader *l = arg;
    bool lowered = false;

    for (;;) {
        while (sem_wait(&l->work))
            continue;
        bool stop = l->stop; /* before the look at the rest: what came earlier is done */
        if (l->low && !lowered) {
            thread_lower_priority();
            lowered = true;
        }
        free_discarded(l);
        struct job *job = job_take(l);
        if (job) {
            job->st = model_load(l, job->source, &job->out);
            sem_post(&job->done); /* job is gone */
        } else if (stop) {
            return NULL;
        }
    }
}

struct status loader_load(struct loader *l, const struct loader_source *source, struct served_model **out)
{
    struct job job = {.source = source};

    sem_init(&job.done, 0, 0);
    pthread_mutex_lock(&l->mu);
    *l->last = &job;
    l->last = &job.next;
    pthread_mutex_unlock(&l->mu);
    sem_post(&l->work);
    while (sem_wait(&job.done))
        continue;
    sem_destroy(&job.done);
    *out = job.out;
    return job.st;
}

void loader_discard(struct loader *l, struct served_model *m)
{
    m->next = l->discarded;
    while (!atomic_compare_exchange_weak(&l->discarded, &m->next, m))
        continue;
    sem_post(&l->work);
}

void loader_lower_priority(struct loader *l)
{
    l->low = true;
    sem_post(&l->work);
}

void loader_start(struct loader **out, const char *dir, enum engine_kind engine)
{
    struct loader *l = xcalloc(1, sizeof *l);

    l->dir = dir;
    l->engine = engine;
    l->last = &l->first;
    sem_init(&l->work, 0, 0);
    pthread_mutex_init(&l->mu, NULL);
    l->thread = thread_start("model-load", 0, run, l);
    *out = l;
}

void loader_stop(struct loader *l)
{
    l->stop = true;
    sem_post(&l->work);
    pthread_join(l->thread, NULL);
    free_discarded(l);
    sem_destroy(&l->work);
    pthread_mutex_destroy(&l->mu);
    free(l);
}
