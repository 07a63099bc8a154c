/* trial.c - the same invented picture through the engine and through darknet. The child hands its outputs over in
 * shared memory; an alarm ends it should darknet hang. */
#include "trial.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SECONDS 120
#define N_TIMED       3

enum child_end { CHILD_OK, CHILD_UNAVAILABLE, CHILD_FAILED };

static size_t outputs_size(const struct cfg *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_heads; i++)
        n += cfg_shape_size(c->layers[c->head_layer[i]].out);
    return n;
}

static void outputs_copy(float *to, const struct engine *e, const struct cfg *c)
{
    for (size_t i = 0; i < c->n_heads; i++) {
        size_t n = cfg_shape_size(c->layers[c->head_layer[i]].out);
        memcpy(to, e->heads[i], n * sizeof *to);
        to += n;
    }
}

/* Smooth waves with noise on them, 0..1: every layer gets values of the usual size. */
static float *invent_picture(const struct cfg *c)
{
    float *picture = xcalloc(cfg_shape_size(c->input), sizeof *picture);
    struct rng rng;
    size_t i = 0;

    rng_init(&rng, 416);
    for (size_t ch = 0; ch < c->input.c; ch++)
        for (size_t y = 0; y < c->input.h; y++)
            for (size_t x = 0; x < c->input.w; x++)
                picture[i++] = (float)(0.5 + 0.35 * sin(0.05 * (double)x + 0.03 * (double)(y * (ch + 1))) +
                                       0.1 * (rng_uniform(&rng) - 0.5));
    return picture;
}

static _Noreturn void child_run(const struct network *net, const float *picture, float *outputs)
{
    struct engine *e;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(CHILD_SECONDS);
    struct status st = engine_darknet.create(&e, net);
    if (st.code) {
        log_warn("darknet_missing", log_s("reason", st.msg));
        _exit(st.code == ST_UNAVAILABLE ? CHILD_UNAVAILABLE : CHILD_FAILED);
    }
    engine_forward(e, picture);
    outputs_copy(outputs, e, net->cfg);
    _exit(CHILD_OK); /* without exit handlers: they are the parent's */
}

static struct status child_wait(pid_t pid, bool *available)
{
    int how;

    while (waitpid(pid, &how, 0) < 0)
        if (errno != EINTR)
            return status_errno("wait for the trial of darknet");
    *available = WIFEXITED(how) && WEXITSTATUS(how) == CHILD_OK;
    if (*available || (WIFEXITED(how) && WEXITSTATUS(how) == CHILD_UNAVAILABLE))
        return status_ok();
    if (WIFSIGNALED(how))
        return status_errorf(ST_INVALID, "darknet dies on this model (signal %d)", WTERMSIG(how));
    return status_errorf(ST_INVALID, "darknet does not load this model");
}

/* *outputs: shared memory of n floats with what darknet computes, NULL when it is not installed. */
static struct status reference_run(const struct network *net, const float *picture, size_t n, float **outputs)
{
    size_t size = n * sizeof(float);
    float *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool available = false;

    if (shared == MAP_FAILED)
        return status_errno("map %zu bytes for the trial", size);
    fflush(NULL); /* or the child would write what is buffered once more */
    pid_t pid = fork();
    if (pid == 0)
        child_run(net, picture, shared);
    struct status st = pid < 0 ? status_errno("fork for the trial") : child_wait(pid, &available);
    if (available)
        *outputs = shared;
    else
        munmap(shared, size);
    return st;
}

static struct status own_run(const struct engine_kind *kind, const struct network *net, const float *picture,
                             float *outputs, struct trial *result)
{
    struct engine *e;
    struct status st = kind->create(&e, net);

    if (st.code)
        return st;
    result->forward_seconds = INFINITY;
    for (int i = 0; i < N_TIMED; i++) {
        int64_t start = clock_now();
        engine_forward(e, picture);
        result->forward_seconds = fmin(result->forward_seconds, clock_seconds(start));
    }
    outputs_copy(outputs, e, net->cfg);
    engine_free(e);
    return st;
}

static struct status compare(const float *ours, const float *reference, size_t n, struct trial *result)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(ours[i]) || (reference && !isfinite(reference[i])))
            return status_errorf(ST_INVALID, "the network's outputs are not finite");
        double error = reference ? fabs((double)ours[i] - reference[i]) / fmax(1, fabs((double)reference[i])) : 0;
        result->error = fmax(result->error, error);
    }
    if (result->error > TRIAL_TOLERANCE)
        return status_errorf(ST_INVALID, "the engine's outputs differ from darknet's by %.2g", result->error);
    return status_ok();
}

struct status trial_run(const struct engine_kind *kind, const struct network *net, struct trial *result)
{
    size_t n = outputs_size(net->cfg);
    float *picture = invent_picture(net->cfg), *reference = NULL, *ours = xcalloc(n, sizeof *ours);

    *result = (struct trial){0};
    struct status st = reference_run(net, picture, n, &reference);
    result->compared = reference != NULL;
    if (!st.code)
        st = own_run(kind, net, picture, ours, result);
    if (!st.code)
        st = compare(ours, reference, n, result);
    if (reference)
        munmap(reference, n * sizeof *reference);
    free(ours);
    free(picture);
    return st;
}
