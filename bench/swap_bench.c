/* swap_bench.c - what callers notice of models that change under load: a real inference service on one core, callers on
 * the others, at 80 % of the calls a second that it can do. Quiet stretches and stretches in which `production` moves
 * from version to version take turns, so that both see the same machine. Every answer is checked against what the
 * version on its label says of that text.
 *
 *     swap_bench [SWAPS SECONDS], default 100 swaps in 60 seconds of such stretches
 *
 * Prints failed calls, answers that do not match their label, latencies of both kinds of stretches, and the memory that
 * the swaps have cost. Exit code 1: a call failed, or an answer did not match. */
#include "bloginfer/v1/classify.pb-c.h"
#include "classifier/classifier.h"
#include "classifier/engine.h"
#include "rpc/rpc.h"
#include "text/text.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERSIONS   8
#define TEXTS      64
#define CALLERS    16
#define TOLERANCE  1e-4f /* of a probability; versions differ by over 0.02 on every text */
#define LOAD       0.8
#define STRETCHES  10
#define CAPACITY_S 4
#define AWAIT_S    20
#define SERVICE    (&bloginfer__v1__classify_service__descriptor)

enum phase { IDLE, SEARCH, QUIET, SWAPPING, OVER }; /* SEARCH: as fast as it goes */
#define N_PHASES 5

struct samples {
    float *seconds;
    size_t n, cap;
};

static struct bench {
    char dir[PATH_MAX], target[64];
    char texts[TEXTS][512];
    float expected[VERSIONS + 1][TEXTS]; /* P(second label) */
    pid_t server;
    struct rpc_client *client;
    _Atomic(enum phase) phase;
    _Atomic double gap;              /* seconds between two calls of one caller, on average */
    atomic_llong seen[VERSIONS + 1]; /* clock_now() of a call that was begun and got this version */
} bench;

struct caller {
    pthread_t thread;
    struct rng rng;
    struct samples samples[N_PHASES];
    long failed, mismatched;
    struct status failure; /* the last one */
};

/* ---- the store ---- */

static void text_make(struct rng *rng, char *text)
{
    size_t n = 10 + rng_below(rng, 60);

    for (size_t i = 0; i < n; i++)
        text += sprintf(text, "%c%c%c", 0xe4 + (int)rng_below(rng, 5), 0x80 + (int)rng_below(rng, 64),
                        0x80 + (int)rng_below(rng, 64));
}

/* What the version says of each text. */
static void expect(const struct classifier *c, uint64_t version)
{
    struct engine *e;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    or_die(engine_new(&e, c, ENGINE_FP32, NULL));
    struct nn_scratch *scratch = engine_scratch_new(e, 1);
    for (size_t i = 0; i < TEXTS; i++) {
        struct text_tokens t;
        float probs[2];
        or_die(
            text_tokenise(&t, &arena, bench.texts[i], strlen(bench.texts[i]), c->shape.max_tokens, c->shape.buckets));
        const struct nn_example example = {t.ids, t.n_ids, t.ngrams, t.n_ngrams, 0};
        engine_run(e, scratch, &example, 1, probs, NULL, NULL);
        bench.expected[version][i] = probs[1];
        arena_reset(&arena);
    }
    nn_scratch_free(scratch);
    engine_free(e);
    arena_fini(&arena);
}

/* A model of the size that is trained by default. The output's bias sets the versions apart. */
static void publish(uint64_t version)
{
    const struct nn_shape *shape = nn_shape_preset(NN_LSTM);
    struct nn_tensor tensors[NN_MAX_TENSORS];
    struct classifier *c = NULL;
    char *data;
    size_t size;
    uint64_t given;

    or_die(classifier_new(&c, "sentiment", "negative,positive", shape));
    nn_init(c->params, shape, version);
    size_t n = nn_tensors(shape, tensors);
    c->params[nn_tensor_find(tensors, n, "out.b")->offset + 1] = (float)version - (VERSIONS + 1) / 2.0f;
    struct model *m = classifier_to_model(c);
    or_die(model_encode(m, &data, &size));
    const struct store_file file = {STORE_MODEL_FILE, data, size};
    or_die(store_publish(bench.dir, "sentiment", &file, 1, &given));
    expect(c, given);
    free(data);
    model_free(m);
    classifier_free(c);
}

/* The pointer alone, without the verification that a promotion does: that is the aggregator's work. */
static void point(uint64_t version)
{
    char path[PATH_MAX + 32], text[24];

    snprintf(path, sizeof path, "%s/sentiment/production", bench.dir);
    int n = snprintf(text, sizeof text, "%" PRIu64 "\n", version);
    or_die(fs_write_atomic(path, text, (size_t)n));
}

static void store_make(void)
{
    struct rng rng;

    strcpy(bench.dir, "/tmp/swap_bench.XXXXXX");
    if (!mkdtemp(bench.dir))
        or_die(status_errno("mkdtemp"));
    rng_init(&rng, 1);
    for (size_t i = 0; i < TEXTS; i++)
        text_make(&rng, bench.texts[i]);
    for (uint64_t v = 1; v <= VERSIONS; v++)
        publish(v);
    for (size_t i = 0; i < TEXTS; i++)
        for (uint64_t v = 2; v <= VERSIONS; v++)
            if (bench.expected[v][i] - bench.expected[v - 1][i] < 200 * TOLERANCE)
                or_die(
                    status_errorf(ST_INTERNAL, "versions %" PRIu64 " and %" PRIu64 " agree on text %zu", v - 1, v, i));
    point(1);
}

/* ---- the server ---- */

/* The first CPU is the server's, the others are the callers'; with one CPU all share it. */
static void pin(bool server)
{
    cpu_set_t all, mine;
    bool first = true;

    sched_getaffinity(0, sizeof all, &all);
    if (CPU_COUNT(&all) < 2)
        return;
    CPU_ZERO(&mine);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            if (first == server)
                CPU_SET(i, &mine);
            first = false;
        }
    sched_setaffinity(0, sizeof mine, &mine);
}

static void *pass_on_trouble(void *arg)
{
    FILE *log = arg;
    char line[4096];

    while (fgets(line, sizeof line, log))
        if (strstr(line, "level=error") || strstr(line, "level=warn"))
            fputs(line, stderr);
    fclose(log);
    return NULL;
}

static pthread_t server_start(const char *program)
{
    char line[4096], binary[PATH_MAX];
    const char *port = NULL;
    int fds[2];

    snprintf(binary, sizeof binary, "%.*s/bloginfer-inference", (int)(strrchr(program, '/') - program), program);
    if (pipe(fds))
        or_die(status_errno("pipe"));
    bench.server = fork();
    if (bench.server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        pin(true);
        execl(binary, binary, "--port", "0", "--metrics-port", "0", "--store", bench.dir, "--poll-ms", "20", "--engine",
              "fp32", NULL);
        _exit(127);
    }
    close(fds[1]);
    FILE *log = fdopen(fds[0], "r");
    while (log && !port && fgets(line, sizeof line, log))
        port = strstr(line, "event=started") ? strstr(line, " port=") : NULL;
    or_die(port ? status_ok() : status_errorf(ST_UNAVAILABLE, "%s did not start", binary));
    snprintf(bench.target, sizeof bench.target, "127.0.0.1:%d", port ? atoi(port + strlen(" port=")) : 0);
    return thread_start("log", 0, pass_on_trouble, log);
}

/* Resident memory in KiB. */
static long server_memory(void)
{
    char path[64], line[256];
    long kib = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)bench.server);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

/* CPU seconds so far. */
static double server_cpu(void)
{
    char path[64];
    unsigned long user = 0, system = 0;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)bench.server);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
            user = system = 0;
        fclose(f);
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* ---- callers ---- */

static void sample_add(struct samples *s, double seconds)
{
    if (s->n == s->cap)
        s->seconds = xrealloc(s->seconds, s->cap = s->cap ? 2 * s->cap : 4096, sizeof *s->seconds);
    s->seconds[s->n++] = (float)seconds;
}

static void answer_check(struct caller *c, const Bloginfer__V1__ClassifyResponse *rep, size_t text, int64_t begun)
{
    uint64_t v = rep->version;

    if (v < 1 || v > VERSIONS || rep->n_results != 1 ||
        !(fabsf(rep->results[0]->prob - bench.expected[v][text]) < TOLERANCE))
        c->mismatched++;
    else
        bench.seen[v] = begun;
}

/* One call; its latency counts from when it was due. */
static void call(struct caller *c, struct arena *arena, enum phase phase, int64_t due)
{
    Bloginfer__V1__ClassifyRequest req = BLOGINFER__V1__CLASSIFY_REQUEST__INIT;
    const struct rpc_options options = {.arena = arena, .timeout_ms = 10000};
    size_t text = rng_below(&c->rng, TEXTS);
    char *texts[] = {bench.texts[text]};
    int64_t begun = clock_now();
    const void *out = NULL;

    req.texts = texts;
    req.n_texts = 1;
    struct status st = rpc_unary(bench.client, SERVICE, "Classify", &req, &out, &options);
    sample_add(&c->samples[phase], clock_seconds(due));
    if (st.code) {
        c->failed++;
        c->failure = st;
    } else {
        answer_check(c, out, text, begun);
    }
    arena_reset(arena);
}

static void sleep_until(int64_t t)
{
    const struct timespec until = clock_timespec(t);

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
        continue;
}

/* Calls at random times of the given rate, whatever the answers do; in SEARCH one after the other. */
static void *call_for_ever(void *arg)
{
    struct caller *c = arg;
    struct arena arena;
    enum phase phase;
    int64_t due = clock_now();

    arena_init(&arena, 1 << 20);
    while ((phase = bench.phase) != OVER) {
        if (phase == IDLE || phase == SEARCH)
            due = clock_now();
        if (phase == IDLE) {
            clock_sleep_ms(1);
            continue;
        }
        if (phase != SEARCH) {
            due += (int64_t)(-log(1 - rng_uniform(&c->rng)) * bench.gap * CLOCK_SECOND);
            if (due > clock_now())
                sleep_until(due);
        }
        call(c, &arena, phase, due);
    }
    arena_fini(&arena);
    return NULL;
}

static size_t n_samples(const struct caller *callers, enum phase phase)
{
    size_t n = 0;

    for (int i = 0; i < CALLERS; i++)
        n += callers[i].samples[phase].n;
    return n;
}

/* ---- the course of it ---- */

/* False: no call got the version in time. */
static bool await_version(uint64_t version, int64_t since, double *seconds)
{
    int64_t end = since + AWAIT_S * CLOCK_SECOND;

    while (bench.seen[version] < since && clock_now() < end)
        clock_sleep_ms(2);
    *seconds += clock_seconds(since);
    return bench.seen[version] >= since;
}

struct swaps {
    uint64_t version;
    long done, lost;
    double waited; /* seconds until they were in service, all together */
};

static void swap_stretch(struct swaps *s, long n, double seconds)
{
    int64_t begin = clock_now();

    for (long i = 0; i < n; i++) {
        sleep_until(begin + (int64_t)((double)i * seconds / (double)n * CLOCK_SECOND));
        s->version = s->version % VERSIONS + 1;
        int64_t since = clock_now();
        point(s->version);
        if (await_version(s->version, since, &s->waited))
            s->done++;
        else
            s->lost++;
    }
    sleep_until(begin + (int64_t)(seconds * CLOCK_SECOND));
}

static void find_rate(struct caller *callers)
{
    bench.phase = SEARCH;
    sleep(1); /* connected, warm */
    size_t before = n_samples(callers, SEARCH);
    double cpu = server_cpu();
    int64_t begin = clock_now();
    sleep(CAPACITY_S);
    double rate = (double)(n_samples(callers, SEARCH) - before) / clock_seconds(begin);
    printf("capacity  %.0f calls/s with %d callers, server at %.0f %% of a core\n", rate, CALLERS,
           100 * (server_cpu() - cpu) / clock_seconds(begin));
    printf("load      %.0f calls/s of one text each, %.0f %%\n", LOAD * rate, 100 * LOAD);
    bench.gap = CALLERS / (LOAD * rate);
    bench.phase = IDLE;
    clock_sleep_ms(200);
}

static int by_size(const void *a, const void *b)
{
    const float *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Prints a line; returns the 99th percentile in ms. */
static double print_phase(const char *name, const struct caller *callers, enum phase phase)
{
    size_t n = n_samples(callers, phase), at = 0;
    float *all = xmalloc((n + 1) * sizeof *all);

    for (int i = 0; i < CALLERS; i++) {
        const struct samples *s = &callers[i].samples[phase];
        memcpy(all + at, s->seconds, s->n * sizeof *all);
        at += s->n;
    }
    qsort(all, n, sizeof *all, by_size);
    all[n] = 0;
    double p99 = 1e3 * (double)all[n * 99 / 100];
    printf("%-9s %9zu %9.3f %9.3f %9.3f %9.3f\n", name, n, 1e3 * (double)all[n / 2], p99,
           1e3 * (double)all[n * 999 / 1000], 1e3 * (double)all[n ? n - 1 : 0]);
    free(all);
    return p99;
}

struct memory {
    long start, before, after, peak; /* KiB */
};

static void run(struct caller *callers, long n_swaps, double seconds, struct swaps *swaps, struct memory *memory)
{
    long warm = VERSIONS < n_swaps ? VERSIONS : n_swaps, left = n_swaps;

    bench.phase = IDLE;
    find_rate(callers);
    memory->start = server_memory();
    bench.phase = QUIET;
    sleep(1); /* neither this nor the first swaps count: the allocator finds its size */
    swap_stretch(&(struct swaps){.version = 1}, warm, (double)warm * seconds / (double)n_swaps);
    bench.phase = IDLE;
    clock_sleep_ms(500);
    for (int i = 0; i < CALLERS; i++)
        callers[i].samples[QUIET].n = 0;
    swaps->version = (uint64_t)warm % VERSIONS + 1;
    memory->before = memory->peak = server_memory();
    for (int i = 0; i < STRETCHES; i++) {
        long n = left / (STRETCHES - i);
        left -= n;
        bench.phase = QUIET;
        sleep_until(clock_now() + (int64_t)(seconds / STRETCHES * CLOCK_SECOND));
        bench.phase = SWAPPING;
        swap_stretch(swaps, n, seconds / STRETCHES);
        long now = server_memory();
        if (now > memory->peak)
            memory->peak = now;
    }
    bench.phase = IDLE;
    sleep(1);
    memory->after = server_memory();
}

static int report(const struct caller *callers, const struct swaps *swaps, const struct memory *m)
{
    long failed = 0, mismatched = 0;

    printf("\n              calls   p50 ms    p99 ms  p99.9 ms    max ms\n");
    double quiet = print_phase("quiet", callers, QUIET), swapping = print_phase("swapping", callers, SWAPPING);
    for (int i = 0; i < CALLERS; i++) {
        failed += callers[i].failed;
        mismatched += callers[i].mismatched;
        if (callers[i].failure.code)
            printf("%s: %s\n", code_name(callers[i].failure.code), callers[i].failure.msg);
    }
    printf("\nswaps in service   %ld, %.0f ms after the pointer moved; not seen within %d s: %ld\n", swaps->done,
           1e3 * swaps->waited / (double)(swaps->done + swaps->lost), AWAIT_S, swaps->lost);
    printf("failed calls       %ld (bar: 0)\n", failed);
    printf("other than label   %ld (bar: 0)\n", mismatched);
    printf("p99 / quiet p99    %.2f (bar: at most 1.2)\n", swapping / quiet);
    printf("resident memory    %+.2f MiB over the swaps (bar: at most 1): %.1f MiB before the first, %.1f after %d, "
           "%.1f at the end, %.1f at most\n",
           (double)(m->after - m->before) / 1024, (double)m->start / 1024, (double)m->before / 1024, VERSIONS,
           (double)m->after / 1024, (double)m->peak / 1024);
    return failed || mismatched || swaps->lost;
}

int main(int argc, char **argv)
{
    static struct caller callers[CALLERS];
    struct swaps swaps = {.version = 1};
    struct memory memory;
    long n_swaps = argc > 1 ? atol(argv[1]) : 100;
    double seconds = argc > 2 ? atof(argv[2]) : 60;

    nn_setup_blas(argv);
    if (n_swaps < STRETCHES || !(seconds >= 1))
        or_die(status_errorf(ST_INVALID, "usage: swap_bench [SWAPS SECONDS], at least %d and 1", STRETCHES));
    rpc_init();
    or_die(log_init("swap_bench", "error"));
    store_make();
    pthread_t log = server_start(argv[0]);
    pin(false);
    or_die(rpc_client_new(&bench.client, &(struct rpc_client_config){.target = bench.target}));
    for (int i = 0; i < CALLERS; i++) {
        rng_init(&callers[i].rng, 100 + (uint64_t)i);
        callers[i].thread = thread_start("caller", 0, call_for_ever, &callers[i]);
    }
    run(callers, n_swaps, seconds, &swaps, &memory);
    bench.phase = OVER;
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    int code = report(callers, &swaps, &memory);
    kill(bench.server, SIGTERM);
    waitpid(bench.server, NULL, 0);
    pthread_join(log, NULL);
    rpc_client_free(bench.client);
    fs_remove_tree(bench.dir);
    for (int i = 0; i < CALLERS; i++)
        for (int p = 0; p < N_PHASES; p++)
            free(callers[i].samples[p].seconds);
    rpc_fini();
    return code;
}
