/* reference.c - see reference.h. The child hands its outputs over in shared memory; an alarm ends it should darknet
 * hang. */
#include "reference.h"

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
#define MAX_CFG_TEXT  ((size_t)1 << 20)

/* A .check file: the network's key, then so many of its outputs, little-endian floats. */
#define N_KEPT     1024
#define CHECK_SIZE (SHA256_SIZE + N_KEPT * sizeof(float))

extern const char check_yolov3_tiny[], check_yolo_fastest[], check_yolo_fastest_xl[];

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

/* ---- darknet ---- */

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

static struct status run_darknet(struct reference *r, const struct network *net)
{
    size_t size = r->n_outputs * sizeof(float);
    float *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool available = false;

    if (shared == MAP_FAILED)
        return status_errno("map %zu bytes for the trial", size);
    fflush(NULL); /* or the child would write what is buffered once more */
    pid_t pid = fork();
    if (pid == 0)
        child_run(net, r->picture, shared);
    struct status st = pid < 0 ? status_errno("fork for the trial") : child_wait(pid, &available);
    if (available) {
        r->source = REFERENCE_DARKNET;
        r->n = r->n_outputs;
        r->values = xmalloc(size);
        memcpy(r->values, shared, size);
    }
    munmap(shared, size);
    return st;
}

/* ---- what is known ---- */

/* Of cfg and weights: everything that the outputs depend on. */
static void network_key(const struct network *net, uint8_t key[SHA256_SIZE])
{
    struct buf text = BUF_INIT(MAX_CFG_TEXT);
    uint8_t digests[2][SHA256_SIZE];

    cfg_print(net->cfg, &text);
    sha256(text.data, text.size, digests[0]);
    sha256(net->file, net->file_size, digests[1]);
    sha256(digests, sizeof digests, key);
    buf_fini(&text);
}

static bool find_known(struct reference *r, const struct network *net)
{
    static const char *const files[] = {check_yolov3_tiny, check_yolo_fastest, check_yolo_fastest_xl};
    uint8_t key[SHA256_SIZE];

    network_key(net, key);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        if (memcmp(files[i], key, sizeof key) != 0)
            continue;
        r->source = REFERENCE_KNOWN;
        r->n = N_KEPT;
        r->values = xmalloc(N_KEPT * sizeof *r->values);
        memcpy(r->values, files[i] + SHA256_SIZE, N_KEPT * sizeof *r->values);
        return true;
    }
    return false;
}

static size_t output_index(const struct reference *r, size_t i)
{
    return (size_t)((uint64_t)i * r->n_outputs / r->n);
}

struct status reference_write(const char *path, const struct network *net)
{
    struct reference r = {.n_outputs = outputs_size(net->cfg), .picture = invent_picture(net->cfg)};
    uint8_t file[CHECK_SIZE];
    struct status st = run_darknet(&r, net);

    if (!st.code && (r.source != REFERENCE_DARKNET || r.n_outputs < N_KEPT))
        st = status_errorf(ST_UNAVAILABLE, "darknet is not installed, or the network has few outputs");
    if (!st.code) {
        network_key(net, file);
        r.n = N_KEPT;
        for (size_t i = 0; i < N_KEPT; i++)
            memcpy(file + SHA256_SIZE + i * sizeof(float), &r.values[output_index(&r, i)], sizeof(float));
        st = fs_write_atomic(path, file, sizeof file);
    }
    reference_fini(&r);
    return st;
}

/* ---- using it ---- */

struct status reference_get(struct reference *out, const struct network *net)
{
    *out = (struct reference){.n_outputs = outputs_size(net->cfg), .picture = invent_picture(net->cfg)};
    struct status st = find_known(out, net) ? status_ok() : run_darknet(out, net);
    if (st.code)
        reference_fini(out);
    return st;
}

void reference_fini(struct reference *r)
{
    free(r->picture);
    free(r->values);
    *r = (struct reference){.n = 0};
}

bool reference_compare(const struct reference *r, const struct engine *e, const struct cfg *c, double *largest,
                       double *rms)
{
    float *ours = xmalloc(r->n_outputs * sizeof *ours);
    double squares = 0, sum = 0;
    bool finite = true;

    *largest = 0;
    outputs_copy(ours, e, c);
    for (size_t i = 0; i < r->n_outputs; i++)
        finite &= isfinite(ours[i]) != 0;
    for (size_t i = 0; r->values && i < r->n; i++) {
        double want = r->values[i], difference = (double)ours[output_index(r, i)] - want;
        finite &= isfinite(want) != 0;
        *largest = fmax(*largest, fabs(difference) / fmax(1, fabs(want)));
        sum += difference * difference;
        squares += want * want;
    }
    *rms = squares > 0 ? sqrt(sum / squares) : 0;
    free(ours);
    return finite;
}
