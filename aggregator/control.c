/* control.c - FederationService/Control: one thread a worker, asleep until the worker speaks or the run has a directive
 * for it. A worker that stays silent for three heartbeats has lost its place. */
#include "bloginfer/v1/federation.pb-c.h"
#include "classifier/classifier.h"
#include "convert.h"
#include "federation_internal.h"

#include <stdio.h>
#include <string.h>

#define PROTOCOL_VERSION 2

static void wake_call(void *call)
{
    rpc_wake(call);
}

static struct status send_plan(struct rpc_call *call, struct run *r)
{
    Bloginfer__V1__ControlResponse message = BLOGINFER__V1__CONTROL_RESPONSE__INIT;
    Bloginfer__V1__Plan plan = BLOGINFER__V1__PLAN__INIT;
    Bloginfer__V1__ModelShape shape;
    Bloginfer__V1__Objective objective;
    Bloginfer__V1__RunConfig config;
    const struct run_config *c = run_configuration(r);
    const struct run_recipe *recipe = run_recipe(c);
    const struct nn_objective o = run_objective(c);
    char *labels[NN_MAX_CLASSES], names[128];

    convert_shape(&shape, run_shape(r));
    convert_objective(&objective, &o);
    convert_config(&config, c);
    plan.run_id = (char *)run_id(r);
    plan.architecture = (char *)nn_family_name(run_shape(r)->family);
    plan.shape = &shape;
    plan.config = &config;
    plan.objective = &objective;
    plan.local_learning_rate = recipe->local_learning_rate;
    plan.local_batch = recipe->local_batch;
    plan.heartbeat_ms = run_heartbeat_ms(r);
    plan.max_chunk_bytes = SNAPSHOT_CHUNK;
    snprintf(names, sizeof names, "%s", classifier_task_labels(c->task));
    plan.labels = labels;
    for (char *at = names, *name; plan.n_labels < NN_MAX_CLASSES && (name = strsep(&at, ","));)
        labels[plan.n_labels++] = name;
    message.body_case = BLOGINFER__V1__CONTROL_RESPONSE__BODY_PLAN;
    message.plan = &plan;
    return rpc_send(call, &message);
}

static struct status send_directive(struct rpc_call *call, const struct run_directive *d)
{
    Bloginfer__V1__ControlResponse message = BLOGINFER__V1__CONTROL_RESPONSE__INIT;
    Bloginfer__V1__TrainDirective train = BLOGINFER__V1__TRAIN_DIRECTIVE__INIT;
    Bloginfer__V1__EvaluateDirective evaluate = BLOGINFER__V1__EVALUATE_DIRECTIVE__INIT;
    Bloginfer__V1__WaitDirective wait = BLOGINFER__V1__WAIT_DIRECTIVE__INIT;
    Bloginfer__V1__StopDirective stop = BLOGINFER__V1__STOP_DIRECTIVE__INIT;
    Bloginfer__V1__ModelShape shape;

    switch (d->kind) {
    case RUN_TRAIN:
        train.round = d->round;
        train.exchange = d->exchange;
        train.exchanges = d->exchanges;
        train.base_version = d->base_version;
        train.timeout_ms = d->timeout_ms;
        message.body_case = BLOGINFER__V1__CONTROL_RESPONSE__BODY_TRAIN;
        message.train = &train;
        break;
    case RUN_EVALUATE:
        evaluate.round = d->round;
        evaluate.base_version = d->base_version;
        evaluate.architecture = (char *)nn_family_name(d->shape.family);
        convert_shape(&shape, &d->shape);
        evaluate.shape = &shape;
        message.body_case = BLOGINFER__V1__CONTROL_RESPONSE__BODY_EVALUATE;
        message.evaluate = &evaluate;
        break;
    case RUN_WAIT:
        wait.reason = (char *)d->reason;
        wait.wait_ms = d->timeout_ms;
        message.body_case = BLOGINFER__V1__CONTROL_RESPONSE__BODY_WAIT;
        message.wait = &wait;
        break;
    case RUN_END:
        stop.state = convert_state(d->state);
        stop.reason = (char *)d->reason;
        message.body_case = BLOGINFER__V1__CONTROL_RESPONSE__BODY_STOP;
        message.stop = &stop;
        break;
    }
    return rpc_send(call, &message);
}

/* One message of a worker that has joined. */
static struct status handle(struct run *r, struct run_member *m, const Bloginfer__V1__ControlRequest *req)
{
    if (req->body_case == BLOGINFER__V1__CONTROL_REQUEST__BODY_REPORT)
        return run_report(r, m,
                          &(struct run_report){.base_version = req->report->base_version,
                                               .rows = req->report->rows,
                                               .correct = req->report->correct,
                                               .loss_sum = req->report->loss_sum});
    if (req->body_case == BLOGINFER__V1__CONTROL_REQUEST__BODY_HEARTBEAT)
        return status_ok();
    return status_errorf(ST_INVALID, "a joined worker sends heartbeats and reports");
}

/* Until the run ends for this worker, or the worker for the run. */
static struct status converse(struct rpc_call *call, struct run *r, struct run_member *m)
{
    int64_t silence_ms = 3 * (int64_t)run_heartbeat_ms(r), lease = clock_after_ms(silence_ms);
    struct run_directive d;
    struct status st = status_ok();
    const void *in;

    for (;;) {
        while (run_next_directive(r, m, &d)) {
            st = send_directive(call, &d);
            if (st.code || d.kind == RUN_END)
                return st;
        }
        if (run_member_replaced(r, m))
            return status_errorf(ST_ABORTED, "another stream of this shard took over");
        switch (rpc_wait(call, &in, lease)) {
        case RPC_MESSAGE:
            if ((st = handle(r, m, in)).code)
                return st;
            lease = clock_after_ms(silence_ms);
            break;
        case RPC_WOKEN:
            break;
        case RPC_TIMEOUT:
            return status_errorf(ST_DEADLINE, "no heartbeat for %lld ms", (long long)silence_ms);
        default:
            return status_errorf(ST_CANCELLED, "the worker has gone");
        }
    }
}

/* A worker whose stream broke while the run ended learns how it ended. */
static struct status tell_the_end(struct rpc_call *call, struct run *r)
{
    struct run_directive d = {.kind = RUN_END};
    struct run_view v;

    run_view(r, &v);
    d.state = v.state;
    snprintf(d.reason, sizeof d.reason, "%s", v.message);
    run_view_fini(&v);
    return send_directive(call, &d);
}

/* *m stays NULL, and the run is released, where there is nothing more to say. */
static struct status join(struct rpc_call *call, const Bloginfer__V1__Join *j, struct run **run, struct run_member **m)
{
    struct status st = federation_find(call, j->run_id, run);

    *m = NULL;
    if (st.code)
        return st;
    if (j->protocol != PROTOCOL_VERSION)
        st = status_errorf(ST_PRECONDITION, "protocol %u: this aggregator speaks %d", j->protocol, PROTOCOL_VERSION);
    if (!st.code && (strlen(j->data_source) >= RUN_SOURCE_SIZE || strlen(j->data_digest) >= RUN_SOURCE_SIZE))
        st = status_errorf(ST_INVALID, "data_source and data_digest: at most %d bytes", RUN_SOURCE_SIZE - 1);
    if (!st.code)
        st = send_plan(call, *run);
    if (!st.code) {
        st = run_join(*run,
                      &(struct run_join){.shard_index = j->shard_index,
                                         .shard_count = j->shard_count,
                                         .train_rows = j->train_rows,
                                         .eval_rows = j->eval_rows,
                                         .data_source = j->data_source,
                                         .data_digest = j->data_digest},
                      wake_call, call, m);
        if (st.code == ST_PRECONDITION)
            st = tell_the_end(call, *run);
    }
    if (!*m) {
        run_release(*run);
        return st;
    }
    log_info("worker_joined", log_s("run", run_id(*run)), log_i("shard", j->shard_index), log_s("peer", rpc_peer(call)),
             log_i("train_rows", (int64_t)j->train_rows), log_i("eval_rows", (int64_t)j->eval_rows),
             log_s("source", j->data_source), log_s("version", j->program_version));
    return st;
}

struct status federation_control(struct rpc_call *call, const void *unused)
{
    const void *in;
    struct run *r;
    struct run_member *m;

    (void)unused;
    struct status st = federation_recv(call, &in, clock_after_ms(FEDERATION_FIRST_MS));
    if (st.code)
        return st;
    const Bloginfer__V1__ControlRequest *req = in;
    if (!req || req->body_case != BLOGINFER__V1__CONTROL_REQUEST__BODY_JOIN)
        return status_errorf(ST_INVALID, "the first message must be a join");
    uint32_t shard = req->join->shard_index;
    st = join(call, req->join, &r, &m);
    if (!m)
        return st;
    st = converse(call, r, m);
    run_leave(r, m);
    if (st.code)
        log_warn("worker_left", log_s("run", run_id(r)), log_i("shard", shard), log_s("reason", st.msg));
    run_release(r);
    return st;
}
