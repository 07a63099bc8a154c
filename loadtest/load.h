/* load.h - users who each send one picture, wait for the answer, check it, think, and send the next, over a connection
 * that is kept alive: a closed loop, all of it on the calling thread, so that the measurement takes little of the CPU.
 *
 * Users come in at a rate; when the last one is there a settling time passes, then a window opens, in which throughput and
 * response times are taken. At its end no more is sent, and what is under way is still awaited, so that a request that
 * never comes back is a failure and not a gap. Failures count at any time. */
#ifndef LOADTEST_LOAD_H
#define LOADTEST_LOAD_H

#include "histogram.h"
#include "pictures.h"
#include "verdict.h"

#include <sys/socket.h>

struct load_progress {
    double seconds;          /* since the start */
    const char *stage;       /* "ramp", "settle", "window", "drain" */
    int64_t users;           /* that have come in */
    double rate;             /* answers a second since the last progress */
    double mean_ms;          /* their mean response time */
    uint64_t n_ok, n_failed; /* since the start */
};

struct load_config {
    struct sockaddr_storage address;
    socklen_t address_size;
    const char *host; /* for the header of this name */
    const char *path; /* of the request, at most 1 KiB */
    const struct pictures *pictures;
    bool raw;            /* a picture is the body, its id in the query */
    int64_t users;       /* at least 1 */
    int64_t first_users; /* who are there at once; the others come in at spawn_rate */
    double spawn_rate;   /* users a second; 0: all at once */
    int64_t settle_ms, window_ms;
    int64_t think_ms;   /* between an answer and the next request */
    int64_t timeout_ms; /* for a request, connecting included */
    bool stop_on_failure;
    void (*progress)(const struct load_progress *p); /* every two seconds; NULL: none */
};

#define LOAD_MAX_SERVERS 64
#define LOAD_DETAIL_MAX  160

struct load_result {
    int64_t users;         /* who came in: fewer than asked for when it ended early */
    double seconds;        /* from the start to the end of the window */
    double window_seconds; /* 0: it ended before the window */
    uint64_t n_sent;
    uint64_t n_ok, n_failed; /* of all */
    uint64_t n_window;       /* good answers within the window */
    uint64_t n_objects;      /* detections in all good answers */
    uint64_t n_connects;     /* connections that were made */
    uint64_t n_resent;       /* requests that met a closed connection before any answer, and were sent on a new one */
    uint64_t bytes_out, bytes_in;
    uint64_t failures[N_VERDICTS];
    uint64_t statuses[600];       /* of VERDICT_HTTP */
    struct histogram all, window; /* of good answers */

    /* the first failure; kind VERDICT_OK: there is none */
    enum verdict first_kind;
    double first_seconds; /* since the start */
    int64_t first_users;  /* who were there then */
    char first_detail[LOAD_DETAIL_MAX];

    struct {
        char name[ANSWER_NAME_MAX];
        uint64_t n;              /* good answers */
    } servers[LOAD_MAX_SERVERS]; /* by X-Served-By; further ones are counted with the last */
    size_t n_servers;
    bool stopped; /* by a signal */
};

/* Runs to the end, or until SIGINT or SIGTERM (which have to be blocked, lifecycle_init()): then it drains at once, and a
 * second signal ends it. out is large: not for the stack. */
struct status load_run(struct load_result *out, const struct load_config *config);

#endif
