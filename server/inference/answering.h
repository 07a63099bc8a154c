/* answering.h - what Classify and ModelInfer do alike with a call once they have its model: its texts go to the batcher,
 * the answer is made and sent from the thread that computed it, and a call that the candidate fails is answered by
 * production. What the two protocols do differently is a struct answering_kind. */
#ifndef INFERENCE_ANSWERING_H
#define INFERENCE_ANSWERING_H

#include "batcher.h"
#include "rpc/rpc.h"
#include "served.h"

struct answering;

struct answering_kind {
    /* Makes a->job of the request: batcher_job_init() for m, every text, level and deadline. A second time when
     * production stands in. */
    struct status (*fill)(struct answering *a, struct served_model *m);
    /* The response out of a->job.probs; it may borrow the model's names. */
    struct status (*answer)(const struct answering *a);
    /* Offers the texts, answered well, to served_shadow(). */
    void (*shadow)(const struct answering *a);
};

/* A call that waits for its texts; first in what its kind keeps of it, in the call's arena. */
struct answering {
    struct batcher_job job;
    const struct answering_kind *kind;
    struct rpc_call *call;
    struct batcher *batcher;
    struct metric *texts; /* counts those that were given a label, by task */
    struct served_query query;
    int64_t started; /* when m was asked, clock_now() scale */
    bool stood_in;   /* production has been asked after the candidate */
};

/* Has the call answered by m, of served_acquire(a->query), which is released with it. All but job and stood_in is set by
 * the caller. OK: the call belongs to the batcher. Otherwise to the caller still. */
struct status answering_submit(struct answering *a, struct served_model *m);

/* The texts of a call do not fit its memory. */
struct status answering_no_room(void);

#endif
