/* batcher_bench.c - what the inference service's batcher costs: texts a second of 25 characters through it, from 1 and 64
 * callers that send one text each and the next when it is answered, without RPC; beside it the engine alone at batches
 * of 1 and 32 on the same texts, and the tokeniser. One thread computes.
 *
 *     batcher_bench [SECONDS a measurement, default 2] */
#include "server/inference/batcher.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CALLERS 64
#define LENGTH  25

static const char *const phrases[] = {"房间很干净，",   "服务态度一般，", "早餐只有三样，", "下次还会再来，",
                                      "书的内容不错，", "快递太慢了，",   "屏幕有坏点，",   "客服不理人，",
                                      "性价比很高，",   "不值这个价，"};

struct caller {
    struct batcher_job job;
    struct arena arena;
    struct bench *bench;
};

struct bench {
    struct served *served;
    struct served_model *model;
    struct batcher *batcher;
    struct caller callers[CALLERS];
    atomic_long n_answers;
    atomic_int n_running;
    int64_t until;
};

/* LENGTH characters, others for each seed; text has 4 * LENGTH bytes. */
static size_t make_text(struct rng *rng, char *text)
{
    uint32_t points[64];
    size_t size = 0, n = 0;

    *text = '\0';
    while (n < LENGTH) {
        const char *phrase = phrases[rng_below(rng, COUNT_OF(phrases))];
        size_t k = text_decode(phrase, strlen(phrase), points);
        for (const char *p = phrase; k && n < LENGTH; k--, n++) {
            size_t len = 1;
            while (((unsigned char)p[len] & 0xc0) == 0x80)
                len++;
            memcpy(text + size, p, len);
            size += len;
            p += len;
        }
    }
    return size;
}

/* ---- a model in a store of its own ---- */

static void publish(const char *dir)
{
    struct classifier *c;
    char *data;
    size_t size;
    uint64_t version;

    or_die(classifier_new(&c, "sentiment", classifier_task_labels("sentiment"), nn_shape_preset(NN_LSTM)));
    nn_init(c->params, &c->shape, 1);
    struct model *m = classifier_to_model(c);
    or_die(model_encode(m, &data, &size));
    const struct store_file file = {STORE_MODEL_FILE, data, size};
    or_die(store_publish(dir, "sentiment", &file, 1, &version));
    or_die(store_set_pointer(dir, "sentiment", STORE_PRODUCTION, version));
    free(data);
    model_free(m);
    classifier_free(c);
}

/* ---- measurements ---- */

/* The process's CPU time says more than the clock where others use the machine, too. */
struct watch {
    int64_t began;
    clock_t cpu;
};

static struct watch watch_start(void)
{
    return (struct watch){clock_now(), clock()};
}

static void report(const char *what, long n, const struct watch *w)
{
    double seconds = clock_seconds(w->began), cpu = (double)(clock() - w->cpu) / CLOCKS_PER_SEC;

    printf("%-36s %10.0f texts/s %8.2f us of CPU a text\n", what, (double)n / seconds, 1e6 * cpu / (double)n);
}

static void measure_tokeniser(const struct bench *b, double seconds)
{
    struct caller c = {.bench = NULL};
    struct rng rng;
    char text[4 * LENGTH];
    long n = 0;

    rng_init(&rng, 3);
    arena_init(&c.arena, 1 << 20);
    size_t size = make_text(&rng, text);
    struct watch w = watch_start();
    for (; clock_seconds(w.began) < seconds; n++) {
        arena_reset(&c.arena);
        or_die(batcher_job_init(&c.job, &c.arena, b->model, 1));
        or_die(batcher_job_text(&c.job, &c.arena, 0, text, size));
    }
    report("tokeniser and job", n, &w);
    arena_fini(&c.arena);
}

static void measure_engine(const struct bench *b, uint32_t batch, double seconds)
{
    struct nn_scratch *scratch = engine_scratch_new(b->model->engine, batch);
    struct nn_example examples[CALLERS];
    float probs[CALLERS * NN_MAX_CLASSES];
    char what[64];
    long n = 0;

    for (uint32_t i = 0; i < CALLERS; i++)
        examples[i] = b->callers[i].job.rows[0].example;
    struct watch w = watch_start();
    for (; clock_seconds(w.began) < seconds; n += batch)
        engine_run(b->model->engine, scratch, examples + (size_t)n % CALLERS, batch, probs, NULL, NULL);
    snprintf(what, sizeof what, "engine alone (%s), batch %u", engine_name(b->model->engine), batch);
    report(what, n, &w);
    nn_scratch_free(scratch);
}

static void answered(struct batcher_job *job, struct status st)
{
    struct bench *b = ((struct caller *)job->ctx)->bench;

    or_die(st);
    atomic_fetch_add(&b->n_answers, 1);
    if (clock_now() < b->until)
        or_die(batcher_submit(b->batcher, job));
    else
        atomic_fetch_sub(&b->n_running, 1);
}

static void measure_batcher(struct bench *b, int n_callers, double seconds)
{
    struct watch w = watch_start();
    char what[64];

    b->n_answers = 0;
    b->n_running = n_callers;
    b->until = w.began + (int64_t)(seconds * CLOCK_SECOND);
    for (int i = 0; i < n_callers; i++)
        or_die(batcher_submit(b->batcher, &b->callers[i].job));
    while (b->n_running)
        clock_sleep_ms(1);
    snprintf(what, sizeof what, "batcher, %d callers", n_callers);
    report(what, b->n_answers, &w);
}

static void callers_init(struct bench *b)
{
    struct rng rng;
    char text[4 * LENGTH];

    rng_init(&rng, 5);
    for (size_t i = 0; i < CALLERS; i++) {
        struct caller *c = &b->callers[i];
        arena_init(&c->arena, 1 << 20);
        or_die(batcher_job_init(&c->job, &c->arena, b->model, 1));
        or_die(batcher_job_text(&c->job, &c->arena, 0, text, make_text(&rng, text)));
        c->job.done = answered;
        c->job.ctx = c;
        c->bench = b;
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    char dir[] = "/tmp/batcher_bench.XXXXXX";
    struct bench *b = xcalloc(1, sizeof *b);

    nn_setup_blas(argv);
    or_die(log_init("batcher_bench", "error"));
    if (!mkdtemp(dir))
        or_die(status_errno("%s", dir));
    publish(dir);
    served_start(&b->served, &(struct served_config){.dir = dir, .poll_ms = 1000});
    or_die(served_acquire(b->served, &(struct served_query){.task = "sentiment"}, &b->model));
    batcher_start(&b->batcher, &(struct batcher_config){.threads = 1});
    callers_init(b);
    measure_tokeniser(b, seconds / 4);
    measure_engine(b, 1, seconds);
    measure_engine(b, 32, seconds);
    measure_batcher(b, 1, seconds);
    measure_batcher(b, CALLERS, seconds);
    batcher_stop(b->batcher);
    served_release(b->model);
    served_stop(b->served);
    or_die(fs_remove_tree(dir));
    for (size_t i = 0; i < CALLERS; i++)
        arena_fini(&b->callers[i].arena);
    free(b);
    return 0;
}
