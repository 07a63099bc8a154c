/* launcher.h - how training workers come to life: processes beside the trainer (process_launcher.c), Jobs in a
 * cluster, behind one small interface, so that everything above it is the same in both worlds.
 *
 * A launcher keeps no list: whoever lives can be found again by its run and shard, which is how a restarted trainer
 * adopts the workers of its earlier life. Not thread-safe: one thread owns a launcher and its workers. */
#ifndef TRAINER_LAUNCHER_H
#define TRAINER_LAUNCHER_H

#include "base/base.h"

#include <stdbool.h>
#include <stdint.h>

#define RUN_ID_MAX 64 /* bytes of [a-z0-9-], without the NUL */

struct worker_spec {
    const char *run_id; /* valid: see run_id_valid() */
    uint32_t shard;     /* from 0 */
    uint32_t n_shards;
};

enum worker_state {
    WORKER_RUNNING,
    WORKER_ENDED, /* with success, or one cannot know */
    WORKER_FAILED,
};

struct launcher;
struct worker; /* one started or found worker */

struct launcher_ops {
    /* *out: to release(). Any error may be tried again. */
    struct status (*start)(struct launcher *l, const struct worker_spec *spec, struct worker **out);

    /* A worker that lives already, started by an earlier trainer. ST_NOT_FOUND: none. */
    struct status (*find)(struct launcher *l, const struct worker_spec *spec, struct worker **out);

    /* Never waits. *why, when it is over: "exit code 2", "killed by signal 9". */
    enum worker_state (*poll)(struct launcher *l, struct worker *w, struct status *why);

    /* Asks it to end; hard: ends it. */
    void (*stop)(struct launcher *l, struct worker *w, bool hard);

    /* Forgets the worker, which may still run. NULL is fine. */
    void (*release)(struct launcher *l, struct worker *w);

    void (*close)(struct launcher *l);
};

struct launcher {
    const struct launcher_ops *ops;
    bool ends_with_trainer; /* the workers are stopped by an orderly stop of the trainer */
};

/* 1 to RUN_ID_MAX characters of [a-z0-9-]: safe in file names, arguments and URLs. */
bool run_id_valid(const char *run_id);

#endif
