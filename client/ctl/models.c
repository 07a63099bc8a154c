/* models.c - bloginferctl models: the versions in the model store, and where `production` stands. */
#include "bloginfer/v1/registry.pb-c.h"
#include "ctl.h"
#include "format.h"
#include "model_files.h"
#include "model_parameters.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE   &bloginfer__v1__model_registry_service__descriptor
#define SHORT_SHA 12

static const char *metadata(const Bloginfer__V1__ModelVersion *m, const char *key)
{
    for (size_t i = 0; i < m->n_metadata; i++)
        if (!strcmp(m->metadata[i]->key, key))
            return m->metadata[i]->value;
    return "-";
}

static const char *role(const Bloginfer__V1__ModelVersion *m)
{
    return m->production && m->candidate ? "production, candidate"
           : m->production               ? "production"
           : m->candidate                ? "candidate"
                                         : "";
}

static int list(struct ctl *ctl, char *task)
{
    Bloginfer__V1__ListModelsRequest req = BLOGINFER__V1__LIST_MODELS_REQUEST__INIT;
    const Bloginfer__V1__ListModelsResponse *rep;
    char text[FORMAT_SIZE];

    req.task = task;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "ListModels", &req, (const void **)&rep);
    if (st.code)
        return ctl_fail(st);
    if (ctl->settings.json)
        return ctl_print_json(&rep->base);
    struct table *t = table_new("TASK", ">VERSION", "ROLE", "ARCHITECTURE", ">ACCURACY", ">ROUNDS", ">SIZE", "SHA256",
                                "CREATED", "RUN", NULL);
    for (size_t i = 0; i < rep->n_models; i++) {
        const Bloginfer__V1__ModelVersion *m = rep->models[i];

        table_cell(t, "%s", m->task);
        table_cell(t, "%" PRIu64, m->version);
        table_cell(t, "%s", role(m));
        table_cell(t, "%s", metadata(m, "architecture"));
        table_cell(t, "%.6s", metadata(m, "eval_accuracy"));
        table_cell(t, "%s", metadata(m, "rounds"));
        table_cell(t, "%s", format_bytes(text, m->size_bytes));
        table_cell(t, "%.*s", SHORT_SHA, m->sha256);
        table_cell(t, "%.19s", metadata(m, "created"));
        table_cell(t, "%s", metadata(m, "run"));
    }
    table_print(t, stdout, terminal_width(stdout));
    return CTL_OK;
}

static struct status parse_version(const char *text, uint64_t *version)
{
    char *end;

    errno = 0;
    *version = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || !*version)
        return status_errorf(ST_INVALID, "version \"%s\": must be a whole number from 1", text);
    return status_ok();
}

static int show(struct ctl *ctl, char *task, uint64_t version)
{
    Bloginfer__V1__GetModelRequest req = BLOGINFER__V1__GET_MODEL_REQUEST__INIT;
    const Bloginfer__V1__GetModelResponse *rep;
    char text[FORMAT_SIZE];

    req.task = task;
    req.version = version;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "GetModel", &req, (const void **)&rep);
    if (st.code || !rep->model)
        return ctl_fail(st.code ? st : status_errorf(ST_INTERNAL, "an answer without a model"));
    if (ctl->settings.json)
        return ctl_print_json(&rep->model->base);
    struct table *t = table_new("KEY", "VALUE", NULL);
    table_hide_headers(t);
    table_cell(t, "version");
    table_cell(t, "%s %" PRIu64, rep->model->task, rep->model->version);
    table_cell(t, "role");
    table_cell(t, "%s", role(rep->model));
    table_cell(t, "size");
    table_cell(t, "%s", format_bytes(text, rep->model->size_bytes));
    table_cell(t, "sha256");
    table_cell(t, "%s", rep->model->sha256);
    for (size_t i = 0; i < rep->model->n_metadata; i++) {
        table_cell(t, "%s", rep->model->metadata[i]->key);
        table_cell(t, "%s", rep->model->metadata[i]->value);
    }
    table_print(t, stdout, terminal_width(stdout));
    return CTL_OK;
}

/* What promote and roll back answer. */
static int print_production(struct ctl *ctl, struct status st, const Bloginfer__V1__ModelVersion *model)
{
    if (st.code || !model)
        return ctl_fail(st.code ? st : status_errorf(ST_INTERNAL, "an answer without a model"));
    if (ctl->settings.json)
        return ctl_print_json(&model->base);
    printf("%s version %" PRIu64 " is in production\n", model->task, model->version);
    return CTL_OK;
}

static int promote(struct ctl *ctl, char *task, uint64_t version)
{
    Bloginfer__V1__PromoteModelRequest req = BLOGINFER__V1__PROMOTE_MODEL_REQUEST__INIT;
    const Bloginfer__V1__PromoteModelResponse *rep = NULL;

    req.task = task;
    req.version = version;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "PromoteModel", &req, (const void **)&rep);
    return print_production(ctl, st, st.code ? NULL : rep->model);
}

static int roll_back(struct ctl *ctl, char *task)
{
    Bloginfer__V1__RollbackModelRequest req = BLOGINFER__V1__ROLLBACK_MODEL_REQUEST__INIT;
    const Bloginfer__V1__RollbackModelResponse *rep = NULL;

    req.task = task;
    struct status st = ctl_call(ctl, CTL_AGGREGATOR, SERVICE, "RollbackModel", &req, (const void **)&rep);
    return print_production(ctl, st, st.code ? NULL : rep->model);
}

static struct settings {
    bool fp16;
} settings;

static const struct config_option options[] = {
    {"fp16", CONFIG_BOOL, offsetof(struct settings, fp16), "false", "export: tensors in half the bytes"},
};

static int models(struct ctl *ctl, int n_words, char **words)
{
    uint64_t version = 0;
    struct status st = status_ok();

    if (n_words >= 2 && !strcmp(words[0], "parameters"))
        return model_parameters(ctl, words[1], n_words - 2, words + 2);
    if (n_words >= 3 && !(n_words == 4 && !strcmp(words[2], "production")))
        st = parse_version(words[2], &version);
    if (st.code)
        return ctl_fail(st);
    if (n_words == 4 && !strcmp(words[0], "export"))
        return model_files_export(ctl, words[1], version, words[3], settings.fp16);
    if (n_words == 2 && !strcmp(words[0], "import"))
        return model_files_import(ctl, words[1]);
    if (n_words <= 2 && !strcmp(words[0], "list"))
        return list(ctl, n_words == 2 ? words[1] : "");
    if ((n_words == 2 || n_words == 3) && !strcmp(words[0], "show"))
        return show(ctl, words[1], version);
    if (n_words == 3 && !strcmp(words[0], "promote"))
        return promote(ctl, words[1], version);
    if (n_words == 2 && !strcmp(words[0], "rollback"))
        return roll_back(ctl, words[1]);
    return ctl_fail(status_errorf(ST_INVALID, "usage: bloginferctl models list [TASK] | show TASK [VERSION] | "
                                              "promote TASK VERSION | rollback TASK | "
                                              "export TASK VERSION FILE | import FILE | "
                                              "parameters TASK [NAME=VALUE...]"));
}

const struct ctl_command ctl_models = {
    .name = "models",
    .words = "list|show|promote|rollback|export|import|parameters ...",
    .summary = "versions of models, and which one is in production",
    .details =
        "  models list [TASK]             all versions\n"
        "  models show TASK [VERSION]     one of them (the production version) with all it says of itself\n"
        "  models promote TASK VERSION    points production at a version, after the file has been verified\n"
        "  models rollback TASK           points production at the version before\n"
        "  models export TASK VERSION FILE   writes a version's model file, to take it to another site;\n"
        "                                 VERSION is a number or production; --fp16 halves it\n"
        "  models import FILE             makes a model file a new version, and the candidate\n"
        "  models parameters TASK [NAME=VALUE...]   shows what is set for a task while it serves, or changes it:\n"
        "                                 threshold=0..1, max_batch=1..256, max_queue_delay_us=0..100000,\n"
        "                                 canary=0..100 (percent of the calls that go to the candidate),\n"
        "                                 shadow=0..100 (percent that the candidate answers for comparison alone)",
    .min_words = 1,
    .max_words = 7,
    .run = models,
    .options = options,
    .n_options = COUNT_OF(options),
    .settings = &settings,
};
