/* reload.c - see reload.h. Files are looked at by size, time and inode, which costs a few system calls; only a change of
 * these starts a check, and only another content a load. */
#include "reload.h"

#include "check.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct watched {
    bool is_known;                  /* the others are filled */
    struct loader_stamp seen, done; /* at the last look; of the files that were dealt with */
};

struct reload {
    struct models *models;
    int64_t poll_ms;
    void (*changed)(void *ctx);
    void *ctx;
    int now_fd, stop_fd; /* readable: somebody wants it */
    pthread_t thread;
    struct watched watched[LOADER_MAX_MODELS]; /* the thread's own */
};

/* ---- one model ---- */

/* ST_EXISTS: the files are what serves already. */
static struct status load(struct reload *r, const struct models_entry *e, struct served **out)
{
    const struct served_config *config = models_config(r->models);
    struct served_check checked = {.forward_seconds = 0};
    struct status st = check_run(&checked, e->name, config, r->stop_fd);

    if (!st.code && e->served && strcmp(e->served->model->digest, checked.digest) == 0)
        return status_errorf(ST_EXISTS, "nothing new");
    return st.code ? st : served_load(out, e->name, config, &checked);
}

static void count(const char *model, bool ok)
{
    metric_add(metric_counter("bloginfer_detector_reloads_total", "Changed files of a model, by what became of them.",
                              "model,result"),
               1, model, ok ? "ok" : "refused");
}

/* True: something is to be told. */
static bool renew(struct reload *r, size_t i, const struct models_entry *e)
{
    struct served *s = NULL;
    struct status st = load(r, e, &s);

    if (st.code == ST_CANCELLED || (st.code == ST_EXISTS && !e->problem.code))
        return false;
    if (st.code == ST_ABORTED) { /* they are being written: again when they have settled */
        r->watched[i].done = (struct loader_stamp){0};
        return false;
    }
    if (st.code == ST_EXISTS) /* what was wrong meanwhile is not any more */
        models_replace(r->models, i, served_acquire(e->served));
    else if (st.code)
        models_refuse(r->models, i, st);
    else
        models_replace(r->models, i, s);
    count(e->name, st.code == ST_OK || st.code == ST_EXISTS);
    return true;
}

static bool is_due(struct watched *w, const struct models_entry *e, const char *path, bool now)
{
    struct loader_stamp stamp = loader_stamp(e->name, path);

    if (!w->is_known)
        *w = (struct watched){true, e->tried, e->tried};
    bool settled = loader_stamp_equal(&stamp, &w->seen);
    w->seen = stamp;
    if (!now && (!settled || loader_stamp_equal(&stamp, &w->done)))
        return false;
    w->done = stamp;
    return true;
}

static bool look(struct reload *r, bool now)
{
    const char *path = models_config(r->models)->path;
    bool changed = false;

    models_find(r->models);
    for (size_t i = 0; i < models_count(r->models); i++) {
        struct models_entry e = models_get(r->models, i);
        if (is_due(&r->watched[i], &e, path, now))
            changed |= renew(r, i, &e);
        served_release(e.served);
    }
    return changed;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct reload *r = arg;
    struct pollfd fds[] = {{.fd = r->stop_fd, .events = POLLIN}, {.fd = r->now_fd, .events = POLLIN}};

    thread_lower_priority();
    while (poll(fds, 2, (int)r->poll_ms), !fds[0].revents) {
        uint64_t times;
        bool now = fds[1].revents && read(r->now_fd, &times, sizeof times) > 0;
        if (look(r, now) && r->changed)
            r->changed(r->ctx);
    }
    return NULL;
}

struct reload *reload_start(struct models *models, int64_t poll_ms, void (*changed)(void *ctx), void *ctx)
{
    struct reload *r = xcalloc(1, sizeof *r);

    r->models = models;
    r->poll_ms = poll_ms;
    r->changed = changed;
    r->ctx = ctx;
    r->now_fd = eventfd(0, EFD_CLOEXEC);
    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (r->now_fd < 0 || r->stop_fd < 0)
        or_die(status_errno("eventfd"));
    r->thread = thread_start("reload", 0, run, r);
    return r;
}

static void raise_fd(int fd)
{
    if (eventfd_write(fd, 1))
        log_error("eventfd_failed", log_i("fd", fd));
}

void reload_now(struct reload *r)
{
    raise_fd(r->now_fd);
}

void reload_stop(struct reload *r)
{
    if (!r)
        return;
    raise_fd(r->stop_fd);
    pthread_join(r->thread, NULL);
    close(r->now_fd);
    close(r->stop_fd);
    free(r);
}
