/* ctl.h - bloginferctl: one command a file, over what they share.
 *
 * A command prints its result on standard output and returns the exit code: CTL_OK, CTL_FAILED (the system said no or
 * does not answer; one line on standard error says why) or CTL_USAGE (the words were wrong). */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/base.h"
#include "bloginfer/v1/federation.pb-c.h"
#include "rpc/rpc.h"
#include "table.h"

#include <jansson.h>

enum { CTL_OK, CTL_FAILED, CTL_USAGE };

enum ctl_service { CTL_AGGREGATOR, CTL_INFERENCE, CTL_DETECTOR, CTL_N_SERVICES };

struct ctl_settings {
    char *address[CTL_N_SERVICES];
    char *trainer;
    char *tls_ca, *tls_cert, *tls_key;
    int64_t timeout_s;
    bool json;
};

struct ctl {
    struct ctl_settings settings;
    struct rpc_client *clients[CTL_N_SERVICES]; /* NULL until needed */
    struct arena arena;                         /* for the life of the command */
};

struct ctl_command {
    const char *name;
    const char *words;   /* what follows the name: "RUN" */
    const char *summary; /* one line for the list of commands */
    const char *details; /* for the command's own --help; "" when the summary says it all */
    int min_words, max_words;
    int (*run)(struct ctl *ctl, int n_words, char **words);
    const struct config_option *options; /* NULL: only the common ones */
    size_t n_options;
    void *settings;
};

extern const struct ctl_command ctl_train, ctl_watch, ctl_runs, ctl_models, ctl_classify, ctl_explain, ctl_detect,
    ctl_status, ctl_health;

/* ---- services.c: calls ---- */

/* "aggregator" and so on. */
const char *ctl_service_name(enum ctl_service service);

/* *out lives in ctl->arena. An unreachable service is named with its address and what to do. */
struct status ctl_call(struct ctl *ctl, enum ctl_service service, const ProtobufCServiceDescriptor *descriptor,
                       const char *method, const void *in, const void **out);
struct status ctl_stream(struct ctl *ctl, enum ctl_service service, const ProtobufCServiceDescriptor *descriptor,
                         const char *method, struct rpc_call **out);

/* An error of a call with what a person can do about it; for streams, whose errors come at their end. */
struct status ctl_advise(const struct ctl *ctl, enum ctl_service service, struct status st);

/* grpc.health.v1.Health/Check of any address; service "" is the whole server. ST_PRECONDITION: not serving. */
struct status ctl_check_health(struct ctl *ctl, const char *address, const char *service);

/* ---- trainer.c: HTTP ---- */

/* GET, or POST with a body (NULL: GET). *reply: the caller's; NULL on error. An answer of 400 and above is an error with
 * the trainer's own message. */
struct status ctl_trainer(struct ctl *ctl, const char *path, const json_t *body, json_t **reply);

/* ---- output ---- */

/* Prints the error; returns CTL_USAGE for ST_INVALID, else CTL_FAILED. */
int ctl_fail(struct status st);

/* The message as indented JSON. Returns CTL_OK. */
int ctl_print_json(const ProtobufCMessage *message);

/* Follows a run to its end; CTL_FAILED when it ended without a published version. */
int ctl_follow_run(struct ctl *ctl, const char *run_id);

#endif
