/* shadow.c - see shadow.h. Jobs are pushed on a stack without a lock, so that no call waits for a thread that rarely
 * runs. */
#include "shadow.h"

#include "metrics/metrics.h"
#include "text/text.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 16
#define ARENA ((size_t)16 << 20) /* the tokens of BATCH of the longest texts */

/* The texts of a call, in one block. */
struct job {
    struct job *next;
    struct served_model *production, *candidate;
    double threshold;
    size_t n, bytes;
    const float *probs; /* (n,C), of production */
    const char *texts;  /* one after the other, each with its NUL */
};

struct shadow {
    void (*compared)(struct served_model *candidate, const struct served_comparison *c);
    struct metric *texts;
    pthread_t thread;
    sem_t work;
    atomic_bool stop;
    atomic_size_t waiting; /* bytes of jobs offered and not yet done */
    _Atomic(struct job *) offered;
};

/* ---- from a call ---- */

/* NULL: it would not fit. */
static struct job *job_new(struct shadow *sh, struct served_model *m, char *const *texts, size_t n, const float *probs)
{
    size_t probs_size = n * m->classifier->shape.classes * sizeof *probs, size = sizeof(struct job) + probs_size;

    for (size_t i = 0; i < n; i++)
        size += strlen(texts[i]) + 1;
    if (atomic_fetch_add(&sh->waiting, size) + size > SHADOW_MAX_BYTES) {
        atomic_fetch_sub(&sh->waiting, size);
        return NULL;
    }
    struct job *job = xmalloc(size);
    char *at = (char *)(job + 1);
    *job = (struct job){.production = m, .n = n, .bytes = size, .probs = (float *)at, .texts = at + probs_size};
    memcpy(at, probs, probs_size);
    at += probs_size;
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, texts[i]) + 1;
    return job;
}

static void job_free(struct shadow *sh, struct job *job)
{
    served_release(job->candidate);
    served_release(job->production);
    atomic_fetch_sub(&sh->waiting, job->bytes);
    free(job);
}

void shadow_offer(struct shadow *sh, struct served_model *production, struct served_model *candidate,
                  char *const *texts, size_t n, const float *probs)
{
    struct job *job = job_new(sh, production, texts, n, probs);

    if (!job) {
        metric_add(sh->texts, (double)n, production->classifier->task, "dropped");
        served_release(candidate);
        return;
    }
    served_hold(production);
    job->candidate = candidate;
    job->threshold = served_parameters(production).threshold;
    job->next = sh->offered;
    while (!atomic_compare_exchange_weak(&sh->offered, &job->next, job))
        continue;
    sem_post(&sh->work);
}

/* ---- on the thread ---- */

/* Answers of both compared; the labels of two versions need not be the same ones. */
static void text_compare(const struct job *job, size_t i, const float *probs, struct served_comparison *sum)
{
    const struct classifier *p = job->production->classifier, *c = job->candidate->classifier;
    const float *others = job->probs + i * p->shape.classes;
    float prob;

    sum->texts++;
    if (served_check(job->candidate, probs, 1).code) {
        sum->failed++;
        return;
    }
    const char *label = c->labels[classifier_label(c, probs, job->threshold, &prob)];
    const char *other = p->labels[classifier_label(p, others, job->threshold, &prob)];
    sum->agreed += strcmp(label, other) == 0;
    for (uint32_t k = 0; k < c->shape.classes && k < p->shape.classes; k++)
        if (strcmp(c->labels[k], p->labels[k]) == 0)
            sum->largest_difference = fmax(sum->largest_difference, fabs((double)probs[k] - (double)others[k]));
}

/* Texts first to first + n - 1, at *text, which is moved behind them. */
static void batch_run(const struct job *job, struct nn_scratch *scratch, size_t first, size_t n, const char **text,
                      struct served_comparison *sum)
{
    const struct nn_shape *shape = &job->candidate->classifier->shape;
    struct nn_example examples[BATCH];
    float probs[BATCH * NN_MAX_CLASSES];
    struct arena arena;
    struct status st = status_ok();

    arena_init(&arena, ARENA);
    for (size_t i = 0; i < n; i++) {
        struct text_tokens t;
        size_t size = strlen(*text);
        if (!st.code)
            st = text_tokenise(&t, &arena, *text, size, shape->max_tokens, shape->buckets);
        if (!st.code)
            examples[i] = (struct nn_example){t.ids, t.n_ids, t.ngrams, t.n_ngrams, 0};
        *text += size + 1;
    }
    if (!st.code) {
        engine_run(job->candidate->engine, scratch, examples, (uint32_t)n, probs, NULL, NULL);
        for (size_t i = 0; i < n; i++)
            text_compare(job, first + i, probs + i * shape->classes, sum);
    }
    arena_fini(&arena);
}

static void job_run(struct shadow *sh, const struct job *job)
{
    const char *text = job->texts, *task = job->candidate->classifier->task;
    struct nn_scratch *scratch = engine_scratch_new(job->candidate->engine, BATCH);
    struct served_comparison sum = {0};

    for (size_t i = 0; i < job->n && !sh->stop; i += BATCH)
        batch_run(job, scratch, i, job->n - i < BATCH ? job->n - i : BATCH, &text, &sum);
    nn_scratch_free(scratch);
    sh->compared(job->candidate, &sum);
    metric_add(sh->texts, (double)sum.agreed, task, "agreed");
    metric_add(sh->texts, (double)(sum.texts - sum.agreed - sum.failed), task, "differed");
    metric_add(sh->texts, (double)sum.failed, task, "failed");
}

static void *run(void *arg)
{
    struct shadow *sh = arg;

    thread_lower_priority();
    do {
        struct job *job = atomic_exchange(&sh->offered, NULL), *next;
        for (; job; job = next) {
            next = job->next;
            if (!sh->stop)
                job_run(sh, job);
            job_free(sh, job);
        }
        while (sem_wait(&sh->work))
            continue;
    } while (!sh->stop || sh->offered);
    return NULL;
}

void shadow_start(struct shadow **out,
                  void (*compared)(struct served_model *candidate, const struct served_comparison *c))
{
    struct shadow *sh = xcalloc(1, sizeof *sh);

    sh->compared = compared;
    sh->texts = metric_counter("bloginfer_shadow_texts_total",
                               "Texts that the candidate classified for comparison with production.", "task,result");
    sem_init(&sh->work, 0, 0);
    sh->thread = thread_start("shadow", 0, run, sh);
    *out = sh;
}

void shadow_stop(struct shadow *sh)
{
    if (!sh)
        return;
    sh->stop = true;
    sem_post(&sh->work);
    pthread_join(sh->thread, NULL);
    sem_destroy(&sh->work);
    free(sh);
}
