/* learner.h - the thread that does a worker's work: it takes the newest directive, fetches, computes, submits or scores.
 * The control stream lives on another thread, so that heartbeats go on meanwhile. */
#ifndef CLIENT_WORKER_LEARNER_H
#define CLIENT_WORKER_LEARNER_H

#include "client/data/corpus.h"
#include "local.h"
#include "transfer.h"

struct learner;

struct learner_directive {
    enum { LEARNER_TRAIN = 1, LEARNER_EVALUATE } kind;
    uint32_t round, exchange, exchanges;
    uint64_t base_version;
    struct nn_shape shape; /* LEARNER_EVALUATE: of what is scored; checked */
};

struct learner_report {
    uint64_t base_version;
    struct local_score score;
};

/* Pointers are borrowed for the learner's life. */
struct learner_config {
    struct local *local;            /* of the run's model */
    const struct nn_shape *shape;   /* of it */
    const struct corpus_part *eval; /* the evaluation rows' texts, for a model of another shape */
    const struct transfer *transfer;

    /* On the learner's thread, under its lock, when a report can be taken: it must only signal. */
    void (*on_report)(void *arg);
    void *arg;
};

struct learner *learner_start(const struct learner_config *config);

/* Abandons what is at work, joins the thread, frees. NULL is fine. */
void learner_stop(struct learner *l);

/* The newest directive counts; what an older one asked for is abandoned. */
void learner_direct(struct learner *l, const struct learner_directive *d);

/* True once for each report. */
bool learner_take_report(struct learner *l, struct learner_report *report);

/* For a heartbeat: the version at work (0: none). */
uint64_t learner_at_work(struct learner *l);

#endif
