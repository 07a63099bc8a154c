/* status.c - bloginferctl status and health: who answers, and with what. */
#include "bloginfer/v1/classify.pb-c.h"
#include "bloginfer/v1/detect.pb-c.h"
#include "ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the service has to tell, in a few words; an error when it does not tell. */
static struct status describe_aggregator(struct ctl *ctl, struct buf *b)
{
    Bloginfer__V1__ListRunsRequest req = BLOGINFER__V1__LIST_RUNS_REQUEST__INIT;
    const Bloginfer__V1__ListRunsResponse *rep;

    req.active_only = true;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, &bloginfer__v1__federation_service__descriptor, "ListRuns", &req,
                                (const void **)&rep);
    if (st.code)
        return st;
    if (!rep->n_runs)
        buf_puts(b, "no active run");
    for (size_t i = 0; i < rep->n_runs; i++)
        buf_printf(b, "%s%s: round %zu of %u", i ? ", " : "", rep->runs[i]->run_id, rep->runs[i]->n_rounds + 1,
                   rep->runs[i]->config ? rep->runs[i]->config->rounds : 0);
    return st;
}

static struct status describe_inference(struct ctl *ctl, struct buf *b)
{
    Bloginfer__V1__ListServedModelsRequest req = BLOGINFER__V1__LIST_SERVED_MODELS_REQUEST__INIT;
    const Bloginfer__V1__ListServedModelsResponse *rep;
    struct status st = ctl_call(ctl, CTL_INFERENCE, &bloginfer__v1__classify_service__descriptor, "ListServedModels",
                                &req, (const void **)&rep);

    if (st.code)
        return st;
    if (!rep->n_models)
        buf_puts(b, "no model");
    for (size_t i = 0; i < rep->n_models; i++) {
        const Bloginfer__V1__ServedModel *m = rep->models[i];

        buf_printf(b, "%s%s ", i ? ", " : "", m->task);
        if (m->version)
            buf_printf(b, "version %" PRIu64, m->version);
        else
            buf_puts(b, "built-in");
    }
    return st;
}

static struct status describe_detector(struct ctl *ctl, struct buf *b)
{
    Bloginfer__V1__DescribeDetectorRequest req = BLOGINFER__V1__DESCRIBE_DETECTOR_REQUEST__INIT;
    const Bloginfer__V1__DescribeDetectorResponse *rep;
    struct status st = ctl_call(ctl, CTL_DETECTOR, &bloginfer__v1__detect_service__descriptor, "DescribeDetector", &req,
                                (const void **)&rep);

    if (!st.code)
        buf_printf(b, "%s, %u x %u, %zu labels", rep->model, rep->input_width, rep->input_height, rep->n_labels);
    return st;
}

static struct status describe_trainer(struct ctl *ctl, struct buf *b)
{
    json_t *reply;
    struct status st = ctl_trainer(ctl, "/readyz", NULL, &reply);

    if (!st.code)
        buf_printf(b, "version %s", json_string_value(json_object_get(reply, "version")));
    json_decref(reply);
    return st;
}

struct row {
    const char *name, *address;
    struct status health;
    char *detail;
};

/* An answer makes it reachable; what it says of its health decides. */
static void ask(struct ctl *ctl, struct row *row, size_t i)
{
    static struct status (*const describe[])(struct ctl *, struct buf *) = {describe_aggregator, describe_inference,
                                                                            describe_detector, describe_trainer};
    struct buf b = BUF_INIT(1 << 16);
    bool grpc = i < CTL_N_SERVICES;

    row->name = grpc ? ctl_service_name((enum ctl_service)i) : "trainer";
    row->address = grpc ? ctl->settings.address[i] : ctl->settings.trainer;
    row->health = grpc ? ctl_check_health(ctl, row->address, "") : status_ok();
    struct status st = describe[i](ctl, &b);
    if (!grpc)
        row->health = st;
    if (st.code) {
        buf_clear(&b);
        buf_puts(&b, st.msg);
    }
    row->detail = buf_take(&b);
}

static const char *health_word(const struct row *row)
{
    return !row->health.code ? "serving" : row->health.code == ST_PRECONDITION ? "not serving" : "down";
}

static void print_json(const struct row *rows, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(array,
                              json_pack("{s:s, s:s, s:s, s:s}", "service", rows[i].name, "address", rows[i].address,
                                        "health", health_word(&rows[i]), "detail", rows[i].detail));
    json_dumpf(array, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(array);
}

static void print_table(const struct row *rows, size_t n)
{
    struct table *t = table_new("SERVICE", "ADDRESS", "HEALTH", "DETAIL", NULL);

    for (size_t i = 0; i < n; i++) {
        table_cell(t, "%s", rows[i].name);
        table_cell(t, "%s", rows[i].address);
        table_cell(t, "%s", health_word(&rows[i]));
        table_cell(t, "%s", rows[i].detail);
    }
    table_print(t, stdout, terminal_width(stdout));
}

static int status(struct ctl *ctl, int n_words, char **words)
{
    struct row rows[CTL_N_SERVICES + 1];
    int code = CTL_OK;

    (void)n_words;
    (void)words;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ask(ctl, &rows[i], i);
        if (rows[i].health.code)
            code = CTL_FAILED;
    }
    if (ctl->settings.json)
        print_json(rows, COUNT_OF(rows));
    else
        print_table(rows, COUNT_OF(rows));
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        free(rows[i].detail);
    return code;
}

const struct ctl_command ctl_status = {
    .name = "status",
    .words = "",
    .summary = "health of aggregator, inference, detector and trainer",
    .details = "Exit code 0 only when all of them serve.",
    .run = status,
};

static int health(struct ctl *ctl, int n_words, char **words)
{
    struct status st = ctl_check_health(ctl, words[0], n_words > 1 ? words[1] : "");

    if (st.code)
        return ctl_fail(status_prefix(st, "%s", words[0])), CTL_FAILED;
    puts("serving");
    return CTL_OK;
}

const struct ctl_command ctl_health = {
    .name = "health",
    .words = "HOST:PORT [SERVICE]",
    .summary = "asks any gRPC server for its health (grpc.health.v1)",
    .details =
        "SERVICE is a full name such as bloginfer.v1.ClassifyService; without one the server as a whole is meant.",
    .min_words = 1,
    .max_words = 2,
    .run = health,
};
