/* process_launcher.h - the launcher of local workers: each is a process with a process group of its own. */
#ifndef TRAINER_PROCESS_LAUNCHER_H
#define TRAINER_PROCESS_LAUNCHER_H

#include "launcher.h"

/* All borrowed for the launcher's life; "" leaves an option out. */
struct process_launcher_config {
    const char *worker;     /* path of the program; "": bloginfer-worker beside this one */
    const char *aggregator; /* passed on as --aggregator */
    const char *data;       /* --data */
    const char *tls_ca, *tls_cert, *tls_key;
    const char *log_dir; /* worker-RUN-SHARD.log here, appended; "": this process's standard error */
};

/* ST_NOT_FOUND, ST_PRECONDITION: no such program, or not one. */
struct status process_launcher_open(struct launcher **out, const struct process_launcher_config *config);

#endif
