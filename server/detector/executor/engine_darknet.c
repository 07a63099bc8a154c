/* engine_darknet.c - darknet itself (Debian's libdarknet.so), the reference for every other engine.
 *
 * The library is loaded only when this engine is made: it brings OpenCV and Qt with it, 71 MB of resident memory. It
 * exits, aborts or crashes on files it does not like, so it gets what cfg_print() wrote and weights whose size fits,
 * both from memory (memfd), so that nobody can change them between our check and its reading. It prints while it
 * loads; its output and errors go to /dev/null meanwhile, which is why an engine is best made before other threads
 * log. trial.c runs all this in a child process first. */
#include "engine.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Both sides have a struct network. */
#define network darknet_network
#include <darknet.h>
#undef network

#define MAX_CFG_TEXT ((size_t)1 << 20)

struct darknet {
    struct engine base;
    darknet_network *reference;
    float *(*predict)(darknet_network *net, float *input);
    void (*release)(darknet_network *net);
};

struct library {
    darknet_network *(*load)(char *cfg, char *weights, int clear);
    void (*set_batch)(darknet_network *net, int batch);
    float *(*predict)(darknet_network *net, float *input);
    void (*release)(darknet_network *net);
};

/* False: dlerror() says why. Never closed again: OpenCV and Qt do not survive that. */
static bool library_open(struct library *lib)
{
    setenv("OMP_NUM_THREADS", "1", 1); /* OpenCV's libgomp reads it when it is loaded: now */
    void *handle = dlopen(DARKNET_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (!handle)
        return false;
    *(void **)&lib->load = dlsym(handle, "load_network");
    *(void **)&lib->set_batch = dlsym(handle, "set_batch_network");
    *(void **)&lib->predict = dlsym(handle, "network_predict");
    *(void **)&lib->release = dlsym(handle, "free_network");
    return lib->load && lib->set_batch && lib->predict && lib->release;
}

/* A file in memory that others can open by its name, "/proc/self/fd/N". */
static struct status file_of(int *fd, char path[32], const void *data, size_t size)
{
    *fd = memfd_create("darknet", MFD_CLOEXEC);
    if (*fd < 0)
        return status_errno("memfd_create");
    for (size_t done = 0; done < size;) {
        ssize_t n = write(*fd, (const char *)data + done, size - done);
        if (n < 0 && errno != EINTR)
            return status_errno("write a file for darknet");
        done += n > 0 ? (size_t)n : 0;
    }
    snprintf(path, 32, "/proc/self/fd/%d", *fd);
    return status_ok();
}

/* saved: what standard output and error were, for unmute(). */
static void mute(int saved[2])
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        saved[i] = fcntl(i + 1, F_DUPFD_CLOEXEC, 3);
        if (null >= 0 && saved[i] >= 0)
            dup2(null, i + 1);
    }
    if (null >= 0)
        close(null);
}

static void unmute(const int saved[2])
{
    fflush(stdout);
    for (int i = 0; i < 2; i++)
        if (saved[i] >= 0) {
            dup2(saved[i], i + 1);
            close(saved[i]);
        }
}

static struct status load(struct darknet *e, const struct library *lib, const struct network *net)
{
    struct buf text = BUF_INIT(MAX_CFG_TEXT);
    char cfg_path[32], weights_path[32];
    int cfg_fd = -1, weights_fd = -1, saved[2];

    cfg_print(net->cfg, &text);
    struct status st = file_of(&cfg_fd, cfg_path, text.data, text.size);
    if (!st.code)
        st = file_of(&weights_fd, weights_path, net->file, net->file_size);
    if (!st.code) {
        mute(saved);
        e->reference = lib->load(cfg_path, weights_path, 0);
        lib->set_batch(e->reference, 1);
        unmute(saved);
    }
    if (cfg_fd >= 0)
        close(cfg_fd);
    if (weights_fd >= 0)
        close(weights_fd);
    buf_fini(&text);
    return st;
}

static struct status check_shapes(const struct darknet *e, const struct network *net)
{
    if (e->reference->n != (int)net->cfg->n_layers)
        return status_errorf(ST_INTERNAL, "darknet read %d layers of %zu", e->reference->n, net->cfg->n_layers);
    for (size_t i = 0; i < net->cfg->n_layers; i++) {
        const layer *l = &e->reference->layers[i];
        if (l->outputs != (int)cfg_shape_size(net->cfg->layers[i].out))
            return status_errorf(ST_INTERNAL, "darknet gives layer %zu %d outputs, not %zu", i, l->outputs,
                                 cfg_shape_size(net->cfg->layers[i].out));
    }
    return status_ok();
}

static void darknet_forward(struct engine *base, const float *picture)
{
    struct darknet *e = (struct darknet *)base;
    e->predict(e->reference, (float *)picture); /* only read: the forward pass points to it */
}

static void darknet_destroy(struct engine *base)
{
    struct darknet *e = (struct darknet *)base;

    if (e->reference)
        e->release(e->reference);
    free(e);
}

/* Layers that came with darknet's forks: the one that Debian ships reads over them and computes something else. */
static bool knows(const struct network *net)
{
    for (size_t i = 0; i < net->cfg->n_layers; i++)
        if (net->cfg->layers[i].kind == CFG_ROUTE && net->cfg->layers[i].groups > 1)
            return false;
    return true;
}

static struct status darknet_create(struct engine **out, const struct network *net)
{
    struct library lib = {NULL, NULL, NULL, NULL};

    if (!knows(net))
        return status_errorf(ST_UNAVAILABLE, "this darknet is older than routes with groups");
    if (!library_open(&lib))
        return status_errorf(ST_UNAVAILABLE, "%s", dlerror());
    struct darknet *e = xcalloc(1, sizeof *e);
    e->base.kind = &engine_darknet;
    e->predict = lib.predict;
    e->release = lib.release;
    struct status st = load(e, &lib, net);
    if (!st.code)
        st = check_shapes(e, net);
    for (size_t i = 0; i < net->cfg->n_heads && !st.code; i++)
        e->base.heads[i] = e->reference->layers[net->cfg->head_layer[i]].output;
    if (st.code)
        darknet_destroy(&e->base);
    else
        *out = &e->base;
    return st;
}

const struct engine_kind engine_darknet = {
    .name = "darknet",
    .create = darknet_create,
    .forward = darknet_forward,
    .destroy = darknet_destroy,
    .precision = "fp32",
    .fallback = true,
};
