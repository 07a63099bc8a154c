/* run.h - one training run: workers join, exchanges are averaged, rounds are evaluated, a version is published.
 *
 * A run has a driver thread of its own, which is the only one that moves it on; the functions below bring it the words
 * of workers and operators and may be called from any thread. Knows neither gRPC nor messages.
 * Formulas: FedSGD and FedAvg by McMahan et al. 2017 (arXiv 1602.05629), server optimizers by Reddi et al. 2020
 * (arXiv 2003.00295). */
#ifndef AGGREGATOR_RUN_H
#define AGGREGATOR_RUN_H

#include "base/base.h"
#include "nn/nn.h"
#include "registry.h"
#include "run_config.h"
#include "snapshot.h"
#include "spool.h"

enum run_state { RUN_WAITING = 1, RUN_TRAINING, RUN_FINISHED, RUN_FAILED, RUN_STOPPED };

static inline bool run_state_ended(enum run_state s)
{
    return s >= RUN_FINISHED;
}

#define RUN_SOURCE_SIZE   65
#define RUN_MAX_ROWS      10000000 /* of one worker, to train or to evaluate */
#define RUN_MAX_EXCHANGES 100000   /* in one round; where the rows make for more, batches are larger than asked for */
#define RUN_MAX_LOSS      1e6 /* of one row: what is above is no cross-entropy, and would drown every mean and curve */

const char *run_state_name(enum run_state s); /* "waiting", "training", "finished", "failed", "stopped" */

struct run_round {
    uint32_t round;       /* from 1 */
    double train_loss;    /* mean over the round's samples */
    double eval_accuracy; /* 0..1 */
    double eval_loss;
    uint64_t eval_rows;
    uint64_t samples; /* behind the accepted updates */
    uint32_t workers; /* that contributed */
    uint32_t updates, rejected;
    uint64_t bytes_up, bytes_down;
    double seconds;
};

/* What a run is now, a copy. */
struct run_view {
    char run_id[RUN_ID_SIZE];
    struct run_config config;
    enum run_state state;
    char message[STATUS_MSG_SIZE];
    struct run_round *rounds; /* (n_rounds,), owned: run_view_fini() */
    uint32_t n_rounds;
    uint64_t version; /* published; 0: none */
    bool promoted;
    int64_t started_ms, ended_ms; /* since 1970; ended 0: not yet */
    uint32_t round, exchange, exchanges;
    struct run_worker {
        uint32_t shard_index;
        bool connected;
        uint64_t train_rows, eval_rows;
    } workers[RUN_MAX_WORKERS];
    uint32_t n_workers;
};

void run_view_fini(struct run_view *v);

/* What all runs of a process share; borrowed for their life. */
struct run_house {
    const char *state_dir; /* runs keep their checkpoints in <state_dir>/<run_id>/ */
    struct registry *registry;
    uint32_t join_timeout_ms; /* for workers to come, or to come back */
    uint32_t heartbeat_ms;
};

struct run;

/* A new run, with a checkpoint on disk when it returns (ST_DATA_LOSS: one is there already, which run_open() did not
 * take; ST_PRECONDITION: it cannot continue from what is in production); and one that its checkpoint in <state_dir>/<run_id>/ brings back.
 * Neither moves before run_start(). The caller holds the first reference. */
struct status run_new(struct run **out, const struct run_house *house, const char *run_id, const struct run_config *c);
struct status run_open(struct run **out, const struct run_house *house, const char *run_id);
void run_start(struct run *r);

struct run *run_acquire(struct run *r);
void run_release(struct run *r); /* the last one frees; NULL is fine */

/* Ends the run without publishing; stays as it is when it has ended. */
void run_stop(struct run *r, const char *reason);

/* The process ends: the driver returns after what it is doing, the run stays active on disk. */
void run_suspend(struct run *r);

void run_view(struct run *r, struct run_view *v);

/* Set at birth. */
const char *run_id(const struct run *r);
const struct run_config *run_configuration(const struct run *r);
const struct nn_shape *run_shape(const struct run *r);
uint32_t run_heartbeat_ms(const struct run *r);

/* Calls wake(arg) at every change of state, message, rounds or workers, under the run's lock: it must only signal. Remove before arg dies. */
struct run_watcher {
    void (*wake)(void *arg);
    void *arg;
    struct run_watcher *next;
};
void run_watch(struct run *r, struct run_watcher *w);
void run_unwatch(struct run *r, struct run_watcher *w);

/* ---- a worker's control stream ---- */

struct run_join {
    uint32_t shard_index, shard_count;
    uint64_t train_rows, eval_rows;
    const char *data_source, *data_digest; /* borrowed for the call; below RUN_SOURCE_SIZE */
};

struct run_directive {
    enum { RUN_TRAIN = 1, RUN_EVALUATE, RUN_WAIT, RUN_END } kind;
    uint32_t round, exchange, exchanges;
    uint64_t base_version;
    struct nn_shape shape; /* of RUN_EVALUATE: what is scored, which may be another model than the run's */
    uint32_t timeout_ms;
    enum run_state state;         /* of RUN_END */
    char reason[STATUS_MSG_SIZE]; /* of RUN_WAIT and RUN_END */
};

struct run_member;

/* A worker is here; wake(arg) is called when a directive waits for it. An earlier stream of the same shard is told to end.
 * ST_INVALID: shard outside the plan or no rows; ST_PRECONDITION: the run has ended. */
struct status run_join(struct run *r, const struct run_join *j, void (*wake)(void *), void *arg,
                       struct run_member **out);
void run_leave(struct run *r, struct run_member *m); /* frees m; no wake after it */

/* The newest directive that this member has not seen; false when there is none. */
bool run_next_directive(struct run *r, struct run_member *m, struct run_directive *d);
bool run_member_replaced(struct run *r, const struct run_member *m);

struct run_report {
    uint64_t base_version, rows, correct;
    double loss_sum;
};
struct status run_report(struct run *r, struct run_member *m, const struct run_report *report);

/* ---- bulk ---- */

/* NULL: that version is not current. The caller releases it. */
struct snapshot *run_fetch(struct run *r, uint64_t base_version);
void run_count_sent(struct run *r, uint64_t bytes);

struct run_update {
    uint32_t shard_index;
    uint64_t base_version, samples, total_bytes;
    double loss;
};

enum run_verdict { RUN_ACCEPTED = 1, RUN_DUPLICATE, RUN_LATE, RUN_REJECTED };

/* Before the chunks: RUN_ACCEPTED with an empty spool to fill, else the verdict and its reason. *spool: the caller's. */
enum run_verdict run_submit_begin(struct run *r, const struct run_update *u, struct spool **spool, struct status *why);

/* After the last chunk: adds the update. */
enum run_verdict run_submit(struct run *r, const struct run_update *u, struct spool *spool, struct status *why);

/* An upload that its handler refused (a bad chunk): counted. */
void run_count_rejected(struct run *r);

#endif
